"""The parts of one gateway, made and put together. Owns which part is given which; none of them knows this module."""

from __future__ import annotations

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.steady import Clock
from harvester.store.store import Store
from harvester_api.functions.catalog import Catalog
from harvester_api.functions.unused_versions import Unused
from harvester_api.invoking.acceptances import Acceptances
from harvester_api.invoking.idempotency import Repeats
from harvester_api.invoking.limits import Pressure
from harvester_api.runtime.absent_pilots import Absent
from harvester_api.runtime.effects import MessageSink, Performer
from harvester_api.runtime.journal import Journal
from harvester_api.runtime.open_invocations import Book
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


class Parts:
    """What one gateway is made of, for one event loop: make it inside the loop.

    Parameters
    ----------
    epoch: counts the gateway's starts on this store.
    run_secret: what the credentials of runs are signed with.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        store: Store,
        clock: Clock,
        blobs: Blobs | None,
        *,
        epoch: int,
        run_secret: bytes,
    ) -> None:
        self.settings, self.store, self.clock, self.blobs, self.epoch = settings, store, clock, blobs, epoch
        self.dispatcher = Dispatcher(dispatcher_settings(settings), epoch)
        self.runs = RunCallers(self.dispatcher, run_secret)
        self.streams = Streams()
        self.book = Book(tell=self.streams.ended)
        self.payloads = Payloads(store, blobs)
        self.pressure = Pressure(settings, self.book)
        self.large = LargeBodies()
        self.catalog = Catalog(store, [token.name for token in settings.tokens if token.role is Role.ADMIN])
        self.spilling = None if blobs is None else Spilling(store.write, blobs)
        self.journal = Journal(self.spilling or store.write, settings.retry)
        self.sightings = Sightings(settings.seen_interval)
        self.daemon = DaemonLine(store)
        self.absent = Absent(settings.recovery)
        self.links: dict[str, MessageSink] = {}
        self.performer = self._performer()
        self.pilots = self._pilots()
        self.acceptances = self._acceptances()
        unused = Unused(store, self.catalog, settings.unused_ttl)
        ttls = settings.result_ttl, settings.record_ttl
        self.retention = RetentionSweep(store, blobs, self.book, *ttls, clock=clock, unused=unused)

    def _performer(self) -> Performer:
        return Performer(
            self.settings,
            book=self.book,
            journal=self.journal,
            store=self.store,
            links=self.links,
            streams=self.streams,
            blobs=self.blobs,
            runs=self.runs,
        )

    def _pilots(self) -> PilotMessages:
        return PilotMessages(
            dispatcher=self.dispatcher,
            performer=self.performer,
            sightings=self.sightings,
            absent=self.absent,
            daemon=self.daemon,
            links=self.links,
            result_limit_bytes=self.settings.result_limit_bytes,
            clock=self.clock,
        )

    def _acceptances(self) -> Acceptances:
        return Acceptances(
            book=self.book,
            journal=self.journal,
            dispatcher=self.dispatcher,
            performer=self.performer,
            pressure=self.pressure,
            repeats=Repeats(self.book, self.store, self.blobs),
            payloads=self.payloads,
            catalog=self.catalog,
            streams=self.streams,
            clock=self.clock,
        )
