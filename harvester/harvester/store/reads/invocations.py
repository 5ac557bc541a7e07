"""Invocations: reading them. They are changed by `writes`, and deleted by `retention`, only."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Integer,
    Row,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    or_,
    select,
    text,
    tuple_,
)

from harvester.domain.model.functions import Encoding, full_name, split_name
from harvester.domain.model.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.model.resources import Resources
from harvester.domain.payload.blobs import BlobRef
from harvester.store.db.tables import ACTIVATIONS, ARGUMENTS, CHECKPOINTS, DEMAND, FUNCTIONS, INVOCATIONS, OPEN_STATES
from harvester.store.reads.reader import StoreReader
from harvester.store.records import ActivationRecord, Demand, InvocationRecord

_INV, _ARGS, _CKPT, _F = INVOCATIONS.c, ARGUMENTS.c, CHECKPOINTS.c, FUNCTIONS.c
_PAGE, _PAGE_MIN = 5000, 50  # invocations that the recovery's reads hold in memory, of all functions and of one

_failure = msgspec.json.Decoder(Failure)
_STATES = {str(state): state for state in InvocationState}
_ENCODINGS = {str(encoding): encoding for encoding in Encoding}


def _columns(table: Table, record: type[msgspec.Struct]) -> list[Column[Any]]:
    return [table.c[name] for name in record.__struct_fields__]


_INVOCATION = select(*_columns(INVOCATIONS, InvocationRecord))
# Asked for each submission that has a key: to make the statement anew would take three times as long as to run it.
_BY_KEY = _INVOCATION.where(_INV.owner == bindparam("owner"), _INV.idempotency_key == bindparam("key"))
_ACTIVATION = select(*_columns(ACTIVATIONS, ActivationRecord))
# One state and one function at a time, ordered as the index over the open ones is: a page begins where the one before
# ended. The state stands there as a literal, since only so does the database see that the partial index will do.
_AGE = (_INV.accepted_at, _INV.invocation_id)
_OPEN = {
    state: _INVOCATION.where(
        text(f"invocation.state = '{state}'"),
        _INV.function_id == bindparam("function"),
        tuple_(*_AGE) > tuple_(bindparam("at", type_=Float), bindparam("id", type_=Text)),
    )
    .order_by(*_AGE)
    .limit(bindparam("page", type_=Integer))
    for state in OPEN_STATES
}
_IS_ACCEPTED = text(f"invocation.state = '{InvocationState.ACCEPTED}'")
_OLDEST_AT = (
    select(_INV.accepted_at)
    .where(_IS_ACCEPTED, _INV.function_id == DEMAND.c.function_id)
    .order_by(_INV.accepted_at)
    .limit(1)
    .scalar_subquery()
)
_HAS_OPEN = DEMAND.c.waiting + DEMAND.c.held > 0
_DEMAND = (
    select(
        DEMAND,
        _OLDEST_AT.label("oldest_at"),
        _F.cpus,
        _F.gpus,
        _F.memory_mb,
        _F.python,
        _F.walltime_s,
        _F.checkpoints,
    )
    .join(FUNCTIONS, _F.function_id == DEMAND.c.function_id)
    .where(_HAS_OPEN)
)


class Invocations(StoreReader):
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
        function: a name, for all of its versions, or "name@version"; each with "owner/" before it, or of any owner.
        before: only ids < this one; the last id of one page gets the next.
        """
        query = _INVOCATION.order_by(_INV.invocation_id.desc()).limit(limit)
        if owner is not None:
            query = query.where(_INV.owner == owner)
        if function is not None:
            query = query.where(*_is_of(function))
        if state is not None:
            # As a literal: only so does the database see that a partial index over this state will do.
            query = query.where(_INV.state == bindparam("p_state", str(state), literal_execute=True))
        if before is not None:
            query = query.where(_INV.invocation_id < before)
        with self._reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def by_idempotency_key(self, owner: str, key: str) -> InvocationRecord | None:
        """Return the invocation that `owner` made under `key`."""
        with self._reading() as connection:
            row = connection.execute(_BY_KEY, {"owner": owner, "key": key}).one_or_none()
        return None if row is None else _record(row)

    def activations(self, invocation_id: str) -> list[ActivationRecord]:
        """Return every attempt at an invocation, the first first."""
        query = _ACTIVATION.where(ACTIVATIONS.c.invocation_id == invocation_id).order_by(ACTIVATIONS.c.fence)
        with self._reading() as connection:
            return [_activation(row) for row in connection.execute(query)]

    def arguments(self, invocation_id: str) -> bytes | BlobRef | None:
        """Return the arguments as they were sent, or the blob that holds them; None once they were purged."""
        return self._payload(
            select(_ARGS.arguments, _ARGS.blob, _ARGS.size).where(_ARGS.invocation_id == invocation_id)
        )

    def result(self, invocation_id: str) -> bytes | BlobRef | None:
        """Return the value of an invocation that SUCCEEDED, or the blob that holds it.

        None for any other, and once it was purged: the record's `purged_at` tells.
        """
        query = select(_INV.result, _INV.result_blob, _INV.result_size)
        return self._payload(query.where(_INV.invocation_id == invocation_id))

    def checkpoint(self, invocation_id: str) -> bytes | None:
        """Return the newest checkpoint of an open invocation."""
        query = select(_CKPT.state).where(_CKPT.invocation_id == invocation_id)
        with self._reading() as connection:
            value = connection.execute(query).scalar()
        return None if value is None else bytes(value)

    def open_invocations(self) -> Iterator[InvocationRecord]:
        """Yield every invocation that has not ended, for recovery: those of one state after the other, oldest first.

        Reads in pages, so that a slow consumer keeps no snapshot of the database alive and little memory. For a time
        when nothing is written about invocations: one that changes its state meanwhile may be left out, or told twice.
        """
        with self._reading() as connection:
            functions = connection.execute(select(DEMAND.c.function_id).where(_HAS_OPEN)).scalars().all()
        # Each owner, function and pilot is one string, however many invocations name it.
        names: dict[str, str] = {}
        page = max(_PAGE_MIN, _PAGE // max(1, len(functions)))
        for query in _OPEN.values():
            yield from heapq.merge(
                *(self._open(query, function, page, names) for function in functions),
                key=lambda record: (record.accepted_at, record.invocation_id),
            )

    def _open(self, query: Select[Any], function: str, page: int, names: dict[str, str]) -> Iterator[InvocationRecord]:
        """Yield what `query` finds of a function version, `page` rows a read."""
        at, last_id = 0.0, ""
        while True:
            with self._reading() as connection:
                parameters = {"function": function, "at": at, "id": last_id, "page": page}
                rows = connection.execute(query, parameters).all()
            for row in rows:
                yield _record(row, names)
            if len(rows) < page:
                return
            at, last_id = rows[-1].accepted_at, rows[-1].invocation_id

    def demand(self) -> list[Demand]:
        """Return what the open invocations need, a record a function version; the longest waiting first."""
        with self._reading() as connection:
            found = [_demand(row) for row in connection.execute(_DEMAND)]
        return sorted(found, key=lambda demand: (demand.oldest_at is None, demand.oldest_at, demand.function_id))

    def _payload(self, query: Select[Any]) -> bytes | BlobRef | None:
        """Return what a query for (bytes, name of a blob, its size) found."""
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        value, name, size = row
        if name is not None:
            return BlobRef(name=name, size=size)
        return None if value is None else bytes(value)


def _is_of(function: str) -> list[ColumnElement[bool]]:
    """Return the conditions for invocations of a function; ids from before owners were known have none in them."""
    named, _, version = function.rpartition("@")
    if not version.isdecimal():  # the name of an owner may have an @ too
        named, version = function, ""
    owner, name = split_name(named)
    conditions: list[ColumnElement[bool]] = [_INV.function_name == name]
    if owner:
        # A range and no LIKE, for which two owners may be one in SQLite; an A is what follows an @.
        full = full_name(owner, name)
        is_owners = and_(_INV.function_id > f"{full}@", _INV.function_id < f"{full}A")
        older = select(_F.function_id).where(_F.owner == owner, _F.name == name)
        conditions.append(or_(is_owners, _INV.function_id.in_(older)))
    if version:
        last = f"{name}@{version}"
        conditions.append(or_(_INV.function_id == last, _INV.function_id.endswith(f"/{last}", autoescape=True)))
    return conditions


def _record(row: Sequence[Any], names: dict[str, str] | None = None) -> InvocationRecord:
    (
        invocation_id, function_id, owner, state, encoding, accepted_at, started_at, ended_at, fence, pilot_id,
        attempts, retries_used, deaths, checkpoint_at, failure, priority, start_by, end_by, purged_at,
    ) = row  # fmt: skip
    if names is not None:
        function_id = names.setdefault(function_id, function_id)
        owner = names.setdefault(owner, owner)
        pilot_id = names.setdefault(pilot_id, pilot_id)
    return InvocationRecord(
        invocation_id=invocation_id,
        function_id=function_id,
        owner=owner,
        state=_STATES[state],
        encoding=_ENCODINGS[encoding],
        accepted_at=accepted_at,
        started_at=started_at,
        ended_at=ended_at,
        fence=fence,
        pilot_id=pilot_id,
        attempts=attempts,
        retries_used=retries_used,
        deaths=deaths,
        checkpoint_at=checkpoint_at,
        failure=None if failure is None else _failure.decode(failure),
        priority=priority,
        start_by=start_by,
        end_by=end_by,
        purged_at=purged_at,
    )


def _activation(row: Row[Any]) -> ActivationRecord:
    fields = row._asdict()
    end = fields["end"]
    return ActivationRecord(**fields | {"end": None if end is None else ActivationEnd(end)})


def _demand(row: Row[Any]) -> Demand:
    fields = row._asdict()
    resources = Resources(**{name: fields.pop(name) for name in Resources.__struct_fields__})
    return Demand(resources=resources, **fields)
