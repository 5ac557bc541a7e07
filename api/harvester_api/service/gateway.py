"""The gateway's shell: owns the dispatcher and the clock, feeds it what users and pilots say, and waits for ends.

Everything runs on one event loop. Decisions are the dispatcher's, performing them is `effects`'s, order and
durability the journal's; what a request looks like is the routes' to know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.dispatch.ledger.effects import Effect
from harvester.domain.model.pilots import DrainReason, PilotState
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol import wire
from harvester.domain.steady import Clock, Steady
from harvester.store.store import Store
from harvester_api.functions.catalog import Catalog
from harvester_api.functions.unused_versions import Unused
from harvester_api.invoking.acceptances import Acceptances
from harvester_api.invoking.body_intake import Door
from harvester_api.invoking.idempotency import Repeats
from harvester_api.invoking.limits import Pressure
from harvester_api.outcome import Outcome
from harvester_api.runtime.absent_pilots import Absent
from harvester_api.runtime.effects import MessageSink, Performer
from harvester_api.runtime.journal import Journal
from harvester_api.runtime.open_invocations import Book, OpenInvocation, reopened
from harvester_api.runtime.pilot_ends import Endings
from harvester_api.runtime.pilot_messages import PilotMessages
from harvester_api.runtime.pilot_presence import Sightings
from harvester_api.runtime.run_callers import RunCallers
from harvester_api.runtime.streams import Streams
from harvester_api.service.daemon_line import DaemonLine
from harvester_api.service.retention import RetentionSweep
from harvester_api.settings import GatewaySettings, Role, dispatcher_settings
from harvester_api.storage.blob_writer import Spilling
from harvester_api.storage.blobs import Blobs
from harvester_api.storage.payloads import Payloads
from harvester_api.validation.large_bodies import LargeBodies

log = logging.getLogger(__name__)


class Gateway:
    """One gateway on one store, for one event loop. Make it inside the loop, then `start` it."""

    def __init__(self, settings: GatewaySettings, store: Store, clock: Clock | None = None) -> None:
        self.settings, self.store, self.clock = settings, store, clock or Steady()
        self.streams = Streams()
        self.book = Book(tell=self.streams.ended)
        self.blobs = None if settings.blobs is None else Blobs(settings.blobs, settings.blob_bytes)
        self.payloads = Payloads(store, self.blobs)
        self.pressure = Pressure(settings, self.book)
        self._large = LargeBodies()
        self._doors: dict[str, Door] = {}  # by the name of a caller
        self.catalog = Catalog(store, [token.name for token in settings.tokens if token.role is Role.ADMIN])
        self.repeats = Repeats(self.book, store, self.blobs)
        self._spilling = None if self.blobs is None else Spilling(store.write, self.blobs)
        self.journal = Journal(self._spilling or store.write, settings.retry)
        self.sightings = Sightings(settings.seen_interval)
        self._daemon = DaemonLine(store)
        self.links: dict[str, MessageSink] = {}
        self.is_ready = False
        self.runs = RunCallers(lambda: self.dispatcher)
        self._performer = Performer(
            settings,
            book=self.book,
            journal=self.journal,
            store=store,
            links=self.links,
            streams=self.streams,
            blobs=self.blobs,
            runs=self.runs,
        )
        self.acceptances = Acceptances(
            book=self.book,
            journal=self.journal,
            pressure=self.pressure,
            payloads=self.payloads,
            catalog=self.catalog,
            streams=self.streams,
            clock=self.clock,
            dispatch=self._dispatch,
            withdraw=self._withdraw,
            stored=self._performer.stored,
        )
        self._ticking: asyncio.Task[None] | None = None
        self._endings = Endings(store, self._is_over)
        unused = Unused(store, self.catalog, settings.unused_ttl)
        ttls = settings.result_ttl, settings.record_ttl
        self._retention = RetentionSweep(store, self.blobs, self.book, *ttls, clock=self.clock, unused=unused)
        self._absent = Absent(settings.recovery)
        self._dispatcher_settings = dispatcher_settings(settings)
        self._begin(epoch=0)

    # ---- life ----

    async def start(self) -> None:
        """Take up what the store remembers, then begin to tick. Raises `StoreError`."""
        if self.blobs is not None:
            await asyncio.to_thread(self.blobs.prepare)
        epoch = await asyncio.to_thread(self.store.next_epoch)
        self.runs.secret = await asyncio.to_thread(self.store.run_secret)
        self._begin(epoch)
        entries, pilots = await asyncio.to_thread(self._remembered)
        now = self.clock()
        for entry in entries:
            self.book.add(entry)
            self.dispatcher.recover(entry.work(), now)
        self._absent.expect(pilots, now)
        self.is_ready = True
        self._ticking = asyncio.create_task(self._tick())
        self._retention.start()
        log.info("gateway start %d: %d open invocations, %d pilots may come back", epoch, len(entries), len(pilots))

    async def stop(self) -> None:
        """End the ticking and bring what is queued to disk. Pilots keep their work and call again."""
        self.is_ready = False
        self.release()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait({self._ticking})
        await self._endings.stop()
        await self._retention.stop()
        await self._daemon.stop()
        if not await self.journal.drain(timedelta(seconds=10)):
            log.error("the store did not take the last writes; pilots will report the results again")
        if self._spilling is not None:
            self._spilling.close()
        self._large.close()

    def door(self, caller: str) -> Door:
        """Return what the bodies of a caller are read with."""
        found = self._doors.get(caller)
        if found is None:
            found = self._doors[caller] = Door(settings=self.settings, blobs=self.blobs, large=self._large.of_one())
        return found

    def release(self) -> None:
        """Answer every long poll now, and end the streams."""
        self.book.release()
        self.streams.release()

    def _begin(self, epoch: int) -> None:
        self.dispatcher = Dispatcher(self._dispatcher_settings, epoch)
        self._hearing = PilotMessages(
            self.dispatcher, self.perform, self.sightings, self.settings.result_limit_bytes, self._shares_blobs,
            on_evicted=self._daemon.evicted,
        )  # fmt: skip

    def _remembered(self) -> tuple[list[OpenInvocation], set[str]]:
        entries = []
        for record in self.store.open_invocations():
            function = self.catalog.by_id(record.function_id)
            if function is None:
                log.error("invocation %s is of %s, which is not in the store", record.invocation_id, record.function_id)
                continue
            entries.append(reopened(record, function))
        alive = {PilotState.READY, PilotState.DRAINING}
        return entries, {pilot.pilot_id for pilot in self.store.pilots(live=True) if pilot.state in alive}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.settings.tick.total_seconds())
            try:
                now = self.clock()
                self.perform(self.dispatcher.tick(now), now)
                self.pressure.tick(now)
                for seen in self.sightings.due(self.dispatcher.pilots, now):
                    self.journal.put(seen)
                for move in self._absent.given_up(now, lambda pilot_id: self.dispatcher.pilot(pilot_id) is not None):
                    self.journal.put(move)
                self._daemon.tick(now)
                self._endings.look(self.dispatcher.pilots, now)
            except Exception:
                log.exception("defect in a tick of the gateway; the next one goes on")

    # ---- users ----

    async def look(self, invocation_id: str, wait_s: float = 0.0) -> Outcome | None:
        """Return an invocation as it stands, waiting up to `wait_s` for its end; what it says is on disk.

        Raises the `StoreError` that kept it from being accepted, or leaves it in doubt.
        """
        entry = self.book.open.get(invocation_id)
        if entry is not None:
            await self.book.wait([entry], wait_s)
            await self.book.written(entry)
        found = self.book.find(invocation_id)
        if found is None:
            record = await asyncio.to_thread(self.store.invocation, invocation_id)
            found = None if record is None else Outcome(record=record)
        return found

    def restream(self, invocation_ids: Iterable[str], owner: str, stream_id: str | None) -> None:
        """Tell another stream of the ends of invocations that came again; of those that have ended at once."""
        if stream_id is None:
            return
        for invocation_id in invocation_ids:
            entry = self.book.open.get(invocation_id)
            if entry is not None:
                entry.stream = stream_id
            elif (outcome := self.book.find(invocation_id)) is not None:
                self.streams.push(owner, stream_id, outcome)

    async def cancel(self, invocation_id: str) -> None:
        """End an invocation; returns when that is on disk. One that is over already stays as it is."""
        now = self.clock()
        self.perform(self.dispatcher.cancel(invocation_id, now), now)
        entry = self.book.open.get(invocation_id)
        if entry is not None:
            await self.book.wait([entry], self.settings.max_wait.total_seconds())

    def evict(self, pilot_id: str) -> bool:
        """Ask a pilot to leave; False when it is not one that is alive here."""
        now = self.clock()
        if self.dispatcher.pilot(pilot_id) is None:
            return False
        self.perform(self.dispatcher.evict(pilot_id, DrainReason.ASKED, now), now)
        return True

    def _dispatch(self, entries: Sequence[OpenInvocation]) -> None:
        now = self.clock()
        self.perform(self.dispatcher.accept_many([entry.work() for entry in entries], now), now)

    def _withdraw(self, invocation_id: str) -> None:
        now = self.clock()
        self.perform(self.dispatcher.cancel(invocation_id, now), now)

    # ---- pilots ----

    def attach(self, pilot_id: str, link: MessageSink) -> MessageSink | None:
        """Talk to a pilot through `link` from now on; return the one that it replaces."""
        before = self.links.get(pilot_id)
        self.links[pilot_id] = link
        self._absent.came(pilot_id)
        return before

    def detach(self, pilot_id: str, link: MessageSink) -> None:
        """A connection has ended."""
        if self.links.get(pilot_id) is link:
            del self.links[pilot_id]
            now = self.clock()
            if self.dispatcher.pilot(pilot_id) is not None:
                self._daemon.broken(pilot_id, now)
            self.perform(self.dispatcher.disconnected(pilot_id, now), now)

    def received(self, pilot_id: str, messages: Sequence[wire.ToGateway]) -> None:
        """Take what a pilot says, in order."""
        now = self.clock()
        for message in messages:
            self._hearing.hear(pilot_id, message, now)
            kind = type(message)
            if kind is wire.Heartbeat or kind is wire.SharesBlobs:
                self._answer(pilot_id, kind, now)

    def _shares_blobs(self, pilot_id: str) -> bool:
        link = self.links.get(pilot_id)
        return link is not None and link.shares_blobs

    def _answer(self, pilot_id: str, kind: type[wire.ToGateway], now: float) -> None:
        """Do what a message says of the connection, not of the pilot."""
        link = self.links.get(pilot_id)
        if link is None:
            return
        if kind is wire.Heartbeat:
            link.send(wire.Heard(daemon_age_s=self._daemon.age_s(now)))
        else:
            link.shares_blobs = True

    def _is_over(self, pilot_id: str, state: PilotState) -> None:
        """Give up a pilot that is not connected, and over as the store says."""
        now = self.clock()
        log.info("pilot %s: the store has it as %s", pilot_id, state.value)
        self.perform(self.dispatcher.ended(pilot_id, state, now), now)

    def perform(self, effects: Sequence[Effect], now: float, payload: bytes | BlobRef = b"") -> None:
        """Do what the dispatcher orders."""
        if effects:
            self._performer.perform(effects, now, payload)
