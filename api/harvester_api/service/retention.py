"""Retention: results and arguments are deleted some time after an end, the record of the invocation later.

Owns when the store is asked to delete, and the files that go with it. What waits or runs is never touched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from harvester.store.store import Store, StoreError
from harvester_api.functions.unused_versions import Unused
from harvester_api.runtime.open_invocations import Book
from harvester_api.storage.blobs import Blobs

log = logging.getLogger(__name__)

INTERVAL = timedelta(minutes=1)
SWEEP_INTERVAL = timedelta(days=1)
SLICE = 1000  # invocations that one transaction deletes: writes of the hot path get in between


class RetentionSweep:
    """The broom of one gateway."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs | None,
        book: Book,
        result_ttl: timedelta,
        record_ttl: timedelta,
        *,
        unused: Unused | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`unused` sweeps out the code of functions; None: that stays."""
        self._unused = unused
        self._store, self._blobs, self._book, self._clock = store, blobs, book, clock
        self._result_s, self._record_s = result_ttl.total_seconds(), record_ttl.total_seconds()
        self._is_stopping = False
        self._going: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Delete from now on; first, and daily, what a process that died left in the directory of payloads."""
        self._going = asyncio.create_task(self._go())

    async def stop(self) -> None:
        """Delete no more."""
        self._is_stopping = True
        if self._going is not None:
            self._going.cancel()
            await asyncio.wait({self._going})

    def sweep(self) -> None:
        """Delete old files that no invocation refers to. Blocks. Raises `StoreError`."""
        if self._blobs is not None and (swept := self._blobs.sweep(self._store.referenced, self._age_of_files())):
            log.info("deleted %d large payloads that no invocation refers to", swept)

    def _age_of_files(self) -> float:
        """Return the present by which files are old: they bear the machine's time, which may have been set."""
        return min(self._clock(), time.time())

    def _delete(self) -> None:
        now = self._clock()
        purged = forgotten = 0
        while not self._is_stopping and (count := self._purge(now)):
            purged += count
        while not self._is_stopping and (count := self._store.forget(now - self._record_s, SLICE)):
            forgotten += count
        if purged or forgotten:
            log.info("results of %d invocations, and records of %d, were kept long enough", purged, forgotten)

    def _purge(self, now: float) -> int:
        purged = self._store.purge(now - self._result_s, SLICE)
        if self._blobs is not None:
            self._blobs.delete(purged.blobs)  # after the commit: what a crash leaves here is swept
        return purged.count

    async def look(self) -> None:
        """Delete what has been over for long enough, first from memory. Raises `StoreError`."""
        self._book.forget_ended(self._clock() - self._result_s)
        await asyncio.to_thread(self._delete)
        if self._unused is not None:
            await self._unused.note(self._clock())

    async def _go(self) -> None:
        sweep_at = self._clock()
        while True:
            if self._clock() >= sweep_at:
                sweep_at = self._clock() + SWEEP_INTERVAL.total_seconds()
                await self._tried(asyncio.to_thread(self.sweep))
                if self._unused is not None:
                    await self._tried(self._unused.expire(self._clock()))
            await self._tried(self.look())
            await asyncio.sleep(INTERVAL.total_seconds())

    async def _tried(self, what: Awaitable[None]) -> None:
        try:
            await what
        except StoreError as error:
            log.warning("expired results could not be deleted, and are tried again in a minute: %s", error)
        except Exception:  # outermost of this task
            log.exception("defect in deleting expired results; retention continues")
