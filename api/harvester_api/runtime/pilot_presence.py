"""When a pilot was last heard and how busy it is, written down now and then for the daemon and for `status`.

Owns the choice of what is worth a write: every couple of seconds, and at once when a pilot becomes idle or busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.store.writes.changes import PilotSeen


class Sightings:
    """What was written of each pilot, and when it last had work."""

    def __init__(self, interval: timedelta) -> None:
        """`interval` is the longest time that a heartbeat goes unwritten."""
        self._interval_s = interval.total_seconds()
        self._written: dict[str, PilotSeen] = {}
        self._busy_at: dict[str, float] = {}

    def worked(self, pilot_id: str, now: float) -> None:
        """A pilot reported on its work: it was not idle until now."""
        self._busy_at[pilot_id] = now

    def forget(self, pilot_id: str) -> None:
        """A pilot is gone."""
        self._written.pop(pilot_id, None)
        self._busy_at.pop(pilot_id, None)

    def due(self, pilots: Iterable[PilotEntry], now: float) -> Iterator[PilotSeen]:
        """Yield what is to be written now of `pilots`, who are all that are alive."""
        gone = set(self._written)
        for pilot in pilots:
            gone.discard(pilot.pilot_id)
            if not pilot.is_known:
                continue
            seen = self._seen(pilot, now)
            before = self._written.get(pilot.pilot_id)
            if before is None or self._is_worth(before, seen):
                self._written[pilot.pilot_id] = seen
                yield seen
        for pilot_id in gone:
            self.forget(pilot_id)

    def _seen(self, pilot: PilotEntry, now: float) -> PilotSeen:
        busy_at = self._busy_at.setdefault(pilot.pilot_id, now)
        return PilotSeen(
            pilot_id=pilot.pilot_id,
            at=pilot.last_seen_at,
            ends_at=pilot.ends_at,
            activations=len(pilot.leases),
            idle_since=None if pilot.leases else busy_at,
        )

    def _is_worth(self, before: PilotSeen, seen: PilotSeen) -> bool:
        if (before.idle_since is None) != (seen.idle_since is None):
            return True
        return seen.at - before.at >= self._interval_s
