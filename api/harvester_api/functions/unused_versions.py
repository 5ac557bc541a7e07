"""Versions of functions that nobody calls any more: the newest of a name stays, an older one goes after a while.

Owns when the last uses are written down, and when the store is asked to delete. `retention` runs it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from harvester.store.store import Store
from harvester_api.functions.catalog import Catalog

log = logging.getLogger(__name__)

NOTED = timedelta(hours=1)  # the last use of a version is written down this often at most
GRACE = timedelta(days=1)  # from when no call finds a version until its code is dropped


class Unused:
    """The broom of one gateway for the code of its functions.

    Parameters
    ----------
    ttl: since the last use.
    """

    def __init__(self, store: Store, catalog: Catalog, ttl: timedelta) -> None:
        self._store, self._catalog, self._ttl_s = store, catalog, ttl.total_seconds()

    async def note(self, now: float) -> None:
        """Write down which versions were used lately. Raises `StoreError`."""
        used = self._catalog.take_used()
        await asyncio.to_thread(self._store.note_use, used, now, now - NOTED.total_seconds())

    async def expire(self, now: float) -> None:
        """Delete what nobody has called for long enough, and drop what was deleted before. Raises `StoreError`."""
        gone = await asyncio.to_thread(self._store.expire_functions, now - self._ttl_s, now)
        self._catalog.forget(gone)
        if gone:
            log.info("%d versions of functions went, which nobody has called for long; one is %s", len(gone), gone[0])
        await asyncio.to_thread(self._store.drop_functions, now - GRACE.total_seconds())
