"""Situations: everything that a planning decision is made of, gathered from store, look, pauses, lore and harm.

Owns what strict mode must remember of a pilot until it has started. Losing it (a restart) costs the pilots that wait:
without it nobody knows by when they must have ended, so they are taken out of the queue.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from harvester.daemon.observing.harm import Harm
from harvester.daemon.observing.lore import Lore
from harvester.daemon.pilots import views
from harvester.daemon.pilots.pauses import Pauses
from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.cluster.snapshot import ClusterSnapshot, NodeState
from harvester.domain.harvest.modes import settings_of
from harvester.domain.harvest.planning import HarvestSettings, KnownPilot, Situation, SubmitPilot
from harvester.domain.protocol.control import Control
from harvester.store.records import PilotRecord
from harvester.store.store import Store

_DRAINED = "an admin drained it (harvester drain)"
_IN_SERVICE = frozenset({NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED})


class Situations:
    """Gathers situations.

    Parameters
    ----------
    mark: how the names of our batch jobs begin.
    """

    def __init__(self, settings: HarvestSettings, store: Store, pauses: Pauses, harm: Harm, *, mark: str) -> None:
        self._store = store
        self._pauses = pauses
        self._harm = harm
        self._mark = mark
        self._partitions = {shape.partition for shape in settings.shapes}
        self._lore = Lore(store)
        self._orders: dict[str, SubmitPilot] = {}  # by pilot: those that strict mode binds
        self.snapshot: ClusterSnapshot | None = None  # the last look

    @property
    def knowledge(self) -> Knowledge:
        """What the last look could tell; everything before the first."""
        return EVERYTHING if self.snapshot is None else self.snapshot.knowledge

    def planned(self, pilot_id: str, order: SubmitPilot) -> None:
        """Remember where, and by when, a pilot that was just submitted must have ended."""
        if order.end_by is not None:
            self._orders[pilot_id] = order

    def after(self, snapshot: ClusterSnapshot, now: float, said: Control) -> Situation:
        """Return the situation that a look has led to. Raises `StoreError`."""
        self.snapshot = snapshot
        settings = settings_of(self._harm.settings(said))
        limits = {batch.name: batch.held_by_limit for batch in snapshot.batch_jobs if batch.held_by_limit}
        pilots = tuple(self._known(record, limits) for record in self._store.pilots())
        live = {pilot.pilot_id for pilot in pilots}
        self._orders = {pilot_id: order for pilot_id, order in self._orders.items() if pilot_id in live}
        self._lore.look(snapshot, pilots, settings.shapes, now)
        situation = Situation(
            snapshot=snapshot,
            needs=tuple(views.need(demand) for demand in self._store.demand()),
            pilots=pilots,
            settings=settings,
            now=now,
            closed=self._pauses.closed(now),
            # Where no nodes are seen, nobody can be kept off one.
            bad_nodes=self._pauses.bad_nodes(now, self._usable(snapshot)) if snapshot.knowledge.nodes else {},
            drained=dict.fromkeys(said.drained, _DRAINED),
            survival=self._lore.survival,
            mark=self._mark,
        )
        situation = self._harm.beliefs(situation)
        if self._harm.look(situation):
            situation = replace(situation, settings=settings_of(self._harm.settings(said)))
        return situation

    def _known(self, record: PilotRecord, limits: Mapping[str, str]) -> KnownPilot:
        order = self._orders.get(record.pilot_id)
        pilot = replace(views.known(record), held_by_limit=limits.get(record.name, ""))
        return pilot if order is None else replace(pilot, end_by=order.end_by, bound_to=order.nodes)

    def _usable(self, snapshot: ClusterSnapshot) -> list[str]:
        return [
            node.name
            for node in snapshot.nodes
            if node.state in _IN_SERVICE and not self._partitions.isdisjoint(node.partitions)
        ]
