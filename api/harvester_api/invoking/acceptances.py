"""Acceptances: how invocations come in, all of a request's or none, and what happens when their write fails.

Owns the order between the journal, the book and the dispatcher for what is new. Whether a request may come in at all
is `functions`'s and `limits`'s, what a failed write means is `doubt`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from harvester.store.store import StoreError
from harvester_api.doubt import InDoubt, judged
from harvester_api.functions.catalog import Catalog
from harvester_api.invoking.idempotency import fresh_ids
from harvester_api.invoking.limits import Pressure
from harvester_api.invoking.order import Arrivals, Order, opened
from harvester_api.problems import Refusal
from harvester_api.runtime.journal import Acceptance, Journal
from harvester_api.runtime.open_invocations import Book, OpenInvocation
from harvester_api.runtime.streams import Streams
from harvester_api.storage.payloads import Payloads


class Acceptances:
    """Takes invocations in, for one event loop.

    Parameters
    ----------
    dispatch: has invocations that are in the book granted to pilots.
    withdraw: has one of them, by its id, taken from the dispatcher again.
    stored: is told of each that is on disk.
    """

    def __init__(
        self,
        *,
        book: Book,
        journal: Journal,
        pressure: Pressure,
        payloads: Payloads,
        catalog: Catalog,
        streams: Streams,
        clock: Callable[[], float],
        dispatch: Callable[[Sequence[OpenInvocation]], None],
        withdraw: Callable[[str], None],
        stored: Callable[[OpenInvocation], None],
    ) -> None:
        self._book, self._journal, self._pressure, self._payloads = book, journal, pressure, payloads
        self._catalog, self._streams, self._clock = catalog, streams, clock
        self._dispatch, self._withdraw, self._stored = dispatch, withdraw, stored

    async def accept(self, order: Order, *, is_awaited: bool) -> str:
        """Take an order in as `accept_many` does; return its invocation's id."""
        invocation_id = order.invocation_id or fresh_ids(1)[0]
        await self.accept_many([Arrivals.of([opened(invocation_id, order, self._clock())])], is_awaited=is_awaited)
        return invocation_id

    async def accept_many(self, groups: Sequence[Arrivals], *, is_awaited: bool) -> None:
        """Take invocations of one owner in, all groups or none; others have the event loop between two groups.

        Without `is_awaited` they are on disk when this returns; with it `look` sees to that. They may run while they
        are being written, since nobody hears of them before a commit. What could not be written is refused, or in
        doubt where a pilot has had any of them. Nothing gives way to another request before the first group is open
        and all are on their way to the store. Raises `StoreError`, and `Refusal` (429) while there is too much work.
        """
        now = self._clock()
        owner, count = groups[0].entries[0].owner, sum(len(group.entries) for group in groups)
        try:
            self._pressure.check(owner, count, now)
            acceptances = [
                self._journal.accept(
                    group.writes,
                    partial(self._accepted, group.entries, is_dispatched=self._journal.trouble is None),
                    partial(self._unwritten, group.entries, groups),
                    is_urgent=not is_awaited,
                    is_more=number > 0,
                )
                for number, group in enumerate(groups)
            ]
        except (StoreError, Refusal):
            for group in groups:
                self._payloads.discard(entry.arguments for entry in group.entries)
            raise
        self._catalog.used.add(groups[0].entries[0].function.function_id)  # all have the same
        # While the store is in trouble nothing may run that is not on disk.
        is_dispatched = self._journal.trouble is None
        if len(groups) == 1:
            self._enter(groups[0].entries, acceptances[0], is_dispatched=is_dispatched)
        else:
            with self._pressure.coming(owner, count) as coming:
                for group, acceptance in zip(groups, acceptances, strict=True):
                    self._enter(group.entries, acceptance, is_dispatched=is_dispatched)
                    coming.came(len(group.entries))
                    await asyncio.sleep(0)
        if not is_awaited:
            await asyncio.shield(acceptances[-1].future)

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

    def _accepted(self, entries: Sequence[OpenInvocation], *, is_dispatched: bool) -> None:
        for entry in entries:
            self._stored(entry)
            self._streams.state(entry)
        if not is_dispatched:
            for entry in entries:
                if entry.invocation_id not in self._book.open:
                    self._book.add(entry)
            self._dispatch(entries)

    def _unwritten(
        self, entries: Sequence[OpenInvocation], groups: Sequence[Arrivals], error: StoreError
    ) -> StoreError:
        """Refuse invocations whose write failed, unless their batch is in doubt; return what their callers hear."""
        batch = [entry for group in groups for entry in group.entries]
        ids = [entry.invocation_id for entry in batch]
        told = judged(ids, error, may_have_run=any(entry.attempts for entry in batch))
        if isinstance(told, InDoubt):
            return told
        for entry in entries:
            self._book.refuse(entry, told)  # first, so that nothing more is written of it
            self._withdraw(entry.invocation_id)
        self._payloads.discard(entry.arguments for entry in entries)
        return told
