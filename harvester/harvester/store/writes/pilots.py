"""The writes on pilots, brought to their rows. The table of `domain.model.pilots` decides, inside the transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from sqlalchemy import Connection, Float, Integer, RowMapping, Text, bindparam, or_, select, update

from harvester.domain.model.pilots import PILOT, PilotEvent, PilotState
from harvester.store.db.tables import PILOTS
from harvester.store.writes.changes import PilotMoved, PilotSeen

PilotWrite = PilotMoved | PilotSeen

_P = PILOTS.c

LIVE_STATES = tuple(str(state) for state in PilotState if state not in PILOT.final)

_UPDATE_SEEN = (
    update(PILOTS)
    .where(_P.pilot_id == bindparam("p_id", type_=Text), or_(*(_P.state == state for state in LIVE_STATES)))
    .values(
        last_seen_at=bindparam("p_at", type_=Float),
        ends_at=bindparam("p_ends_at", type_=Float),
        activations=bindparam("p_activations", type_=Integer),
        idle_since=bindparam("p_idle_since", type_=Float),
    )
)


def write_pilots(connection: Connection, writes: Iterable[PilotWrite]) -> None:
    """Execute `writes`: those of one pilot in their order."""
    seen: list[PilotSeen] = []
    # By id, so that gateway and daemon lock the rows of PostgreSQL in one order. The sort is stable.
    for write in sorted(writes, key=lambda write: write.pilot_id):
        match write:
            case PilotSeen():
                seen.append(write)
            case PilotMoved():
                _see(connection, seen)
                seen = []
                move(connection, write)
            case _:
                assert_never(write)
    _see(connection, seen)


def move(connection: Connection, write: PilotMoved) -> None:
    """Apply an event to a pilot, in the state that its row has now. Does nothing for an unknown pilot."""
    # Locked (PostgreSQL), since gateway and daemon may tell of the same pilot's end at once.
    query = select(PILOTS).where(_P.pilot_id == write.pilot_id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    values = {} if row is None else _values(row, write)
    if values:
        connection.execute(update(PILOTS).where(_P.pilot_id == write.pilot_id).values(values))


def _see(connection: Connection, writes: Sequence[PilotSeen]) -> None:
    """Update heartbeats and load of live pilots, all in one statement."""
    if not writes:
        return
    rows = [
        {
            "p_id": write.pilot_id,
            "p_at": write.at,
            "p_ends_at": write.ends_at,
            "p_activations": write.activations,
            "p_idle_since": write.idle_since,
        }
        for write in writes
    ]
    connection.execute(_UPDATE_SEEN, rows)


def _values(row: RowMapping, write: PilotMoved) -> dict[str, Any]:
    """Return the columns that `write` changes in `row`."""
    state = PilotState(row["state"])
    if not PILOT.allows(state, write.event):
        return _late_news(row, write)
    after = PILOT.advance(state, write.event)
    told = {
        "batch_job_id": write.batch_job_id,
        "node": write.node,
        "python": write.python,
        "ends_at": write.ends_at,
        "reason": write.reason or None,
    }
    values = {"state": str(after)} | {name: value for name, value in told.items() if value is not None}
    return values | _instants(write.event, after, write.at)


def _instants(event: PilotEvent, after: PilotState, at: float) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if event is PilotEvent.SUBMITTED:
        values["submitted_at"] = at
    elif event is PilotEvent.STARTED:
        values["started_at"] = at
    elif event is PilotEvent.REGISTERED:
        values |= {"registered_at": at, "last_seen_at": at, "idle_since": at}
    if after in PILOT.final:
        values |= {"ended_at": at, "activations": 0, "idle_since": None}
    return values


def _late_news(row: RowMapping, write: PilotMoved) -> dict[str, Any]:
    """Return what a submission or start that the pilot's own call has overtaken still tells: only what is unknown.

    Without it a pilot that registers before `submit` returns would never have a batch job id, and could not be
    cancelled.
    """
    instant = {PilotEvent.SUBMITTED: "submitted_at", PilotEvent.STARTED: "started_at"}.get(write.event)
    if instant is None:
        return {}
    told = {instant: write.at, "batch_job_id": write.batch_job_id, "node": write.node}
    unknown = (None, "")
    return {name: value for name, value in told.items() if value not in unknown and row[name] in unknown}
