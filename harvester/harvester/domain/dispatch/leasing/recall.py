"""Recalling: which leases, granted ahead of a slot, are better asked back. Pure, on the dispatcher's ledger.

A lease ahead waits for a run that was expected to be over soon. Where that was wrong, and another pilot has room, it
is asked back after `PATIENCE_S`; after `LIMIT_S` also where the others are busy, since it gets the next slot there.
"""

from __future__ import annotations

from collections.abc import Iterator

from harvester.domain.dispatch.leasing import placement
from harvester.domain.dispatch.ledger.effects import Recall
from harvester.domain.dispatch.ledger.entries import Entry, PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.dispatch.queueing.lanes import WorkShape
from harvester.domain.model.invocations import InvocationState

PATIENCE_S = 0.1
LIMIT_S = 1.0
AGAIN_S = 1.0
"""Ask again after this; and grant nothing ahead to that pilot for as long."""


def recalls(ledger: Ledger, margin_s: float, now: float) -> Iterator[Recall]:
    """Yield the leases to ask back now."""
    room = _Room(ledger, margin_s, now)
    for pilot in ledger.pilots.values():
        if not pilot.ahead or not pilot.is_connected:
            continue
        for entry in pilot.leases.values():
            lease = entry.lease
            if lease is None or not lease.is_ahead or entry.state is not InvocationState.LEASED:
                continue
            waited_s = now - lease.granted_at
            if waited_s < PATIENCE_S:
                break  # they stand in the order of their grants
            if lease.recalled_at is not None and now - lease.recalled_at < AGAIN_S:
                room.take(entry, pilot)  # it may be about to come back
                continue
            if room.take(entry, pilot) or (waited_s >= LIMIT_S and room.could_be(entry, pilot)):
                lease.recalled_at = now
                pilot.ahead_from = now + AGAIN_S
                yield Recall(pilot_id=pilot.pilot_id, invocation_id=entry.invocation_id, fence=lease.fence)


class _Room:
    """The room that pilots have beside what this round gives away."""

    def __init__(self, ledger: Ledger, margin_s: float, now: float) -> None:
        self._ledger, self._margin_s, self._now = ledger, margin_s, now
        self._spare = {pilot.pilot_id: pilot.free_cpus for pilot in ledger.roomy.values()}
        self._suitable: dict[WorkShape, list[PilotEntry]] = {}

    def take(self, entry: Entry, holder: PilotEntry) -> bool:
        """Take room for an invocation on a pilot other than its holder; False where there is none."""
        shape = entry.lane.shape
        for pilot_id in self._spare:
            pilot = self._ledger.pilots[pilot_id]
            is_free = placement.obstacle(shape, pilot, self._margin_s, self._now) is None
            if pilot is not holder and is_free and self._spare[pilot_id] >= shape.resources.cpus:
                self._spare[pilot_id] -= shape.resources.cpus
                if self._spare[pilot_id] <= 0:
                    del self._spare[pilot_id]
                return True
        return False

    def could_be(self, entry: Entry, holder: PilotEntry) -> bool:
        """Return whether a pilot other than the holder could run an invocation, when it has room."""
        shape = entry.lane.shape
        if shape not in self._suitable:
            self._suitable[shape] = [
                pilot
                for pilot in self._ledger.pilots.values()
                if placement.obstacle(shape, pilot, self._margin_s, self._now, in_line=True) is None
            ]
        return any(pilot is not holder for pilot in self._suitable[shape])
