"""Functions: registering versions, reading them."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, and_, func, insert, select

from harvester.domain.functions import FunctionKind, FunctionVersion, function_id
from harvester.domain.resources import Resources
from harvester.store.dialect import lock_out_others
from harvester.store.room import Room
from harvester.store.tables import FUNCTIONS

_F = FUNCTIONS.c


class Functions(Room):
    """The room of functions."""

    def add_function(self, draft: FunctionVersion, at: float) -> FunctionVersion:
        """Register `draft` at `at` as the next version of its name; its own id and version are ignored.

        What is identical to the newest version is that version. Returns after the commit; raises `StoreError`.
        """
        return self._commit(lambda connection: _add(connection, draft, at))

    def function(self, name: str, version: int | None = None) -> FunctionVersion | None:
        """Return a version of a function, the newest where `version` is None; None where there is none."""
        with self._reading() as connection:
            return _newest(connection, name) if version is None else _by_id(connection, function_id(name, version))

    def function_by_id(self, function_id: str) -> FunctionVersion | None:
        """Return the version that "name@version" names."""
        with self._reading() as connection:
            return _by_id(connection, function_id)

    def functions(self, after: str = "", limit: int = 100) -> list[FunctionVersion]:
        """Return the newest version of each name, by name; names > `after`, at most `limit`."""
        newest = (
            select(_F.name, func.max(_F.version).label("version"))
            .where(_F.name > after)
            .group_by(_F.name)
            .order_by(_F.name)
            .limit(limit)
            .subquery()
        )
        query = (
            select(FUNCTIONS)
            .join(newest, and_(_F.name == newest.c.name, _F.version == newest.c.version))
            .order_by(_F.name)
        )
        with self._reading() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def function_versions(self, name: str) -> list[FunctionVersion]:
        """Return all versions of a name, the newest first."""
        query = select(FUNCTIONS).where(_F.name == name).order_by(_F.version.desc())
        with self._reading() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]


def _add(connection: Connection, draft: FunctionVersion, at: float) -> FunctionVersion:
    lock_out_others(connection)  # nobody else takes the next version between our look and our insert
    newest = _newest(connection, draft.name)
    version = 1 if newest is None else newest.version
    same = msgspec.structs.replace(draft, version=version, function_id=function_id(draft.name, version))
    if newest == same:
        return same
    version = 1 if newest is None else newest.version + 1
    added = msgspec.structs.replace(draft, version=version, function_id=function_id(draft.name, version))
    connection.execute(insert(FUNCTIONS), _row(added, at))
    return added


def _newest(connection: Connection, name: str) -> FunctionVersion | None:
    query = select(FUNCTIONS).where(_F.name == name).order_by(_F.version.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _record(row)


def _by_id(connection: Connection, function_id: str) -> FunctionVersion | None:
    row = connection.execute(select(FUNCTIONS).where(_F.function_id == function_id)).mappings().one_or_none()
    return None if row is None else _record(row)


def _row(function: FunctionVersion, at: float) -> dict[str, Any]:
    row = msgspec.structs.asdict(function) | {"kind": str(function.kind), "added_at": at}
    return row | msgspec.structs.asdict(row.pop("resources"))


def _record(row: RowMapping) -> FunctionVersion:
    fields = dict(row)
    del fields["added_at"]
    resources = Resources(**{name: fields.pop(name) for name in Resources.__struct_fields__})
    return FunctionVersion(**fields | {"kind": FunctionKind(fields["kind"]), "resources": resources})
