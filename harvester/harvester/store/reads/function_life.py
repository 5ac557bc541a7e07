"""How function versions end: deleted by their owners, or unused for long. Knows no duration.

Going has two steps. A version that is deleted is found by no call any more, but its row stays: an invocation that was
accepted in the same moment, or by another gateway on this store, still finds its code after a restart. The row goes
later, when nothing open refers to it. Invocations and results need no function to be read.

When a version was used last is written down now and then, by `note_use`, and not with every call: what was used since
has invocations that are open or whose results are kept, and those alone keep it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, and_, delete, exists, func, select, update

from harvester.domain.model.functions import Sharing
from harvester.store.db.tables import DEMAND, FUNCTION_NAMES, FUNCTIONS, INVOCATIONS
from harvester.store.reads.reader import StoreReader

_F, _N, _INV = FUNCTIONS.c, FUNCTION_NAMES.c, INVOCATIONS.c
_PAGE = 500  # ids in one IN
_IS_THERE = _F.deleted_at.is_(None)
_IS_OPEN = exists().where(DEMAND.c.function_id == _F.function_id, DEMAND.c.waiting + DEMAND.c.held > 0)


class FunctionLife(StoreReader):
    """The room of functions that nobody needs any more."""

    def note_use(self, function_ids: Collection[str], at: float, unless_since: float) -> None:
        """Write down that versions were used at `at`, where the last use known is before `unless_since`."""
        if function_ids:
            self._commit(lambda connection: _note_use(connection, sorted(function_ids), at, unless_since))

    def delete_function(self, function_id: str, at: float) -> int:
        """Delete a version; return how many open invocations keep it from that. Returns after the commit."""
        return self._commit(lambda connection: _delete(connection, function_id, at))

    def expire_functions(self, before: float, at: float) -> list[str]:
        """Delete versions that were not used since `before`, and return their ids.

        Those stay that are the newest of their name, and those of which an invocation is open or has its result.
        """
        newest = FUNCTIONS.alias()
        is_newer = (newest.c.owner == _F.owner, newest.c.name == _F.name, newest.c.version > _F.version)
        query = select(_F.function_id, _F.name).where(
            _IS_THERE, _F.used_at < before, exists().where(*is_newer, newest.c.deleted_at.is_(None))
        )
        with self._reading() as connection:
            found = {row.function_id: row.name for row in connection.execute(query)}
            for names in _pages(sorted(set(found.values()))):
                kept = select(_INV.function_id).where(_INV.function_name.in_(names), _INV.purged_at.is_(None))
                for function_id in connection.execute(kept.distinct()).scalars():
                    found.pop(function_id, None)
        return self._commit(lambda connection: _expire(connection, sorted(found), at)) if found else []

    def drop_functions(self, before: float) -> int:
        """Drop the rows of versions that were deleted before `before`; return of how many."""
        query = select(_F.function_id).where(_F.deleted_at < before, ~_IS_OPEN)
        with self._reading() as connection:
            found = list(connection.execute(query).scalars())
        if found:
            self._commit(lambda connection: _drop(connection, found))
        return len(found)


def _note_use(connection: Connection, function_ids: Sequence[str], at: float, unless_since: float) -> None:
    for page in _pages(function_ids):
        stale = _F.function_id.in_(page), _F.used_at < unless_since
        connection.execute(update(FUNCTIONS).where(*stale).values(used_at=at))


def _delete(connection: Connection, function_id: str, at: float) -> int:
    is_it = _F.function_id == function_id
    open_ = select(DEMAND.c.waiting + DEMAND.c.held).where(DEMAND.c.function_id == function_id)
    count = int(connection.execute(open_).scalar() or 0)
    if count:
        return count
    connection.execute(update(FUNCTIONS).where(is_it, _IS_THERE).values(deleted_at=at))
    owner, name = connection.execute(select(_F.owner, _F.name).where(is_it)).one()
    left = select(func.count()).select_from(FUNCTIONS).where(_F.owner == owner, _F.name == name, _IS_THERE)
    if not connection.execute(left).scalar_one():  # what its owner registers later under this name is not shared by it
        is_name = and_(_N.owner == owner, _N.name == name)
        connection.execute(update(FUNCTION_NAMES).where(is_name).values(sharing=str(Sharing.NONE)))
    return 0


def _expire(connection: Connection, function_ids: Sequence[str], at: float) -> list[str]:
    gone: list[str] = []
    for page in _pages(function_ids):
        unused = select(_F.function_id).where(_F.function_id.in_(page), _IS_THERE, ~_IS_OPEN)
        ids = list(connection.execute(unused).scalars())
        connection.execute(update(FUNCTIONS).where(_F.function_id.in_(ids)).values(deleted_at=at))
        gone += ids
    return gone


def _drop(connection: Connection, function_ids: Sequence[str]) -> None:
    for page in _pages(function_ids):
        for table in (DEMAND, FUNCTIONS):
            connection.execute(delete(table).where(table.c.function_id.in_(page)))


def _pages(items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[start : start + _PAGE] for start in range(0, len(items), _PAGE))
