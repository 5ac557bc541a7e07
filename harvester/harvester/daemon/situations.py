"""Situations: everything that a planning decision is made of, gathered from store, look, pauses and lore.

Owns what strict mode must remember of a pilot until it has started. Losing it (a restart) costs the pilots that wait:
without it nobody knows by when they must have ended, so they are taken out of the queue.
"""

from __future__ import annotations

from harvester.daemon import views
from harvester.daemon.lore import Lore
from harvester.daemon.pauses import Pauses
from harvester.domain.cluster import ClusterSnapshot
from harvester.domain.outlook import with_outlook
from harvester.domain.planning import HarvestSettings, Situation
from harvester.store.store import Store


class Situations:
    """Gathers situations."""

    def __init__(self, settings: HarvestSettings, store: Store, pauses: Pauses) -> None:
        self._settings = settings
        self._store = store
        self._pauses = pauses
        self._lore = Lore(store)
        self._end_by: dict[str, float] = {}  # by pilot

    def planned(self, pilot_id: str, end_by: float | None) -> None:
        """Remember by when a pilot that was just submitted must have ended."""
        if end_by is not None:
            self._end_by[pilot_id] = end_by

    def after(self, snapshot: ClusterSnapshot, now: float) -> Situation:
        """Return the situation that a look has led to, with its windows. Raises `StoreError`."""
        pilots = tuple(views.known(record, self._end_by.get(record.pilot_id)) for record in self._store.pilots())
        self._end_by = {pilot.pilot_id: pilot.end_by for pilot in pilots if pilot.end_by is not None}
        self._lore.look(snapshot, pilots, self._settings.shapes, now)
        situation = Situation(
            snapshot=snapshot,
            needs=tuple(views.need(demand) for demand in self._store.demand()),
            pilots=pilots,
            settings=self._settings,
            now=now,
            closed=self._pauses.closed(now),
            bad_nodes=self._pauses.bad_nodes(now),
            survival=self._lore.survival,
        )
        return with_outlook(situation)
