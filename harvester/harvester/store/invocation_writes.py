"""What each write of an invocation's life does to the tables.

Every statement guards itself: a write whose fencing token is not the row's present one, or that comes after the end,
finds no row and changes nothing. The dispatcher refuses those before; this is the second line. The first statements of
a kind look at the invocation as it was, the invocation itself is changed last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Executable,
    Float,
    Integer,
    LargeBinary,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from harvester.domain.invocations import ActivationEnd, FailureKind, InvocationState
from harvester.store.dialect import inserting
from harvester.store.tables import ACTIVATIONS, ARGUMENTS, CHECKPOINTS, INVOCATIONS, OPEN_STATES
from harvester.store.writes import CheckpointKept, Concluded, Granted, NewInvocation, Requeued, Started

Rows = list[dict[str, Any]]

_ACCEPTED, _LEASED, _RUNNING = (str(state) for state in OPEN_STATES)
_CANCELLED = str(InvocationState.CANCELLED)
_INV, _ACT, _CKPT = INVOCATIONS.c, ACTIVATIONS.c, CHECKPOINTS.c

# Parameters have a prefix, since a column's own name is taken by SQLAlchemy's SET clauses.
_ID = bindparam("p_id", type_=Text)
_FENCE = bindparam("p_fence", type_=BigInteger)
_AT = bindparam("p_at", type_=Float)

_THIS = _INV.invocation_id == _ID
_IS_OPEN = or_(_INV.state == _ACCEPTED, _INV.state == _LEASED, _INV.state == _RUNNING)  # executemany has no IN
_IS_HELD = and_(_THIS, _INV.fence == _FENCE, or_(_INV.state == _LEASED, _INV.state == _RUNNING))
_THIS_ACTIVATION = and_(_ACT.invocation_id == _ID, _ACT.fence == _FENCE)

# ---- granted: from ACCEPTED, with a fencing token that was never there
_MAY_GRANT = and_(_THIS, _INV.state == _ACCEPTED, _INV.fence < _FENCE)
_GRANT_ACTIVATION = insert(ACTIVATIONS).from_select(
    ["invocation_id", "fence", "attempt", "pilot_id", "granted_at", "resumed", "checkpoints"],
    select(
        _INV.invocation_id,
        _FENCE,
        bindparam("p_attempt", type_=Integer),
        bindparam("p_pilot", type_=Text),
        _AT,
        bindparam("p_resumed", type_=Boolean),
        literal(0),
    ).where(_MAY_GRANT),
)
_GRANT = (
    update(INVOCATIONS)
    .where(_MAY_GRANT)
    .values(state=_LEASED, fence=_FENCE, pilot_id=bindparam("p_pilot"), attempts=bindparam("p_attempt", type_=Integer))
)

# ---- started
_MAY_START = and_(_THIS, _INV.fence == _FENCE, _INV.state == _LEASED)
_START_ACTIVATION = update(ACTIVATIONS).where(_THIS_ACTIVATION, exists().where(_MAY_START)).values(started_at=_AT)
_START = update(INVOCATIONS).where(_MAY_START).values(state=_RUNNING, started_at=func.coalesce(_INV.started_at, _AT))

# ---- checkpoint kept: one that the pilot sent twice, or an older one, is not counted again
_SEQ = bindparam("p_seq", type_=BigInteger)
_IS_NEWS = ~exists().where(_CKPT.invocation_id == _ID, _CKPT.fence == _FENCE, _CKPT.seq >= _SEQ)
_COUNT_CHECKPOINT = (
    update(ACTIVATIONS)
    .where(_THIS_ACTIVATION, exists().where(_IS_HELD), _IS_NEWS)
    .values(checkpoints=_ACT.checkpoints + 1, checkpoint_at=_AT)
)
_DATE_CHECKPOINT = update(INVOCATIONS).where(_IS_HELD, _IS_NEWS).values(checkpoint_at=_AT)
_FROM_HELD = select(_INV.invocation_id, _FENCE, _SEQ, bindparam("p_bytes", type_=LargeBinary)).where(_IS_HELD)

# ---- requeued
_END = bindparam("p_end", type_=Text)
_END_ACTIVATION = update(ACTIVATIONS).where(_THIS_ACTIVATION, exists().where(_IS_HELD)).values(ended_at=_AT, end=_END)
_REQUEUE = (
    update(INVOCATIONS)
    .where(_IS_HELD)
    .values(
        state=_ACCEPTED,
        pilot_id=None,
        retries_used=bindparam("p_retries", type_=Integer),
        deaths=bindparam("p_deaths", type_=Integer),
    )
)

# ---- concluded: under the present token, or with none where it does not run or its user cancels it
_STATE = bindparam("p_state", type_=Text)
_MAY_CONCLUDE = and_(
    _THIS,
    _IS_OPEN,
    or_(
        _INV.fence == _FENCE,
        and_(_FENCE == 0, or_(_INV.state == _ACCEPTED, _STATE == _CANCELLED)),
    ),
)
_CONCLUDE_ACTIVATION = (
    update(ACTIVATIONS)
    .where(
        _ACT.invocation_id == _ID,
        _ACT.fence == select(_INV.fence).where(_MAY_CONCLUDE).scalar_subquery(),
        _ACT.end.is_(None),
    )
    .values(ended_at=_AT, end=_END)
)
_CONCLUDE = (
    update(INVOCATIONS)
    .where(_MAY_CONCLUDE)
    .values(
        state=_STATE,
        ended_at=_AT,
        pilot_id=None,
        failure=bindparam("p_failure", type_=LargeBinary),
        result=bindparam("p_result", type_=LargeBinary),
    )
)
_DROP_CHECKPOINT = delete(CHECKPOINTS).where(_CKPT.invocation_id == _ID, ~exists().where(_THIS, _IS_OPEN))

_ENDS = {InvocationState.SUCCEEDED: ActivationEnd.SUCCEEDED, InvocationState.FAILED: ActivationEnd.FAILED}


def accept(connection: Connection, writes: Sequence[NewInvocation]) -> None:
    """Insert invocations and their arguments."""
    connection.execute(insert(INVOCATIONS), [_invocation_row(write) for write in writes])
    connection.execute(
        insert(ARGUMENTS),
        [{"invocation_id": write.invocation_id, "arguments": write.arguments} for write in writes],
    )


def grant(connection: Connection, writes: Sequence[Granted]) -> None:
    """Begin activations."""
    rows = [
        {
            "p_id": write.invocation_id,
            "p_fence": write.fence,
            "p_at": write.at,
            "p_attempt": write.attempt,
            "p_pilot": write.pilot_id,
            "p_resumed": write.resumed,
        }
        for write in writes
    ]
    _run(connection, rows, _GRANT_ACTIVATION, _GRANT)


def start(connection: Connection, writes: Sequence[Started]) -> None:
    """Note that slots began activations."""
    rows = [{"p_id": write.invocation_id, "p_fence": write.fence, "p_at": write.at} for write in writes]
    _run(connection, rows, _START_ACTIVATION, _START)


def keep_checkpoints(connection: Connection, writes: Sequence[CheckpointKept]) -> None:
    """Keep the newest checkpoint of each invocation, and count all of them."""
    newest: dict[tuple[str, int], CheckpointKept] = {}
    rows: Rows = []
    for write in writes:
        held = newest.get((write.invocation_id, write.fence))
        if held is None or held.seq < write.seq:
            newest[write.invocation_id, write.fence] = write
            rows.append({"p_id": write.invocation_id, "p_fence": write.fence, "p_seq": write.seq, "p_at": write.at})
    _run(connection, rows, _COUNT_CHECKPOINT, _DATE_CHECKPOINT)
    statement = inserting(connection, CHECKPOINTS).from_select(["invocation_id", "fence", "seq", "state"], _FROM_HELD)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["invocation_id"],
        set_={"fence": new.fence, "seq": new.seq, "state": new.state},
        where=tuple_(_CKPT.fence, _CKPT.seq) < tuple_(new.fence, new.seq),
    )
    rows = [
        {"p_id": write.invocation_id, "p_fence": write.fence, "p_seq": write.seq, "p_bytes": write.state}
        for write in newest.values()
    ]
    _run(connection, rows, statement)


def requeue(connection: Connection, writes: Sequence[Requeued]) -> None:
    """End activations without a result; their invocations wait again."""
    rows = [
        {
            "p_id": write.invocation_id,
            "p_fence": write.fence,
            "p_at": write.at,
            "p_end": str(write.end),
            "p_retries": write.retries_used,
            "p_deaths": write.deaths,
        }
        for write in writes
    ]
    _run(connection, rows, _END_ACTIVATION, _REQUEUE)


def conclude(connection: Connection, writes: Sequence[Concluded]) -> None:
    """End invocations, and the activation of each that runs; drop their checkpoints."""
    rows = [
        {
            "p_id": write.invocation_id,
            "p_fence": write.fence,
            "p_at": write.at,
            "p_state": str(write.state),
            "p_end": str(_activation_end(write)),
        }
        for write in writes
    ]
    _run(connection, rows, _CONCLUDE_ACTIVATION)
    for row, write in zip(rows, writes, strict=True):
        row["p_failure"] = None if write.failure is None else msgspec.json.encode(write.failure)
        row["p_result"] = write.value if write.state is InvocationState.SUCCEEDED else None
    _run(connection, rows, _CONCLUDE, _DROP_CHECKPOINT)


def _run(connection: Connection, rows: Rows, *statements: Executable) -> None:
    for statement in statements:
        connection.execute(statement, rows)


def _invocation_row(write: NewInvocation) -> dict[str, Any]:
    return {
        "invocation_id": write.invocation_id,
        "function_id": write.function_id,
        "function_name": write.function_id.rpartition("@")[0] or write.function_id,
        "owner": write.owner,
        "idempotency_key": write.idempotency_key,
        "encoding": str(write.encoding),
        "accepted_at": write.accepted_at,
        "state": _ACCEPTED,
        "fence": 0,
        "attempts": 0,
        "retries_used": 0,
        "deaths": 0,
    }


def _activation_end(write: Concluded) -> ActivationEnd:
    if write.failure is not None and write.failure.kind is FailureKind.POISON:
        return ActivationEnd.SLOT_DIED
    return _ENDS.get(write.state, ActivationEnd.CANCELLED)
