"""The line to the daemon: how long ago it last said that it lives, and what it must hear before its next look.

Owns the store's note for the daemon. Writes and reads in threads: a slow store must not stop the gateway's loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from harvester.domain.protocol import word
from harvester.domain.protocol.word import GatewayWord
from harvester.store.store import Store, StoreError
from harvester_api.schemas.daemon_status import daemon_note

log = logging.getLogger(__name__)

_READ_EVERY_S = 1.0
_RECENT_S = 5.0  # words are repeated for so long: two that come together must not hide one another
_MOST = 1000  # pilots that a word names


class DaemonLine:
    """The gateway's line to the daemon of its site."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._word = GatewayWord()
        self._alive_at: float | None = None  # when the daemon last said that it lives, and sees the cluster
        self._read_at = 0.0
        self._is_unsaid = self._is_writing = False
        self._tasks: set[asyncio.Task[None]] = set()

    def age_s(self, now: float) -> float | None:
        """Return how long ago the daemon last said that it lives; None where it never has."""
        return None if self._alive_at is None else max(0.0, now - self._alive_at)

    def evicted(self, pilot_id: str, now: float) -> None:
        """A pilot said that the scheduler wants its node."""
        pilots = self._word.evicted if now - self._word.evicted_at < _RECENT_S else ()
        self._say(msgspec.structs.replace(self._word, evicted_at=now, evicted=(*pilots, pilot_id)[-_MOST:]))

    def broken(self, pilot_id: str, now: float) -> None:
        """A pilot's connection broke without a goodbye."""
        pilots = self._word.broken if now - self._word.broken_at < _RECENT_S else ()
        self._say(msgspec.structs.replace(self._word, broken_at=now, broken=(*pilots, pilot_id)[-_MOST:]))

    def tick(self, now: float) -> None:
        """Read how the daemon is, if it is time."""
        if now - self._read_at >= _READ_EVERY_S:
            self._read_at = now
            self._begin(self._read())

    async def stop(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _say(self, said: GatewayWord) -> None:
        self._word, self._is_unsaid = said, True
        if not self._is_writing:
            self._is_writing = True
            self._begin(self._write())

    async def _write(self) -> None:
        """Write one word after the other: two threads might write them in another order."""
        try:
            while self._is_unsaid:
                await asyncio.sleep(0)  # what is said in this turn of the loop goes together
                self._is_unsaid = False
                await asyncio.to_thread(self._store.put_note, word.WORD_NOTE, word.encode(self._word))
        except StoreError as error:
            log.warning("the daemon was not told of pilots that leave, and will see them at its next look: %s", error)
        finally:
            self._is_writing = False

    async def _read(self) -> None:
        try:
            found = await asyncio.to_thread(daemon_note, self._store)
        except StoreError as error:
            log.warning("the store does not say whether the daemon lives: %s", error)
            return
        if found is not None:
            self._alive_at = found.alive_at or found.last_tick_at

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
