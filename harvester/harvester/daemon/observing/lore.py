"""Lore: what the daemon learns of the cluster's gaps, kept in the store so that a restart forgets nothing.

Owns the note and how often it is written. What is learned is `domain.survival`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from harvester.domain.cluster import survival
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.cluster.survival import Survival
from harvester.domain.harvest.planning import KnownPilot, Shape
from harvester.domain.supervision.gap_watch import GapWatch
from harvester.store.store import Store

SURVIVAL_NOTE = "survival"
_KEEP_EVERY = timedelta(minutes=1)


class Lore:
    """Learns, and remembers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watch: GapWatch | None = None
        self._kept: Survival | None = None
        self._kept_at = 0.0

    @property
    def survival(self) -> Survival:
        """What is known by now."""
        return Survival() if self._watch is None else self._watch.survival

    def look(
        self, snapshot: ClusterSnapshot, pilots: Sequence[KnownPilot], shapes: Sequence[Shape], now: float
    ) -> None:
        """Learn from one look. Raises `StoreError`."""
        if self._watch is None:
            self._kept = survival.decode(self._store.note(SURVIVAL_NOTE))
            self._watch = GapWatch(self._kept)
        self._watch.look(snapshot, pilots, shapes, now)
        if self._watch.survival is not self._kept and now - self._kept_at >= _KEEP_EVERY.total_seconds():
            self._kept, self._kept_at = self._watch.survival, now
            self._store.put_note(SURVIVAL_NOTE, survival.encode(self._kept))
