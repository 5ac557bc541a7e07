"""A group of writes on invocations brought to the tables: read what they look at, fold, write each row once.

What a write may change is `folding`'s to decide; here are the statements. Between the read and the writes nobody else
changes the rows: SQLite has one writer, PostgreSQL locks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from harvester.domain.blobs import BlobRef
from harvester.domain.invocations import InvocationState
from harvester.store.bulk import Bulk, Kind
from harvester.store.folding import Attempt, Folded, InvocationWrite, Life, fold, known_before
from harvester.store.tables import CHECKPOINTS, INVOCATIONS
from harvester.store.writes import Granted, NewInvocation

_TEXT, _INT, _FLOAT, _BYTES, _FLAG = Kind.TEXT, Kind.INT, Kind.FLOAT, Kind.BYTES, Kind.FLAG
_INV, _CKPT = INVOCATIONS.c, CHECKPOINTS.c
_PAGE = 500  # ids in one IN


def _insert(table: str, **columns: Kind) -> Bulk:
    return Bulk(f"INSERT INTO {table} ({', '.join(_quoted(name) for name in columns)})", list(columns.values()))


def _update(table: str, key: Sequence[str], changes: dict[str, str], **columns: Kind) -> Bulk:
    """Return the UPDATE of `table` by rows `v` of `columns`: those of `key` find the row, `changes` are its SET."""
    names = ", ".join(_quoted(name) for name in columns)
    return Bulk(
        f"WITH v ({names}) AS (",
        list(columns.values()),
        f") UPDATE {table} SET {', '.join(f'{_quoted(name)} = {value}' for name, value in changes.items())} "  # noqa: S608 - of constants
        f"FROM v WHERE {' AND '.join(f'{table}.{name} = v.{name}' for name in key)}",
    )


def _quoted(name: str) -> str:
    return '"end"' if name == "end" else name


_BEAR = _insert(
    "invocation",
    invocation_id=_TEXT,
    function_id=_TEXT,
    function_name=_TEXT,
    owner=_TEXT,
    idempotency_key=_TEXT,
    encoding=_TEXT,
    accepted_at=_FLOAT,
    priority=_INT,
    start_by=_FLOAT,
    end_by=_FLOAT,
    state=_TEXT,
    fence=_INT,
    pilot_id=_TEXT,
    attempts=_INT,
    retries_used=_INT,
    deaths=_INT,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    checkpoint_at=_FLOAT,
    failure=_BYTES,
    result=_BYTES,
    result_blob=_TEXT,
    result_size=_INT,
)
_ARGUE = _insert("arguments", invocation_id=_TEXT, arguments=_BYTES, blob=_TEXT, size=_INT)
# An ended row is never changed, so what only an end sets need not be kept from before.
_CHANGE = _update(
    "invocation",
    ["invocation_id"],
    {name: f"v.{name}" for name in ("state", "fence", "pilot_id", "attempts", "retries_used", "deaths", "ended_at")}
    | {name: f"v.{name}" for name in ("failure", "result", "result_blob", "result_size")}
    | {"started_at": "coalesce(invocation.started_at, v.started_at)"}
    | {"checkpoint_at": "coalesce(v.checkpoint_at, invocation.checkpoint_at)"},
    invocation_id=_TEXT,
    state=_TEXT,
    fence=_INT,
    pilot_id=_TEXT,
    attempts=_INT,
    retries_used=_INT,
    deaths=_INT,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    checkpoint_at=_FLOAT,
    failure=_BYTES,
    result=_BYTES,
    result_blob=_TEXT,
    result_size=_INT,
)
_BEGIN = _insert(
    "activation",
    invocation_id=_TEXT,
    fence=_INT,
    attempt=_INT,
    pilot_id=_TEXT,
    granted_at=_FLOAT,
    resumed=_FLAG,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    end=_TEXT,
    checkpoints=_INT,
    checkpoint_at=_FLOAT,
)
_CONTINUE = _update(
    "activation",
    ["invocation_id", "fence"],
    {
        "started_at": "coalesce(activation.started_at, v.started_at)",
        "ended_at": "v.ended_at",
        "end": 'v."end"',
        "checkpoints": "activation.checkpoints + v.checkpoints",
        "checkpoint_at": "coalesce(v.checkpoint_at, activation.checkpoint_at)",
    },
    invocation_id=_TEXT,
    fence=_INT,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    end=_TEXT,
    checkpoints=_INT,
    checkpoint_at=_FLOAT,
)
_KEEP = Bulk(
    "INSERT INTO checkpoint (invocation_id, fence, seq, state)",
    [_TEXT, _INT, _INT, _BYTES],
    "ON CONFLICT (invocation_id) DO UPDATE SET fence = excluded.fence, seq = excluded.seq, state = excluded.state",
)
_DROP = Bulk("DELETE FROM checkpoint WHERE invocation_id IN (", [_TEXT], ")")
_COUNT = Bulk(
    "INSERT INTO demand (function_id, waiting, held)",
    [_TEXT, _INT, _INT],
    "ON CONFLICT (function_id) DO UPDATE SET waiting = demand.waiting + excluded.waiting, "
    "held = demand.held + excluded.held",
)

# ---- what the writes look at. SQLite hands all rows over in one step, as JSON (no floats in it: it would round them).
_READ = [getattr(_INV, name) for name in Life.__struct_fields__[:8]]
_READ_SQLITE = (
    f"SELECT json_group_array(json_array({', '.join(Life.__struct_fields__[:8])}, checkpoint_at IS NOT NULL)) "  # noqa: S608 - of constants
    "FROM invocation WHERE invocation_id IN (SELECT value FROM json_each(?))"
)
_lives = msgspec.json.Decoder(list[Life])


def write_invocations(connection: Connection, writes: Iterable[InvocationWrite]) -> None:
    """Write down the net effect of `writes`, in their order."""
    older, checkpointed = known_before(writes)
    lives = _read(connection, older) if older else {}
    if checkpointed:
        _read_checkpoints(connection, checkpointed, lives)
    _land(connection, fold(writes, lives))


def _read(connection: Connection, ids: list[str]) -> dict[str, Life]:
    if connection.dialect.name == "sqlite":
        told = connection.exec_driver_sql(_READ_SQLITE, (msgspec.json.encode(ids).decode(),)).scalar_one()
        return {life.invocation_id: life for life in _lives.decode(told)}
    lives: dict[str, Life] = {}
    query = select(*_READ, _INV.checkpoint_at.is_not(None)).with_for_update()
    for start in range(0, len(ids), _PAGE):
        page = query.where(_INV.invocation_id.in_(ids[start : start + _PAGE]))
        for name, function_id, state, *rest in connection.execute(page):
            lives[name] = Life(name, function_id, InvocationState(state), *rest)
    return lives


def _read_checkpoints(connection: Connection, ids: list[str], lives: dict[str, Life]) -> None:
    for start in range(0, len(ids), _PAGE):
        query = select(_CKPT.invocation_id, _CKPT.fence, _CKPT.seq)
        for name, fence, seq in connection.execute(query.where(_CKPT.invocation_id.in_(ids[start : start + _PAGE]))):
            if name in lives:
                lives[name].checkpoint = (fence, seq)


def _land(connection: Connection, folded: Folded) -> None:
    if folded.born:
        _BEAR.run(connection, [_born_row(new, life) for new, life in folded.born])
        _ARGUE.run(connection, [_arguments_row(new) for new, _ in folded.born])
    if folded.changed:
        _CHANGE.run(connection, [_changed_row(life) for life in folded.changed])
    if folded.begun:
        _BEGIN.run(connection, [_begun_row(granted, attempt) for granted, attempt in folded.begun])
    if folded.continued:
        _CONTINUE.run(connection, [_continued_row(attempt) for attempt in folded.continued])
    if folded.kept:
        _KEEP.run(connection, [(kept.invocation_id, kept.fence, kept.seq, kept.state) for kept in folded.kept])
    if folded.dropped:
        _DROP.run(connection, [(name,) for name in folded.dropped])
    if folded.demand:
        _COUNT.run(connection, [(name, *counts) for name, counts in sorted(folded.demand.items())])


def _born_row(new: NewInvocation, life: Life) -> tuple[Any, ...]:
    return (
        new.invocation_id,
        new.function_id,
        new.function_id.rpartition("@")[0] or new.function_id,
        new.owner,
        new.idempotency_key,
        str(new.encoding),
        new.accepted_at,
        new.priority,
        new.start_by,
        new.end_by,
        str(life.state),
        life.fence,
        life.pilot_id,
        life.attempts,
        life.retries_used,
        life.deaths,
        life.started_at,
        life.ended_at,
        life.checkpoint_at,
        *_end_columns(life),
    )


def _arguments_row(new: NewInvocation) -> tuple[Any, ...]:
    if isinstance(new.arguments, BlobRef):
        return new.invocation_id, b"", new.arguments.name, new.arguments.size
    return new.invocation_id, new.arguments, None, None


def _changed_row(life: Life) -> tuple[Any, ...]:
    return (
        life.invocation_id,
        str(life.state),
        life.fence,
        life.pilot_id,
        life.attempts,
        life.retries_used,
        life.deaths,
        life.started_at,
        life.ended_at,
        life.checkpoint_at,
        *_end_columns(life),
    )


def _end_columns(life: Life) -> tuple[Any, ...]:
    """Return failure, result, result_blob and result_size."""
    value = life.value
    failure = None if life.failure is None else msgspec.json.encode(life.failure)
    if isinstance(value, BlobRef):
        return failure, None, value.name, value.size
    return failure, value, None, None


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
