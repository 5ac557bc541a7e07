"""Functions: registering versions, reading them, sharing them. How they go again is `function_life`'s.

A name belongs to its owner: two users' functions of one name have nothing in common. What a name means to somebody who
calls it is not decided here.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from harvester.domain.model.functions import FunctionKind, FunctionVersion, Sharing, function_id, split_name
from harvester.domain.model.resources import Resources
from harvester.store.db.dialect import lock_out_others
from harvester.store.db.tables import FUNCTION_NAMES, FUNCTIONS
from harvester.store.reads.reader import StoreReader
from harvester.store.records import ListedFunction

_F, _N = FUNCTIONS.c, FUNCTION_NAMES.c
_IS_THERE = _F.deleted_at.is_(None)
_IS_SHARED = _N.sharing == str(Sharing.ALL)
_LISTED = select(*(column for column in _F if column is not _F.body), literal(b"").label("body"), _N.sharing).join(
    FUNCTION_NAMES, and_(_N.owner == _F.owner, _N.name == _F.name)
)


class Functions(StoreReader):
    """The room of functions."""

    def add_function(self, draft: FunctionVersion, at: float, sharing: Sharing | None = None) -> FunctionVersion:
        """Register `draft` at `at` as the next version of its owner's name; its own id and version are ignored.

        What is identical to the newest version is that version. `sharing` is for the whole name; None leaves it as it
        is. Returns after the commit; raises `StoreError`.
        """
        return self._commit(lambda connection: _add(connection, draft, at, sharing))

    def function(self, name: str, version: int | None = None, *, owner: str = "") -> FunctionVersion | None:
        """Return a version of an owner's function, the newest where `version` is None; None where there is none."""
        with self._reading() as connection:
            return _find(connection, owner, name, version)

    def function_by_id(self, function_id: str) -> FunctionVersion | None:
        """Return the version that an id names, also one that was deleted as long as something may refer to it."""
        with self._reading() as connection:
            row = connection.execute(select(FUNCTIONS).where(_F.function_id == function_id)).mappings().one_or_none()
        return None if row is None else _record(row)

    def function_id_of(self, name: str, version: int | None = None, *, owner: str = "") -> str | None:
        """Return the id of a version, the newest where `version` is None; None where there is none."""
        query = select(_F.function_id).where(*_is_one(owner, name, version)).order_by(_F.version.desc()).limit(1)
        with self._reading() as connection:
            found: str | None = connection.execute(query).scalar()
        return found

    def functions(self, after: str = "", limit: int = 100, *, seen_by: str | None = None) -> list[ListedFunction]:
        """Return the newest version of each name, by name and owner; those behind `after`, at most `limit`.

        Parameters
        ----------
        after: a name, or "owner/name".
        seen_by: only this user's own and those that are shared; None for all.
        """
        newest = (
            select(_F.owner, _F.name, func.max(_F.version).label("version"))
            .join(FUNCTION_NAMES, and_(_N.owner == _F.owner, _N.name == _F.name))
            .where(_IS_THERE, _is_behind(after), *_is_seen(seen_by))
            .group_by(_F.owner, _F.name)
            .order_by(_F.name, _F.owner)
            .limit(limit)
            .subquery()
        )
        are_same = and_(*(_F[name] == newest.c[name] for name in ("owner", "name", "version")))
        return self._listed(_LISTED.join(newest, are_same).order_by(_F.name, _F.owner))

    def function_versions(
        self, name: str, *, owner: str = "", before: int | None = None, limit: int | None = None
    ) -> list[ListedFunction]:
        """Return the versions of an owner's function, the newest first; those older than `before`, at most `limit`."""
        query = _LISTED.where(*_is_one(owner, name, None)).order_by(_F.version.desc()).limit(limit)
        return self._listed(query if before is None else query.where(_F.version < before))

    def listed(self, function_id: str) -> ListedFunction | None:
        """Return a version as lists show it."""
        found = self._listed(_LISTED.where(_IS_THERE, _F.function_id == function_id))
        return found[0] if found else None

    def function_names(self, seen_by: str | None, limit: int) -> list[tuple[str, str]]:
        """Return owners and names of at most `limit` functions; `seen_by` as for `functions`."""
        there = select(_F.owner, _F.name).where(_IS_THERE).distinct().subquery()
        query = (
            select(_N.owner, _N.name)
            .join(there, and_(_N.owner == there.c.owner, _N.name == there.c.name))
            .where(*_is_seen(seen_by))
            .limit(limit)
        )
        with self._reading() as connection:
            return [(owner, name) for owner, name in connection.execute(query)]

    def sharers(self, name: str) -> list[str]:
        """Return who shares a function of this name with everybody."""
        query = select(_N.owner).where(_N.name == name, _IS_SHARED).order_by(_N.owner)
        with self._reading() as connection:
            return list(connection.execute(query).scalars())

    def share(self, name: str, sharing: Sharing, *, owner: str = "") -> None:
        """Say who may call an owner's function. Returns after the commit."""
        self._commit(lambda connection: _share(connection, owner, name, sharing))

    def _listed(self, query: Select[Any]) -> list[ListedFunction]:
        with self._reading() as connection:
            return [_as_listed(row) for row in connection.execute(query).mappings()]


def _is_one(owner: str, name: str, version: int | None) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for the versions of an owner's function, or for one of them."""
    are_its = (_F.owner == owner, _F.name == name, _IS_THERE)
    return are_its if version is None else (*are_its, _F.version == version)


def _is_behind(after: str) -> ColumnElement[bool]:
    owner, name = split_name(after)
    return tuple_(_F.name, _F.owner) > tuple_(literal(name), literal(owner)) if owner else _F.name > name


def _is_seen(seen_by: str | None) -> tuple[ColumnElement[bool], ...]:
    return () if seen_by is None else (or_(_N.owner == seen_by, _IS_SHARED),)


def _add(connection: Connection, draft: FunctionVersion, at: float, sharing: Sharing | None) -> FunctionVersion:
    lock_out_others(connection)  # nobody else takes the next version between our look and our insert
    owner, name = draft.owner, draft.name
    newest = _find(connection, owner, name, None)
    if newest is not None and newest == _numbered(draft, newest.version, newest.function_id):
        if sharing is not None:
            _share(connection, owner, name, sharing)
        return newest
    is_it = and_(_N.owner == owner, _N.name == name)
    given = connection.execute(select(_N.versions).where(is_it)).scalar()
    version = (given or 0) + 1
    added = _numbered(draft, version, function_id(name, version, owner))
    connection.execute(insert(FUNCTIONS), _row(added, at))
    if given is None:
        shared = str(sharing or Sharing.NONE)
        connection.execute(insert(FUNCTION_NAMES), {"owner": owner, "name": name, "versions": 1, "sharing": shared})
    else:
        connection.execute(update(FUNCTION_NAMES).where(is_it).values(versions=version))
        if sharing is not None:
            _share(connection, owner, name, sharing)
    return added


def _numbered(draft: FunctionVersion, version: int, function_id: str) -> FunctionVersion:
    return msgspec.structs.replace(draft, version=version, function_id=function_id)


def _share(connection: Connection, owner: str, name: str, sharing: Sharing) -> None:
    is_it = and_(_N.owner == owner, _N.name == name)
    connection.execute(update(FUNCTION_NAMES).where(is_it).values(sharing=str(sharing)))


def _find(connection: Connection, owner: str, name: str, version: int | None) -> FunctionVersion | None:
    query = select(FUNCTIONS).where(*_is_one(owner, name, version)).order_by(_F.version.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _record(row)


def _row(function: FunctionVersion, at: float) -> dict[str, Any]:
    row = msgspec.structs.asdict(function) | {"kind": str(function.kind), "added_at": at, "used_at": at}
    return row | msgspec.structs.asdict(row.pop("resources"))


def _record(row: RowMapping) -> FunctionVersion:
    fields = {name: row[name] for name in FunctionVersion.__struct_fields__ if name != "resources"}
    resources = Resources(**{name: row[name] for name in Resources.__struct_fields__})
    return FunctionVersion(**fields | {"kind": FunctionKind(fields["kind"]), "resources": resources})


def _as_listed(row: RowMapping) -> ListedFunction:
    return ListedFunction(
        function=_record(row), sharing=Sharing(row["sharing"]), added_at=row["added_at"], used_at=row["used_at"]
    )
