"""The gateway: its life from start to stop, and what routes have it do for users, a verb each.

Everything runs on one event loop. Decisions are the dispatcher's, performing them is `effects`', order and
durability the journal's; what a request looks like is the routes' to know. `parts` puts it together, `site` has the
verbs for pilots, daemon and cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Self

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.pilots import PilotState
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.steady import Clock, Steady
from harvester.store.records import ActivationRecord, InvocationRecord, ListedFunction, PilotRecord
from harvester.store.store import Store
from harvester_api.http.auth import Caller
from harvester_api.http.body_spool import Spool
from harvester_api.invoking.body_intake import Arguments, Reception
from harvester_api.invoking.invocation_request import InvocationRequest
from harvester_api.outcome import Outcome
from harvester_api.runtime.open_invocations import OpenInvocation, reopened
from harvester_api.runtime.pilot_ends import Endings
from harvester_api.service import readiness
from harvester_api.service.parts import Parts
from harvester_api.service.site import Site
from harvester_api.settings import GatewaySettings, Offer
from harvester_api.storage.blobs import Blobs
from harvester_api.validation.capacity import check_fits, check_python
from harvester_api.validation.functions import Opened, check_function
from harvester_api.validation.large_bodies import BodiesOf

log = logging.getLogger(__name__)

FITTING = 10_000  # versions that are remembered to fit


class Gateway:
    """One gateway on one store, for one event loop. Made by `opened`; then `start` it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.site, self.catalog, self.streams = Site(parts), parts.catalog, parts.streams
        self.is_ready = False
        self.offers: tuple[Offer, ...] = parts.settings.offers
        self._longest_wait_s = parts.settings.max_wait.total_seconds()
        self._book, self._store, self._acceptances = parts.book, parts.store, parts.acceptances
        self._fitting: set[str] = set()  # versions that some offer can run: neither a version nor the offers change
        self._readers: dict[str, BodiesOf] = {}  # of large bodies, by the name of a caller
        self._endings = Endings(parts.store, self._pilot_ended)
        self._ticking: asyncio.Task[None] | None = None

    # ---- life ----

    @classmethod
    async def opened(cls, settings: GatewaySettings, store: Store, clock: Clock | None = None) -> Self:
        """Return the next gateway on `store`. Raises `StoreError`."""
        blobs = None if settings.blobs is None else Blobs(settings.blobs, settings.blob_bytes)
        if blobs is not None:
            await asyncio.to_thread(blobs.prepare)
        epoch = await asyncio.to_thread(store.next_epoch)
        secret = await asyncio.to_thread(store.run_secret)
        return cls(Parts(settings, store, clock or Steady(), blobs, epoch=epoch, run_secret=secret))

    async def start(self) -> None:
        """Take up what the store remembers, then begin to tick. Raises `StoreError`."""
        parts = self.parts
        entries, pilots = await asyncio.to_thread(self._remembered)
        now = parts.clock()
        for entry in entries:
            parts.book.add(entry)
            parts.dispatcher.recover(entry.work(), now)
        parts.absent.expect({pilot.pilot_id for pilot in pilots}, now)
        self.is_ready = True
        self._ticking = asyncio.create_task(self._tick())
        parts.retention.start()
        log.info(
            "gateway start %d: %d open invocations, %d pilots may come back", parts.epoch, len(entries), len(pilots)
        )

    async def stop(self) -> None:
        """End the ticking and bring what is queued to disk. Pilots keep their work and call again."""
        parts = self.parts
        self.is_ready = False
        self.release()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait({self._ticking})
        await self._endings.stop()
        await parts.retention.stop()
        await parts.daemon.stop()
        if not await parts.journal.drain(timedelta(seconds=10)):
            log.error("the store did not take the last writes; pilots will report the results again")
        if parts.spilling is not None:
            parts.spilling.close()
        parts.large.close()

    def release(self) -> None:
        """Answer every long poll now, and end the streams."""
        self._book.release()
        self.streams.release()

    async def missing(self) -> str:
        """Return why the gateway takes no work, in words; empty where it does."""
        if not self.is_ready:
            return "it is starting or stopping"
        return await readiness.missing(self.parts.journal, self._store)

    def _remembered(self) -> tuple[list[OpenInvocation], list[PilotRecord]]:
        entries = []
        for record in self._store.open_invocations():
            function = self.catalog.by_id(record.function_id)
            if function is None:
                log.error("invocation %s is of %s, which is not in the store", record.invocation_id, record.function_id)
                continue
            entries.append(reopened(record, function))
        alive = {PilotState.READY, PilotState.DRAINING}
        return entries, [pilot for pilot in self._store.pilots(live=True) if pilot.state in alive]

    async def _tick(self) -> None:
        parts = self.parts
        dispatcher, tick_s = parts.dispatcher, parts.settings.tick.total_seconds()
        while True:
            await asyncio.sleep(tick_s)
            try:
                now = parts.clock()
                parts.performer.perform(dispatcher.tick(now), now)
                parts.pressure.tick(now)
                for seen in parts.sightings.due(dispatcher.pilots, now):
                    parts.journal.put(seen)
                for move in parts.absent.given_up(now, lambda pilot_id: dispatcher.pilot(pilot_id) is not None):
                    parts.journal.put(move)
                parts.daemon.tick(now)
                self._endings.look(dispatcher.pilots, now)
            except Exception:
                log.exception("defect in a tick of the gateway; ticking continues")

    def _pilot_ended(self, pilot_id: str, state: PilotState) -> None:
        """Give up a pilot that is not connected, and over as the store says."""
        now = self.parts.clock()
        log.info("pilot %s: the store has it as %s", pilot_id, state.value)
        self.parts.performer.perform(self.parts.dispatcher.ended(pilot_id, state, now), now)

    # ---- functions; `catalog` has the other verbs ----

    async def function_to_call(self, caller: Caller, name: str, version: int | None) -> FunctionVersion:
        """Return the function that a caller names, if a configured pilot can still run it.

        Raises `Refusal` (404, 409, 422).
        """
        function = await self.catalog.find(caller, name, version)
        if self.offers and function.function_id not in self._fitting:
            if function.python:
                check_python(function.python, self.offers, "function", "Register it again from")
            check_fits(function, self.offers)
            if len(self._fitting) >= FITTING:
                self._fitting.clear()
            self._fitting.add(function.function_id)
        return function

    async def register(self, caller: Caller, found: Opened) -> tuple[ListedFunction, bool]:
        """Register a function; return it, and whether it is new. Raises `Refusal` (409, 413, 422)."""
        wanted = check_function(found, self.offers, self.parts.settings.payload_limit_bytes)
        return await self.catalog.register(caller, wanted, found.draft.share, self.parts.clock())

    async def delete_function(self, caller: Caller, name: str, version: int) -> ListedFunction:
        """Delete a version; return it as it was. Raises `Refusal` (403, 404, 409)."""
        return await self.catalog.delete(caller, name, version, self.parts.clock())

    async def opened_large(self, caller: Caller, spool: Spool) -> Opened:
        """Return the function that a large body describes. Raises `Refusal` (400, 413, 422)."""
        return await self._reader(caller.name).function(spool)

    @property
    def function_body_limit(self) -> int:
        """The bytes that a request may have that registers a function."""
        # Base64 and escapes make the document larger than the body that it holds; `check_function` looks at that one.
        return 2 * self.parts.settings.payload_limit_bytes + 65_536

    # ---- invocations ----

    def receiving(self, owner: str) -> Reception:
        """Return what the body of one request is read with."""
        parts = self.parts
        reader = self._readers.get(owner) or self._reader(owner)
        return Reception(parts.pressure, parts.settings, parts.blobs, reader)

    def _reader(self, owner: str) -> BodiesOf:
        reader = self._readers.get(owner)
        if reader is None:
            reader = self._readers[owner] = self.parts.large.of_one()
        return reader

    async def invoke(
        self, wanted: InvocationRequest, invocation_id: str, arguments: Arguments, *, is_awaited: bool
    ) -> tuple[str, bool]:
        """Take one invocation in; return its id, and whether it is new.

        Without `is_awaited` it is on disk then, with it `look` sees to that. Raises as `Acceptances.accept`.
        """
        return await self._acceptances.accept(wanted, invocation_id, arguments, is_awaited=is_awaited)

    async def invoke_batch(self, wanted: InvocationRequest, ids: list[str], arguments: list[Arguments]) -> list[str]:
        """Take a batch in, all of it or nothing; return its ids once it is on disk."""
        return await self._acceptances.accept_batch(wanted, ids, arguments)

    def at_hand(self, invocation_id: str) -> Outcome | None:
        """Return an invocation as it stands, if it is in memory."""
        return self._book.find(invocation_id)

    async def look(self, invocation_id: str, wait_s: float = 0.0) -> Outcome | None:
        """Return an invocation as it stands, waiting up to `wait_s` for its end; what it says is on disk.

        The wait has the gateway's own limit. Raises the `StoreError` that kept it from being accepted, or leaves it in
        doubt.
        """
        entry = self._book.open.get(invocation_id)
        if entry is not None:
            if wait_s > 0:
                await self._book.wait((entry,), min(wait_s, self._longest_wait_s))
            if entry.acceptance is not None:
                await self._book.written(entry)
        found = self._book.find(invocation_id)
        if found is None:
            record = await asyncio.to_thread(self._store.invocation, invocation_id)
            found = None if record is None else Outcome(record=record)
        return found

    async def look_at_all(self, ids: Sequence[str]) -> dict[str, Outcome | None]:
        """Return many invocations as they stand; None for one that there is not."""
        found = {key: self._book.find(key) for key in ids}
        missing = [key for key, outcome in found.items() if outcome is None]
        if missing:
            records = await asyncio.to_thread(lambda: [self._store.invocation(key) for key in missing])
            for key, record in zip(missing, records, strict=True):
                found[key] = None if record is None else Outcome(record=record)
        return found

    async def wait_for_any(self, ids: Iterable[str], wait_s: float) -> None:
        """Return when one of some invocations has ended, or after `wait_s` seconds, or the gateway's own limit."""
        entries = [entry for entry in map(self._book.open.get, ids) if entry is not None]
        await self._book.wait(entries, min(wait_s, self._longest_wait_s))

    def follow(self, ids: Iterable[str], owner: str, stream: str | None) -> None:
        """Have the ends of an owner's invocations that are open told to a stream of theirs."""
        entries = [entry for entry in map(self._book.open.get, ids) if entry is not None and entry.owner == owner]
        self.streams.follow(self._book, [entry.invocation_id for entry in entries], owner, stream)

    async def cancel(self, invocation_id: str) -> None:
        """End an invocation; returns when that is on disk. One that is over already stays as it is."""
        now = self.parts.clock()
        self.parts.performer.perform(self.parts.dispatcher.cancel(invocation_id, now), now)
        await self.wait_for_any([invocation_id], self._longest_wait_s)

    async def invocations(
        self, owner: str | None, function: str | None, state: InvocationState | None, before: str | None, limit: int
    ) -> list[InvocationRecord]:
        """Return invocations, the newest first; of everybody for `owner` None."""
        return await asyncio.to_thread(
            lambda: self._store.invocations(owner=owner, function=function, state=state, before=before, limit=limit)
        )

    async def activations(self, record: InvocationRecord) -> list[ActivationRecord]:
        """Return the activations of an invocation."""
        found = await asyncio.to_thread(self._store.activations, record.invocation_id)
        if len(found) < record.attempts:  # the newest is known here and about to be written
            await self.parts.journal.settle(timedelta(seconds=1))
            found = await asyncio.to_thread(self._store.activations, record.invocation_id)
        return found

    async def result(self, outcome: Outcome) -> bytes:
        """Return the result of an invocation that has succeeded. Raises `StoreError`."""
        return await self.parts.payloads.value(outcome)

    async def located_result(self, outcome: Outcome) -> bytes | BlobRef:
        """Return the result of an invocation that has succeeded, or where it lies. Raises `StoreError`."""
        return await self.parts.payloads.located(outcome)

    def path(self, blob: BlobRef) -> Path:
        """Return the file of a payload. Raises `StoreError`."""
        return self.parts.payloads.path(blob)
