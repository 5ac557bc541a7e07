"""Situations: everything that a planning decision is made of, gathered from store, look, pauses and lore.

Owns what strict mode must remember of a pilot until it has started. Losing it (a restart) costs the pilots that wait:
without it nobody knows by when they must have ended, so they are taken out of the queue.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from harvester.daemon import views
from harvester.daemon.lore import Lore
from harvester.daemon.pauses import Pauses
from harvester.domain.cluster import ClusterSnapshot
from harvester.domain.outlook import windows_of
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
        self.snapshot: ClusterSnapshot | None = None  # the last look

    def planned(self, pilot_id: str, end_by: float | None) -> None:
        """Remember by when a pilot that was just submitted must have ended."""
        if end_by is not None:
            self._end_by[pilot_id] = end_by

    def after(self, snapshot: ClusterSnapshot, now: float, *, drained: Sequence[str] = ()) -> Situation:
        """Return the situation that a look has led to, with its windows. Raises `StoreError`.

        Parameters
        ----------
        drained: nodes that an admin wants pilots to leave.
        """
        self.snapshot = snapshot
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
            drained=dict.fromkeys(drained, "an admin has drained it (harvester undrain takes that back)"),
            survival=self._lore.survival,
        )
        return replace(situation, windows=windows_of(situation))
