"""Acceptances: how invocations come in, all of a request's or none, and what happens when their write fails.

Owns the order between the journal, the book and the dispatcher for what is new. Whether a request may come in at all
is `functions`'s and `limits`'s, what came before under the same key `idempotency`'s, what a failed write means
`doubt`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.payload.blobs import BlobRef
from harvester.store.store import StoreError
from harvester.store.writes.changes import NewInvocation
from harvester_api.doubt import InDoubt, judged
from harvester_api.functions.catalog import Catalog
from harvester_api.invoking.batch_intake import PIECE, pieces
from harvester_api.invoking.body_intake import Arguments
from harvester_api.invoking.idempotency import Repeats, batch_key
from harvester_api.invoking.invocation_request import InvocationRequest
from harvester_api.invoking.limits import Pressure
from harvester_api.problems import Refusal
from harvester_api.runtime.effects import Performer
from harvester_api.runtime.journal import Acceptance, Journal
from harvester_api.runtime.open_invocations import Book, OpenInvocation
from harvester_api.runtime.streams import Streams
from harvester_api.storage.payloads import Payloads


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """Invocations that are about to be accepted, and the writes that put them on disk."""

    entries: list[OpenInvocation]
    writes: list[NewInvocation]


class Acceptances:
    """Takes invocations in, for one event loop."""

    def __init__(
        self,
        *,
        book: Book,
        journal: Journal,
        dispatcher: Dispatcher,
        performer: Performer,
        pressure: Pressure,
        repeats: Repeats,
        payloads: Payloads,
        catalog: Catalog,
        streams: Streams,
        clock: Callable[[], float],
    ) -> None:
        self._book, self._journal, self._pressure, self._payloads = book, journal, pressure, payloads
        self._dispatcher, self._performer, self._repeats = dispatcher, performer, repeats
        self._catalog, self._streams, self._clock = catalog, streams, clock

    async def accept(
        self, wanted: InvocationRequest, invocation_id: str, arguments: bytes | BlobRef, *, is_awaited: bool
    ) -> tuple[str, bool]:
        """Take one invocation in; return its id, and whether it is new: not a repetition under the same key.

        Without `is_awaited` it is on disk when this returns; with it `written` of its entry is to be awaited before
        anybody hears of it. Raises `StoreError`, and `Refusal` (409; 429 while there is too much work).
        """
        if wanted.key is not None:
            # Nothing gives way to another request between a look that finds nothing and the moment when `_take` has it.
            before = await self._repeated(wanted, wanted.key, arguments)
            if before is not None:
                return before, False
        entry = wanted.opened(invocation_id, arguments, wanted.key, self._clock())
        await self._take([Arrivals(entries=[entry], writes=[entry.written()])], 1, is_awaited=is_awaited)
        return invocation_id, True

    async def accept_batch(self, wanted: InvocationRequest, ids: list[str], arguments: list[Arguments]) -> list[str]:
        """Take a batch in, all of it or nothing; return the ids, which are other ones for a batch that came before.

        It is on disk when this returns. Raises as `accept` does.
        """
        groups: list[Arrivals] = []
        async for begin in pieces(len(ids)):
            end, now = begin + PIECE, self._clock()
            entries = [
                wanted.opened(invocation_id, each, None, now)
                for invocation_id, each in zip(ids[begin:end], arguments[begin:end], strict=True)
            ]
            if wanted.key is not None and not begin:
                entries[0].key = batch_key(wanted.key)
            groups.append(Arrivals(entries=entries, writes=[entry.written() for entry in entries]))
        if wanted.key is not None:
            # As in `accept`: nothing gives way to another request from here until `_take` has begun.
            before = await self._repeats.batch(wanted.owner, wanted.key, wanted.function, len(ids))
            if before:
                self._payloads.discard(arguments)
                async for begin in pieces(len(before)):
                    self._streams.follow(self._book, before[begin : begin + PIECE], wanted.owner, wanted.stream)
                return before
        if groups:
            await self._take(groups, len(ids), is_awaited=False)
        return ids

    async def _repeated(self, wanted: InvocationRequest, key: str, arguments: bytes | BlobRef) -> str | None:
        """Return the invocation that came before under `key`; None for a new key."""
        found: str | None = None
        try:
            found = await self._repeats.invocation(
                wanted.owner, key, wanted.function, arguments, is_version_asked=wanted.is_version_asked
            )
        except (Refusal, StoreError):
            self._payloads.discard([arguments])
            raise
        if found is not None:
            self._payloads.discard([arguments])
            self._streams.follow(self._book, [found], wanted.owner, wanted.stream)
        return found

    async def _take(self, groups: Sequence[Arrivals], count: int, *, is_awaited: bool) -> None:
        """Take `count` invocations of one owner in, all groups or none; others have the event loop between two groups.

        They may run while they are being written, since nobody hears of them before a commit. What could not be written
        is refused, or in doubt where a pilot has had any of them. Nothing gives way to another request before the first
        group is open and all are on their way to the store.
        """
        first = groups[0].entries[0]
        batch = _Batch(groups)
        is_dispatched = self._journal.trouble is None  # while the store is in trouble nothing runs that is not on disk
        acceptances: list[Acceptance] = []
        try:
            self._pressure.check(first.owner, count, self._clock())
            for group in groups:
                acceptances.append(
                    self._journal.accept(
                        group.writes,
                        partial(self._accepted, group.entries, is_dispatched=is_dispatched),
                        partial(self._unwritten, group.entries, batch),
                        is_urgent=not is_awaited,
                        is_more=bool(acceptances),
                    )
                )
        except (StoreError, Refusal):
            for group in groups:
                self._payloads.discard(entry.arguments for entry in group.entries)
            raise
        self._catalog.used.add(first.function.function_id)  # all have the same
        is_dispatched = self._journal.trouble is None
        if count == 1:
            self._enter(groups[0].entries, acceptances[0], is_dispatched=is_dispatched)
        else:
            with self._pressure.coming(first.owner, count) as coming:
                for group, acceptance in zip(groups, acceptances, strict=True):
                    self._enter(group.entries, acceptance, is_dispatched=is_dispatched)
                    coming.came(len(group.entries))
                    await asyncio.sleep(0)
        if not is_awaited:
            # Unshielded, since a shield costs a turn of the loop: requests are cancelled only all together, at the end.
            await acceptances[-1].future

    def _enter(self, entries: Sequence[OpenInvocation], acceptance: Acceptance, *, is_dispatched: bool) -> None:
        """Open invocations that are on their way to the store, or there already."""
        if acceptance.future.done():
            if not is_dispatched or acceptance.future.exception() is not None:
                return  # `_accepted` has opened them, or there is nothing to open
        else:
            for entry in entries:
                entry.acceptance = acceptance
        for entry in entries:
            self._book.add(entry)
        if is_dispatched:
            self._dispatch(entries)

    def _dispatch(self, entries: Sequence[OpenInvocation]) -> None:
        now = self._clock()
        self._performer.perform(self._dispatcher.accept_many(map(OpenInvocation.work, entries), now), now)

    def _accepted(self, entries: Sequence[OpenInvocation], *, is_dispatched: bool) -> None:
        for entry in entries:
            self._performer.stored(entry)
            if self._streams.watchers:
                self._streams.state(entry)
        if not is_dispatched:
            for entry in entries:
                if entry.invocation_id not in self._book.open:
                    self._book.add(entry)
            self._dispatch(entries)

    def _unwritten(self, entries: Sequence[OpenInvocation], batch: _Batch, error: StoreError) -> StoreError:
        """Refuse invocations whose write failed, unless their batch is in doubt; return what their callers hear."""
        told = batch.judged(error)
        if isinstance(told, InDoubt):
            return told
        for entry in entries:
            self._book.refuse(entry, told)  # first, so that nothing more is written of it
            now = self._clock()
            self._performer.perform(self._dispatcher.cancel(entry.invocation_id, now), now)
        self._payloads.discard(entry.arguments for entry in entries)
        return told


class _Batch:
    """What is accepted together: all of it is refused, or all of it is in doubt."""

    __slots__ = ("_error", "_groups", "_told")

    def __init__(self, groups: Sequence[Arrivals]) -> None:
        self._groups = groups
        self._error: StoreError | None = None
        self._told: StoreError | None = None

    def judged(self, error: StoreError) -> StoreError:
        """Return what callers hear of a failed write. Its groups ask one after the other, and hear the same."""
        if self._told is None or self._error is not error:
            entries = [entry for group in self._groups for entry in group.entries]
            ids = [entry.invocation_id for entry in entries]
            self._told = judged(ids, error, may_have_run=any(entry.attempts for entry in entries))
            self._error = error
        return self._told
