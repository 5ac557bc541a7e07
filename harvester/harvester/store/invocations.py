"""Invocations: reading them. They are changed by `writes` only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Column, Row, Select, Table, bindparam, case, func, select

from harvester.domain.functions import Encoding
from harvester.domain.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.resources import Resources
from harvester.store.records import ActivationRecord, Demand, InvocationRecord
from harvester.store.room import Room
from harvester.store.tables import ACTIVATIONS, ARGUMENTS, CHECKPOINTS, FUNCTIONS, INVOCATIONS, IS_OPEN, OPEN_STATES

_INV = INVOCATIONS.c
_PAGE = 500  # invocations that one read of the recovery takes

_failure = msgspec.json.Decoder(Failure)


def _columns(table: Table, record: type[msgspec.Struct]) -> list[Column[Any]]:
    return [table.c[name] for name in record.__struct_fields__]


_INVOCATION = select(*_columns(INVOCATIONS, InvocationRecord))
_ACTIVATION = select(*_columns(ACTIVATIONS, ActivationRecord))
_IS_ACCEPTED = _INV.state == str(InvocationState.ACCEPTED)
_DEMAND = (
    select(
        _INV.function_id,
        func.sum(case((_IS_ACCEPTED, 1), else_=0)).label("waiting"),
        func.sum(case((_IS_ACCEPTED, 0), else_=1)).label("held"),
        func.min(case((_IS_ACCEPTED, _INV.accepted_at))).label("oldest_at"),
    )
    .where(IS_OPEN)
    .group_by(_INV.function_id)
    .subquery()
)
_F = FUNCTIONS.c
_DEMAND_OF_FUNCTIONS = select(_DEMAND, _F.cpus, _F.gpus, _F.memory_mb, _F.python, _F.walltime_s, _F.checkpoints).join(
    FUNCTIONS, _F.function_id == _DEMAND.c.function_id
)


class Invocations(Room):
    """The room of invocations."""

    def invocation(self, invocation_id: str) -> InvocationRecord | None:
        """Return an invocation by its id."""
        with self._reading() as connection:
            row = connection.execute(_INVOCATION.where(_INV.invocation_id == invocation_id)).one_or_none()
        return None if row is None else _record(row)

    def invocations(
        self,
        *,
        owner: str | None = None,
        function: str | None = None,
        state: InvocationState | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[InvocationRecord]:
        """Return at most `limit` invocations, newest first.

        Parameters
        ----------
        owner, state: only those; None for all.
        function: a name, for all of its versions, or "name@version".
        before: only ids < this one; the last id of one page gets the next.
        """
        query = _INVOCATION.order_by(_INV.invocation_id.desc()).limit(limit)
        if owner is not None:
            query = query.where(_INV.owner == owner)
        if function is not None:
            name, at, _ = function.rpartition("@")
            query = query.where(_INV.function_name == (name if at else function))
            if at:
                query = query.where(_INV.function_id == function)
        if state is not None:
            # As a literal: only so does the database see that a partial index over this state will do.
            query = query.where(_INV.state == bindparam("p_state", str(state), literal_execute=True))
        if before is not None:
            query = query.where(_INV.invocation_id < before)
        with self._reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def by_idempotency_key(self, owner: str, key: str) -> InvocationRecord | None:
        """Return the invocation that `owner` made under `key`."""
        query = _INVOCATION.where(_INV.owner == owner, _INV.idempotency_key == key)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _record(row)

    def activations(self, invocation_id: str) -> list[ActivationRecord]:
        """Return every attempt at an invocation, the first first."""
        query = _ACTIVATION.where(ACTIVATIONS.c.invocation_id == invocation_id).order_by(ACTIVATIONS.c.fence)
        with self._reading() as connection:
            return [_activation(row) for row in connection.execute(query)]

    def arguments(self, invocation_id: str) -> bytes | None:
        """Return the arguments as they were sent."""
        return self._payload(select(ARGUMENTS.c.arguments).where(ARGUMENTS.c.invocation_id == invocation_id))

    def result(self, invocation_id: str) -> bytes | None:
        """Return the value of an invocation that SUCCEEDED, None for any other."""
        return self._payload(select(_INV.result).where(_INV.invocation_id == invocation_id))

    def checkpoint(self, invocation_id: str) -> bytes | None:
        """Return the newest checkpoint of an open invocation."""
        return self._payload(select(CHECKPOINTS.c.state).where(CHECKPOINTS.c.invocation_id == invocation_id))

    def open_invocations(self) -> Iterator[InvocationRecord]:
        """Yield every invocation that has not ended, by id, for recovery.

        Reads in short steps, so that a slow consumer keeps no snapshot of the database alive; what ends meanwhile is
        left out.
        """
        with self._reading() as connection:
            ids = iter(sorted(connection.execute(select(_INV.invocation_id).where(IS_OPEN)).scalars()))
        while page := list(islice(ids, _PAGE)):
            query = _INVOCATION.where(_INV.invocation_id.in_(page), _INV.state.in_([str(s) for s in OPEN_STATES]))
            with self._reading() as connection:
                rows = connection.execute(query.order_by(_INV.invocation_id)).all()
            yield from map(_record, rows)

    def demand(self) -> list[Demand]:
        """Return what the open invocations need, a record a function version; the longest waiting first."""
        with self._reading() as connection:
            found = [_demand(row) for row in connection.execute(_DEMAND_OF_FUNCTIONS)]
        return sorted(found, key=lambda demand: (demand.oldest_at is None, demand.oldest_at, demand.function_id))

    def _payload(self, query: Select[Any]) -> bytes | None:
        with self._reading() as connection:
            value = connection.execute(query).scalar()
        return None if value is None else bytes(value)


def _record(row: Row[Any]) -> InvocationRecord:
    fields = row._asdict()
    failure = fields["failure"]
    return InvocationRecord(
        **fields
        | {
            "state": InvocationState(fields["state"]),
            "encoding": Encoding(fields["encoding"]),
            "failure": None if failure is None else _failure.decode(failure),
        }
    )


def _activation(row: Row[Any]) -> ActivationRecord:
    fields = row._asdict()
    end = fields["end"]
    return ActivationRecord(**fields | {"end": None if end is None else ActivationEnd(end)})


def _demand(row: Row[Any]) -> Demand:
    fields = row._asdict()
    resources = Resources(**{name: fields.pop(name) for name in Resources.__struct_fields__})
    return Demand(resources=resources, **fields)
