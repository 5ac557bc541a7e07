"""A group of writes on invocations brought to the tables: read what they look at, fold, write each row once.

What a write may change is `folding`'s to decide, the texts are in `statements`. Between the read and the writes nobody
else changes the rows: SQLite has one writer, PostgreSQL locks them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import select

from harvester.domain.model.functions import name_in
from harvester.domain.model.invocations import InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.db.tables import CHECKPOINTS, INVOCATIONS
from harvester.store.writes import statements
from harvester.store.writes.changes import Granted, NewInvocation
from harvester.store.writes.folding import Attempt, Folded, InvocationWrite, Life, fold, known_before
from harvester.store.writes.session import WriterSession
from harvester.store.writes.writer_memory import WriterMemory

_INV, _CKPT = INVOCATIONS.c, CHECKPOINTS.c
_PAGE = 500  # ids in one IN

# ---- what the writes look at. SQLite hands all rows over in one step, as JSON (no floats in it: it would round them).
_READ = [getattr(_INV, name) for name in Life.__struct_fields__[:8]]
_READ_SQLITE = (
    f"SELECT json_group_array(json_array({', '.join(Life.__struct_fields__[:8])}, checkpoint_at IS NOT NULL)) "  # noqa: S608 - of constants
    "FROM invocation WHERE invocation_id IN (SELECT value FROM json_each(?))"
)
_lives = msgspec.json.Decoder(list[Life])


def write_invocations(session: WriterSession, memory: WriterMemory, writes: Iterable[InvocationWrite]) -> None:
    """Write down the net effect of `writes`, in their order.

    `memory` knows of it before the commit: whoever ends the transaction otherwise clears it.
    """
    older, checkpointed = known_before(writes)
    lives = _known(session, memory, older) if older else {}
    if checkpointed:
        _read_checkpoints(session, checkpointed, lives)
    folded = fold(writes, lives)
    _write_rows(session, folded)
    for _, life in folded.inserted:
        memory.keep(life)
    for life in folded.updated:
        memory.keep(life)


def _known(session: WriterSession, memory: WriterMemory, ids: list[str]) -> dict[str, Life]:
    """Return the present lives of `ids`, reading what is not remembered."""
    if memory:
        memory.trust(session.data_version())
    lives = memory.recall(ids)
    if len(lives) < len(ids):
        lives |= _read(session, [name for name in ids if name not in lives])
    return lives


def _read(session: WriterSession, ids: list[str]) -> dict[str, Life]:
    if session.is_sqlite:
        told = session.value(_READ_SQLITE, (msgspec.json.encode(ids).decode(),))
        return {life.invocation_id: life for life in _lives.decode(str(told))}
    lives: dict[str, Life] = {}
    query = select(*_READ, _INV.checkpoint_at.is_not(None)).with_for_update()
    for start in range(0, len(ids), _PAGE):
        page = query.where(_INV.invocation_id.in_(ids[start : start + _PAGE]))
        for name, function_id, state, *rest in session.connection.execute(page):
            lives[name] = Life(name, function_id, InvocationState(state), *rest)
    return lives


def _read_checkpoints(session: WriterSession, ids: list[str], lives: dict[str, Life]) -> None:
    """Complete `lives` with the newest checkpoint of `ids`, where there may be one that nobody remembers."""
    unknown = [name for name in ids if name in lives and lives[name].has_checkpoint and not lives[name].checkpoint[0]]
    for start in range(0, len(unknown), _PAGE):
        page = _CKPT.invocation_id.in_(unknown[start : start + _PAGE])
        for name, fence, seq in session.connection.execute(
            select(_CKPT.invocation_id, _CKPT.fence, _CKPT.seq).where(page)
        ):
            lives[name].checkpoint = (fence, seq)


def _write_rows(session: WriterSession, folded: Folded) -> None:
    """Execute one statement for each kind of row that a group has changed."""
    if folded.inserted:
        _insert_invocations(session, folded.inserted)
    if folded.updated:
        rows = [(life.invocation_id, *_life_columns(life)) for life in folded.updated]
        statements.UPDATE_INVOCATION.run(session, rows)
    if folded.begun:
        statements.INSERT_ACTIVATION.run(session, [_begun_row(granted, attempt) for granted, attempt in folded.begun])
    if folded.continued:
        statements.UPDATE_ACTIVATION.run(session, [_continued_row(attempt) for attempt in folded.continued])
    if folded.kept:
        checkpoints = [(kept.invocation_id, kept.fence, kept.seq, kept.state) for kept in folded.kept]
        statements.UPSERT_CHECKPOINT.run(session, checkpoints)
    if folded.dropped:
        statements.DELETE_CHECKPOINT.run(session, [(name,) for name in folded.dropped])
    if folded.demand:
        statements.ADD_DEMAND.run(session, [(name, *counts) for name, counts in sorted(folded.demand.items())])


def _insert_invocations(session: WriterSession, inserted: list[tuple[NewInvocation, Life]]) -> None:
    waiting: list[tuple[Any, ...]] = []
    others: list[tuple[Any, ...]] = []
    arguments: list[tuple[Any, ...]] = []
    in_blobs: list[tuple[Any, ...]] = []
    for new, life in inserted:
        if life.state is InvocationState.ACCEPTED and life.fence == 0:
            waiting.append(_new_row(new))
        else:
            others.append(_new_row(new) + _life_columns(life))
        if isinstance(new.arguments, BlobRef):
            in_blobs.append((new.invocation_id, b"", new.arguments.name, new.arguments.size))
        else:
            arguments.append((new.invocation_id, new.arguments))
    statements.INSERT_WAITING.run(session, waiting)
    statements.INSERT_INVOCATION.run(session, others)
    statements.INSERT_ARGUMENTS.run(session, arguments)
    statements.INSERT_ARGUMENTS_BLOB.run(session, in_blobs)


def _new_row(new: NewInvocation) -> tuple[Any, ...]:
    return (
        new.invocation_id,
        new.function_id,
        name_in(new.function_id),
        new.owner,
        new.idempotency_key,
        str(new.encoding),
        new.accepted_at,
        new.priority,
        new.start_by,
        new.end_by,
    )


def _life_columns(life: Life) -> tuple[Any, ...]:
    """Return what a new row and a changed one have in common, state to result_size."""
    value = life.value
    result, name, size = (None, value.name, value.size) if isinstance(value, BlobRef) else (value, None, None)
    return (
        str(life.state),
        life.fence,
        life.pilot_id,
        life.attempts,
        life.retries_used,
        life.deaths,
        life.started_at,
        life.ended_at,
        life.checkpoint_at,
        None if life.failure is None else msgspec.json.encode(life.failure),
        result,
        name,
        size,
    )


def _begun_row(granted: Granted, attempt: Attempt) -> tuple[Any, ...]:
    return (
        attempt.invocation_id,
        attempt.fence,
        granted.attempt,
        granted.pilot_id,
        granted.at,
        granted.resumed,
        attempt.started_at,
        attempt.ended_at,
        None if attempt.end is None else str(attempt.end),
        attempt.checkpoints,
        attempt.checkpoint_at,
    )


def _continued_row(attempt: Attempt) -> tuple[Any, ...]:
    return (
        attempt.invocation_id,
        attempt.fence,
        attempt.started_at,
        attempt.ended_at,
        None if attempt.end is None else str(attempt.end),
        attempt.checkpoints,
        attempt.checkpoint_at,
    )
