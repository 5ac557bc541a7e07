"""The site: pilots, daemon and cluster, as far as a gateway knows them; and an admin's word to them.

Owns the verbs of the routes that look and configure. Daemon and gateway talk through the store, so that they may be two
processes; the store is read in threads. All of it raises `StoreError`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import msgspec

from harvester.domain.dispatch.explain import Explanation, explain
from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.pilots import DrainReason, PilotEvent
from harvester.domain.protocol import control
from harvester.domain.protocol.control import Control
from harvester.domain.protocol.daemon_notes import ClusterNote, DaemonNote
from harvester.store.records import Demand, PilotRecord
from harvester.store.writes.changes import PilotMoved
from harvester_api.outcome import Outcome
from harvester_api.schemas import daemon_status
from harvester_api.schemas.daemon_status import DaemonStatus
from harvester_api.service import readiness
from harvester_api.service.parts import Parts
from harvester_api.storage.blobs import Blobs

Live = PilotEntry | None
"""What the dispatcher knows of a pilot: None where it has not called, or is over."""


class PilotRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The room on one connected pilot."""

    pilot: PilotEntry
    node: str
    started_at: dict[str, float | None]  # first start of each invocation that it holds


class ClusterNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has of the cluster."""

    cluster: ClusterNote | None  # as the daemon saw it last; None before its first look
    daemon: DaemonNote | None  # how the daemon is; None before its first tick
    pilots: list[PilotRecord]  # that are alive
    demand: list[Demand]


class Site:
    """The site of one gateway."""

    def __init__(self, parts: Parts) -> None:
        self._dispatcher, self._performer, self._book = parts.dispatcher, parts.performer, parts.book
        self._store, self._journal, self._clock = parts.store, parts.journal, parts.clock
        self._links, self._blobs = parts.links, parts.blobs
        self._saying = threading.Lock()  # what an admin says is read, changed and kept by one at a time

    # ---- pilots ----

    async def pilots(self, *, live: bool) -> list[tuple[PilotRecord, Live]]:
        """Return the pilots that are alive; all of them, the newest first, without `live`."""
        found = await asyncio.to_thread(self._store.pilots, live=live)
        return [(pilot, self._dispatcher.pilot(pilot.pilot_id)) for pilot in found]

    async def pilot(self, pilot_id: str) -> tuple[PilotRecord, Live] | None:
        """Return a pilot."""
        found = await asyncio.to_thread(self._store.pilot, pilot_id)
        return None if found is None else (found, self._dispatcher.pilot(pilot_id))

    async def pilot_of_token(self, sha256: str) -> PilotRecord | None:
        """Return the pilot whose token has this digest."""
        return await asyncio.to_thread(self._store.pilot_by_token, sha256)

    async def evict(self, pilot: PilotRecord) -> tuple[PilotRecord, Live]:
        """Ask a pilot to leave; one that has not called is cancelled. Return it as it is then."""
        now = self._clock()
        if self._dispatcher.pilot(pilot.pilot_id) is not None:
            self._performer.perform(self._dispatcher.evict(pilot.pilot_id, DrainReason.ASKED, now), now)
        else:
            move = PilotMoved(
                pilot_id=pilot.pilot_id, event=PilotEvent.CANCELLED, at=now, reason="an admin asked for it"
            )
            pilot = await asyncio.to_thread(self._store.move_pilot, move)
        return pilot, self._dispatcher.pilot(pilot.pilot_id)

    def rooms(self) -> Iterator[PilotRoom]:
        """Yield the room on each connected pilot."""
        for pilot in self._dispatcher.pilots:
            if not pilot.is_connected:
                continue
            link = self._links.get(pilot.pilot_id)
            entries = {invocation_id: self._book.open.get(invocation_id) for invocation_id in pilot.leases}
            yield PilotRoom(
                pilot=pilot,
                node=link.hello.node if link is not None and link.hello is not None else "",
                started_at={key: None if entry is None else entry.started_at for key, entry in entries.items()},
            )

    async def explain(self, outcome: Outcome) -> tuple[Explanation, list[tuple[PilotRecord, Live]]]:
        """Return why an invocation waits, or how it ended; and the pilots that are alive."""
        record = outcome.record
        pilots = await self.pilots(live=True)
        why = explain(self._dispatcher, record.invocation_id, self._clock(), [pilot.state for pilot, _live in pilots])
        if why is None or outcome.is_ended:
            failure = f": {record.failure.message}" if record.failure is not None else ""
            verb = "is" if record.state is InvocationState.CANCELLED or not outcome.is_ended else "has"
            why = Explanation(summary=f"It {verb} {record.state.value}{failure}.")
        if record.state is InvocationState.ACCEPTED:
            words = daemon_status.words(await self.daemon())
            why = msgspec.structs.replace(why, details=(*why.details, *words))
        return why, pilots

    # ---- daemon and cluster ----

    async def daemon(self) -> DaemonStatus:
        """Return how the daemon stands."""
        trouble = readiness.trouble(self._journal, self._store)
        return await asyncio.to_thread(daemon_status.read, self._store, self._clock(), trouble)

    async def instruct(self, change: Callable[[Control, float], Control]) -> Control:
        """Change what admins say to the daemon, which hears it at its next tick; return all that is said now."""

        def say() -> Control:
            with self._saying:
                said = change(control.decode(self._store.note(control.CONTROL_NOTE)), self._clock())
                self._store.put_note(control.CONTROL_NOTE, control.encode(said))
                return said

        return await asyncio.to_thread(say)

    async def nodes(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the cluster's nodes, none before a first look, and the drained ones, which may be gone meanwhile."""

        def read() -> tuple[frozenset[str], frozenset[str]]:
            drained = control.decode(self._store.note(control.CONTROL_NOTE)).drained
            return daemon_status.nodes(self._store), frozenset(drained)

        return await asyncio.to_thread(read)

    async def cluster(self) -> ClusterNotes:
        """Return what the store has of the cluster."""
        return await asyncio.to_thread(self._read_cluster)

    def _read_cluster(self) -> ClusterNotes:
        return ClusterNotes(
            cluster=daemon_status.cluster_note(self._store),
            daemon=daemon_status.daemon_note(self._store),
            pilots=self._store.pilots(live=True),
            demand=self._store.demand(),
        )

    # ---- payloads ----

    def directory(self) -> Blobs | None:
        """Return the directory of large payloads, if there is one."""
        return self._blobs
