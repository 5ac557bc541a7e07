"""What becomes of invocations that ended long ago: first their payloads go, later the rows. Knows no duration."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, union_all, update

from harvester.domain.payload.blobs import BlobRef
from harvester.store.db.tables import ACTIVATIONS, ARGUMENTS, INVOCATIONS, IS_KEPT, IS_PURGED
from harvester.store.reads.reader import StoreReader
from harvester.store.records import Purged

_INV, _ARGS = INVOCATIONS.c, ARGUMENTS.c
_PAGE = 500  # ids in one IN


class RetentionStore(StoreReader):
    """The room of what is over."""

    def referenced(self, names: Collection[str]) -> set[str]:
        """Return those of the blobs `names` that an invocation refers to.

        A blob that was written a moment ago may be on its way to its first reference: leave young files alone.
        """
        found: set[str] = set()
        left = sorted(names)
        with self._reading() as connection:
            for start in range(0, len(left), _PAGE):
                page = left[start : start + _PAGE]
                for blob in (_ARGS.blob, _INV.result_blob):
                    found.update(connection.execute(select(blob).where(blob.in_(page))).scalars())
        return found

    def purge(self, before: float, limit: int) -> Purged:
        """Delete results and arguments of what ended before `before` (Unix seconds), keeping the records.

        Takes at most `limit` invocations, those first that ended first, in one transaction. Returns after the commit;
        the blobs that it tells of are the caller's to delete.
        """
        return self._commit(lambda connection: _purge(connection, before, limit, time.time()))

    def forget(self, before: float, limit: int) -> int:
        """Delete all there is of at most `limit` invocations that ended before `before`; return of how many.

        Purge first: the blobs of what was never purged become garbage.
        """
        return self._commit(lambda connection: _forget(connection, before, limit))


def _purge(connection: Connection, before: float, limit: int, at: float) -> Purged:
    """Delete the payloads of at most `limit` invocations that ended before `before`."""
    query = select(_INV.invocation_id).where(IS_KEPT, _INV.ended_at < before).order_by(_INV.ended_at).limit(limit)
    blobs: list[BlobRef] = []
    found = connection.execute(query).scalars().all()
    for ids in _pages(found):
        is_one = _INV.invocation_id.in_(ids)
        are_its = _ARGS.invocation_id.in_(ids)
        blobs += _blobs(
            connection.execute(
                select(_INV.result_blob, _INV.result_size).where(is_one, _INV.result_blob.is_not(None))
            ).all()
        )
        blobs += _blobs(
            connection.execute(select(_ARGS.blob, _ARGS.size).where(are_its, _ARGS.blob.is_not(None))).all()
        )
        connection.execute(delete(ARGUMENTS).where(are_its))
        connection.execute(
            update(INVOCATIONS).where(is_one).values(result=None, result_blob=None, result_size=None, purged_at=at)
        )
    return Purged(count=len(found), blobs=tuple(blobs))


def _forget(connection: Connection, before: float, limit: int) -> int:
    """Delete the rows of at most `limit` invocations that ended before `before`; return of how many."""
    is_over = _INV.ended_at < before
    # Two halves, since each has an index of its own.
    query = union_all(
        select(_INV.invocation_id).where(IS_PURGED, is_over), select(_INV.invocation_id).where(IS_KEPT, is_over)
    ).limit(limit)
    found = connection.execute(query).scalars().all()
    for ids in _pages(found):
        for table in (ARGUMENTS, ACTIVATIONS, INVOCATIONS):
            connection.execute(delete(table).where(table.c.invocation_id.in_(ids)))
    return len(found)


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))


def _blobs(rows: Sequence[Sequence[Any]]) -> list[BlobRef]:
    return [BlobRef(name=name, size=size) for name, size in rows]
