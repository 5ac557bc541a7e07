"""Pilots: adding, moving and reading them."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlmodel
from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select

from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.store.db.errors import PilotNotFound
from harvester.store.db.tables import INVOCATIONS, PILOTS, PilotRow
from harvester.store.reads.reader import StoreReader
from harvester.store.records import PilotRecord
from harvester.store.writes import pilots
from harvester.store.writes.changes import PilotMoved
from harvester.store.writes.pilots import LIVE_STATES

_P, _INV = PILOTS.c, INVOCATIONS.c
_SAME = [name for name in PilotRecord.__struct_fields__ if name not in {"state", "resources"}]
_HELD = (InvocationState.LEASED, InvocationState.RUNNING)


class Pilots(StoreReader):
    """The room of pilots."""

    def add_pilot(self, pilot: PilotRecord) -> None:
        """Write a new pilot down. Returns after the commit.

        Raises `AlreadyThere` where its id, name or token is another's.
        """
        self._commit(lambda connection: connection.execute(insert(PILOTS), _row(pilot)).rowcount)

    def pilot(self, pilot_id: str) -> PilotRecord | None:
        """Return a pilot by its id."""
        return self._one(_P.pilot_id == pilot_id)

    def pilot_by_token(self, token_sha256: str) -> PilotRecord | None:
        """Return the pilot whose token has this digest."""
        return self._one(_P.token_sha256 == token_sha256)

    def pilots(self, *, live: bool = True, limit: int = 1000) -> list[PilotRecord]:
        """Return the pilots that have not ended, oldest first; with `live` False all of them, newest first."""
        query = sqlmodel.select(PilotRow).limit(limit)
        if live:
            query = query.where(_P.state.in_(LIVE_STATES)).order_by(_P.planned_at, _P.pilot_id)
        else:
            query = query.order_by(_P.planned_at.desc(), _P.pilot_id.desc())
        with self._reading_rows() as session:
            return [_record(row) for row in session.exec(query)]

    def owners_on(self, pilot_id: str) -> frozenset[str]:
        """Return whose work a pilot holds."""
        query = select(_INV.owner).where(_INV.state.in_(_HELD), _INV.pilot_id == pilot_id).distinct()
        with self._reading() as connection:
            return frozenset(connection.execute(query).scalars())

    def move_pilot(self, move: PilotMoved) -> PilotRecord:
        """Apply an event and return the pilot as it is after the commit; one that its state forbids changes nothing.

        Raises `PilotNotFound`.
        """

        def apply(connection: Connection) -> RowMapping | None:
            pilots.move(connection, move)
            return connection.execute(select(PILOTS).where(_P.pilot_id == move.pilot_id)).mappings().one_or_none()

        row = self._commit(apply)
        if row is None:
            raise PilotNotFound(f"pilot {move.pilot_id}: not in the store, so it cannot be told {move.event.value!r}")
        return _record(PilotRow(**row))

    def _one(self, where: ColumnElement[bool]) -> PilotRecord | None:
        with self._reading_rows() as session:
            row = session.exec(sqlmodel.select(PilotRow).where(where)).one_or_none()
            return None if row is None else _record(row)


def _row(pilot: PilotRecord) -> dict[str, Any]:
    row = msgspec.structs.asdict(pilot) | {"state": str(pilot.state)}
    return row | msgspec.structs.asdict(row.pop("resources"))


def _record(row: PilotRow) -> PilotRecord:
    resources = Resources(cpus=row.cpus, gpus=row.gpus, memory_mb=row.memory_mb)
    same = {name: getattr(row, name) for name in _SAME}
    return PilotRecord(state=PilotState(row.state), resources=resources, **same)
