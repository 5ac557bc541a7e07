"""Granting: which leases become possible after a change, and to whom they go. Pure, on the dispatcher's ledger.

Owns when who waits is looked at again; who is next is the queues' to say, which pilot suits is `placement`'s.
"""

from __future__ import annotations

from harvester.domain.dispatch.leasing import placement
from harvester.domain.dispatch.leasing.placement import Obstacle
from harvester.domain.dispatch.ledger.effects import Effect, Grant
from harvester.domain.dispatch.ledger.entries import Entry, PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.dispatch.queueing.durations import KNOWN
from harvester.domain.dispatch.queueing.lanes import Lane, Waiting, WorkShape
from harvester.domain.dispatch.queueing.queues import first

GROWTH = 2
"""Leases granted ahead, at most, when a slot becomes free: lines grow as they move, on all pilots evenly."""


class Granting:
    """Hands the waiting invocations of one ledger to its pilots.

    Parameters
    ----------
    ledger: the dispatcher's.
    margin_s: seconds that must be left of a pilot beyond what a run needs.
    patience_s: after so long a time of being passed over, in seconds, a shape has a pilot's room kept for it.
    horizon_s: leases are granted ahead of free slots for so many seconds of a pilot's work.
    prefetch: and no more of them than this for each of its CPUs; 0: none.
    """

    def __init__(self, ledger: Ledger, *, margin_s: float, patience_s: float, horizon_s: float, prefetch: int) -> None:
        self._ledger, self._queues = ledger, ledger.queues
        self._margin_s, self._patience_s = margin_s, patience_s
        self._horizon_s, self._prefetch = horizon_s, prefetch

    # The effects are appended, in order, to a list that the caller has begun.

    def place(self, now: float, freed: PilotEntry | None, effects: list[Effect]) -> None:
        """Grant what can be granted after a change: on the pilot that has got room, and shapes that nobody waited for.

        Nothing else can have become possible: a shape that found no pilot before finds one only where room was freed.
        """
        queues = self._queues
        if not queues.active:
            return
        if freed is not None and freed.pilot_id in self._ledger.roomy:
            self._fill(freed, now, effects)
        if queues.fresh and self._ledger.roomy:
            self._spread(dict(queues.fresh), now, effects)
        queues.fresh.clear()
        if freed is not None and queues.active and self._prefetch and now >= freed.ahead_from:
            self._look_ahead(freed, now, effects)

    def place_all(self, now: float, effects: list[Effect]) -> None:
        """Try every shape again: time left, which no change of room tells of, may have grown."""
        for pilot in self._ledger.roomy.values():
            if pilot.kept_for is not None:
                self._review(pilot, pilot.kept_for, now)
        self._spread(dict(self._queues.active), now, effects)

    def _fill(self, pilot: PilotEntry, now: float, effects: list[Effect]) -> None:
        """Grant leases to one pilot as long as somebody waits whom it suits."""
        while pilot.pilot_id in self._ledger.roomy:
            lane = self._next_for(pilot, now)
            if lane is None:
                return
            effects.append(self._grant(lane, pilot, now))

    def _spread(self, choices: dict[WorkShape, Waiting], now: float, effects: list[Effect]) -> None:
        """Grant leases for these shapes as long as they find pilots."""
        roomy = self._ledger.roomy
        while roomy:
            lane = first([waiting for waiting in choices.values() if waiting.groups])
            if lane is None or lane.group is None:
                return
            waiting = lane.group.waiting
            pilot = placement.choose(waiting, lane.function.function_id, roomy.values(), self._margin_s, now)
            if pilot is None:
                del choices[waiting.shape]
            else:
                effects.append(self._grant(lane, pilot, now))

    def _look_ahead(self, pilot: PilotEntry, now: float, effects: list[Effect]) -> None:
        """Grant leases ahead of free slots, for the time that the pilot would otherwise wait for our next word.

        Only for runs that are known to be over soon, and never past somebody whose turn it is and whose run is not:
        so the slots go to the same invocations in the same order as without. And none while a CPU is free, for which
        what waits is too large now: below zero the books would not show that CPU to others.
        """
        if pilot.free_cpus > 0:
            return
        turning = pilot.capacity.cpus - pilot.slow_cpus  # CPUs that are soon free
        most, most_s = self._prefetch * turning, self._horizon_s * turning
        kept = pilot.kept_for
        for _ in range(GROWTH):
            if pilot.ahead >= most or (kept is not None and kept.groups):
                return
            lane = first(
                [
                    waiting
                    for shape, waiting in self._queues.active.items()
                    if placement.obstacle(shape, pilot, self._margin_s, now, True) is None
                ]
            )
            if lane is None:
                return
            function = lane.function
            resources = function.resources
            duration = function.duration
            if duration.runs < KNOWN or function.nests or resources.gpus or resources.cpus > turning:
                return
            if duration.mean_s > self._horizon_s or pilot.ahead_s + duration.mean_s * resources.cpus > most_s:
                return
            effects.append(self._grant(lane, pilot, now, True))

    def _next_for(self, pilot: PilotEntry, now: float) -> Lane | None:
        """Return the lane to serve next on a pilot that has room."""
        if pilot.kept_for is not None and self._review(pilot, pilot.kept_for, now):
            waiting = pilot.kept_for
            is_free = placement.obstacle(waiting.shape, pilot, self._margin_s, now) is None
            return first([waiting]) if is_free else None
        choices = []
        for shape, waiting in self._queues.active.items():
            obstacle = placement.obstacle(shape, pilot, self._margin_s, now)
            if obstacle is None:
                choices.append(waiting)
            elif obstacle is Obstacle.BUSY and self._pass_over(waiting, now):
                pilot.kept_for = waiting
                waiting.passed_at = now
                return None
        return first(choices)

    def _pass_over(self, waiting: Waiting, now: float) -> bool:
        """Note that smaller shapes take a shape's room; return whether they have for too long."""
        if waiting.passed_at is None:
            waiting.passed_at = now
        return now - waiting.passed_at > self._patience_s

    def _review(self, pilot: PilotEntry, kept: Waiting, now: float) -> bool:
        """Return whether a pilot's room is still worth keeping for a shape; if not, keep it no longer."""
        if kept.groups:
            obstacle = placement.obstacle(kept.shape, pilot, self._margin_s, now)
            if obstacle is None or obstacle is Obstacle.BUSY:
                return True
        pilot.kept_for = None
        return False

    def _grant(self, lane: Lane, pilot: PilotEntry, now: float, is_ahead: bool = False) -> Grant:
        if lane.group is not None:
            lane.group.waiting.passed_at = None
        pilot.kept_for = None
        entry = self._queues.take(lane)
        ledger = self._ledger
        ledger.fence += 1
        ledger.lease(entry, pilot, ledger.fence, now, is_ahead=is_ahead)
        return granted(entry, pilot)


def granted(entry: Entry, pilot: PilotEntry, *, adopted: bool = False) -> Grant:
    """Return the effect for a lease that stands in the ledger; `adopted` where the pilot has it already."""
    return Grant(
        pilot_id=pilot.pilot_id,
        invocation_id=entry.invocation_id,
        function_id=entry.lane.function.function_id,
        fence=entry.last_fence,
        attempt=entry.attempts,
        resumed=entry.has_checkpoint,
        adopted=adopted,
    )
