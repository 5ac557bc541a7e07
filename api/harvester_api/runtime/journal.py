"""The journal: hands writes to the store in groups, and runs what had to wait for them, in order.

Owns the order between writes and answers: an action put behind a write runs only after the commit that holds it. One
group is in flight at a time; what comes meanwhile makes the next. Writes that nobody waits for linger a moment, so that
the whole life of a short invocation is one commit. Of a group that fails each acceptance tells whether it is refused;
the rest is kept and tried again: a result that could not be written is not acknowledged, and not lost. Must not know
what the writes mean beyond that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial

import msgspec

from harvester.store.store import StoreError
from harvester.store.writes.changes import NewInvocation, PilotMoved, PilotSeen, Write
from harvester_api.doubt import InDoubt

log = logging.getLogger(__name__)

LINGER_S = 0.002  # how long a write that nobody waits for may stay in memory; a restart can do without those

SLICE = 400  # items and invocations, of what follows a commit, at a time: a few milliseconds of the event loop

Action = Callable[[], None]
# Told of a failed try; the answer is what the callers hear. `InDoubt` keeps the acceptance, all else refuses it.
OnFailure = Callable[[StoreError], StoreError]


class Acceptance(msgspec.Struct, kw_only=True, eq=False):
    """New invocations that are committed or refused together."""

    writes: Sequence[NewInvocation]
    future: asyncio.Future[None]  # of the present try: ends with the commit, or with what kept it from happening
    on_commit: Action
    on_failure: OnFailure


_Item = Write | Acceptance | Action


class Journal:
    """The way to the store, for one event loop."""

    def __init__(self, write: Callable[[Sequence[Write]], Future[None]], retry: timedelta) -> None:
        """`write` is the store's; `retry` the pause before a failed commit is tried again."""
        self._write = write
        self._retry_s = retry.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._items: list[_Item] = []
        self._is_busy = False  # a group is in flight, about to leave, or waits to be tried again
        self._is_urgent = False  # somebody waits for what is queued
        self._lingering: asyncio.TimerHandle | None = None
        self._drained: list[asyncio.Future[None]] = []
        self.trouble: StoreError | None = None  # why the last commit failed; None when it did not

    def put(self, write: Write) -> None:
        """Queue a write that nobody waits for, as far as this call knows."""
        self._items.append(write)
        if not self._is_busy and self._lingering is None:
            self._linger()

    def then(self, action: Action) -> None:
        """Run `action` once everything queued so far is on disk."""
        self._items.append(action)
        self._is_urgent = True
        if not self._is_busy:
            self._hurry()

    def accept(
        self,
        writes: Sequence[NewInvocation],
        on_commit: Action,
        on_failure: OnFailure,
        *,
        is_urgent: bool,
        is_more: bool = False,
    ) -> Acceptance:
        """Queue new invocations, in a list that stays as it is: all are committed, or all refused.

        `is_urgent` tells that somebody waits for it. With `is_more` they share the fate of those of the call before, in
        the same turn of the event loop. While earlier writes wait to be tried again nothing new is taken: raises that
        `StoreError` at once.
        """
        if self.trouble is not None and self._items and not is_more:
            raise self.trouble
        acceptance = Acceptance(
            writes=writes, future=self._loop.create_future(), on_commit=on_commit, on_failure=on_failure
        )
        self._items.append(acceptance)
        self._is_urgent = self._is_urgent or is_urgent
        if not self._is_busy:
            if is_urgent:
                self._hurry()
            elif self._lingering is None:
                self._linger()
        return acceptance

    async def settle(self, patience: timedelta) -> None:
        """Wait until what is queued now is on disk; `patience` at most, for the store may be in trouble."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.then(lambda: None if future.done() else future.set_result(None))
        await asyncio.wait({future}, timeout=patience.total_seconds())

    async def drain(self, patience: timedelta) -> bool:
        """Wait until nothing is queued; tell whether that came about within `patience`."""
        if not self._is_busy and not self._items:
            return True
        future: asyncio.Future[None] = self._loop.create_future()
        self._drained.append(future)
        self._hurry()
        done, _ = await asyncio.wait({future}, timeout=patience.total_seconds())
        return bool(done)

    # ---- inside ----

    def _hurry(self) -> None:
        """See that what is queued leaves with this turn of the event loop, or once the group in flight is back."""
        self._is_urgent = True
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._flush)

    def _linger(self) -> None:
        """See that what is queued leaves in a moment; for a journal that is neither busy nor about to be."""
        self._lingering = self._loop.call_later(LINGER_S, self._hurry)

    def _flush(self) -> None:
        items, self._items = self._items, []
        self._is_urgent = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        writes: list[Write] = []
        for item in items:
            if isinstance(item, Acceptance):
                writes += item.writes
            elif not callable(item):
                writes.append(item)
        if not writes and self.trouble is None:  # only actions, and everything before them is on disk
            self._committed(items)
            return
        try:
            future = self._write(writes)
        except StoreError as error:
            self._failed(items, error)
            return
        future.add_done_callback(partial(self._from_writer, items))

    def _from_writer(self, items: list[_Item], future: Future[None]) -> None:
        """Called in the store's writer thread."""
        error = future.exception()
        try:
            self._loop.call_soon_threadsafe(self._landed, items, error)
        except RuntimeError:  # the loop is closed: whoever would listen is gone
            log.warning("a commit ended after the gateway had stopped")

    def _landed(self, items: list[_Item], error: BaseException | None) -> None:
        if error is None:
            if self.trouble is not None:
                log.warning("the store takes writes again")
                self.trouble = None
            self._committed(items)
        else:
            self._failed(items, error if isinstance(error, StoreError) else StoreError(str(error)))

    def _committed(self, items: Sequence[_Item]) -> None:
        self._follow(iter(items))

    def _follow(self, items: Iterator[_Item]) -> None:
        """Do what had to wait for a commit; after a while let others have the event loop first."""
        left = SLICE
        for item in items:
            left -= 1
            try:
                if isinstance(item, Acceptance):
                    left -= len(item.writes)
                    item.on_commit()
                    if not item.future.done():
                        item.future.set_result(None)
                elif callable(item):
                    item()
            except Exception:
                log.exception("defect in an action after a commit; the journal continues")
            if left < 0:
                self._loop.call_soon(self._follow, items)
                return
        self._next()

    def _next(self) -> None:
        if self._items and (self._is_urgent or self._drained):
            self._loop.call_soon(self._flush)
            return
        self._is_busy = False
        if self._items:
            if self._lingering is None:
                self._linger()
            return
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    def _failed(self, items: list[_Item], error: StoreError) -> None:
        if self.trouble is None:
            log.error("the store did not take a group of writes, new work is refused: %s", error)
        self.trouble = error
        # What was queued behind the group may speak of its invocations, so all of it is looked through. Heartbeats
        # are old news by the time that they could be written.
        waiting, self._items = [*items, *self._items], []
        refused: set[str] = set()
        kept: list[_Item] = []
        for item in waiting:
            if isinstance(item, Acceptance):
                if self._is_kept(item, error):
                    kept.append(item)
                else:
                    refused.update(write.invocation_id for write in item.writes)
            elif not isinstance(item, PilotSeen):
                kept.append(item)
        self._items = [*(item for item in kept if not _is_of(item, refused)), *self._items]
        # Also with nothing to write: an empty write tells when the store is there again.
        self._loop.call_later(self._retry_s, self._flush)

    def _is_kept(self, acceptance: Acceptance, error: StoreError) -> bool:
        told = acceptance.on_failure(error)
        before, acceptance.future = acceptance.future, self._loop.create_future()
        _end(before, told)
        if not isinstance(told, InDoubt):
            _end(acceptance.future, told)
            return False
        acceptance.writes = tuple(msgspec.structs.replace(write, is_again=True) for write in acceptance.writes)
        return True


def _is_of(item: _Item, invocation_ids: set[str]) -> bool:
    if callable(item) or isinstance(item, Acceptance | PilotMoved | PilotSeen):
        return False
    return item.invocation_id in invocation_ids


def _end(future: asyncio.Future[None], error: StoreError) -> None:
    """End a future in an error. Who waited for it may have gone away: asyncio is not to complain of that."""
    if not future.done():
        future.set_exception(error)
        future.exception()
