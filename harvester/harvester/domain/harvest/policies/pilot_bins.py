"""Room: a pilot as a bin, and how many invocations go into it.

Counts stand for invocations, so ten thousand of a function cost no more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from harvester.domain.harvest.planning import KnownPilot, Need
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

ZERO = timedelta(0)

_ORDER = {PilotState.READY: 0, PilotState.BOOTING: 1, PilotState.QUEUED: 2, PilotState.PLANNED: 3}


def how_many(wanted: Resources, room: Resources) -> int:
    """Return how many times `wanted` can be had from `room` at the same time."""
    pairs = (
        (wanted.cpus, room.cpus),
        (wanted.gpus, room.gpus),
        (wanted.memory_mb, room.memory_mb),
    )
    return max(0, min((have // want for want, have in pairs if want > 0), default=1))


def times(resources: Resources, count: int) -> Resources:
    """Return `resources` so many times."""
    return Resources(cpus=resources.cpus * count, gpus=resources.gpus * count, memory_mb=resources.memory_mb * count)


@dataclass
class PilotBin:
    """What is left of a pilot, live or about to be submitted, while work is put into it."""

    pilot: KnownPilot | None
    free: Resources
    python: str
    time_left: timedelta
    shape: str
    is_gpu: bool
    only_over: timedelta | None = None  # stuck in the queue: takes only work that no shorter pilot than this could run
    slack: timedelta = ZERO  # part of what fresh pilots need that this one has spent already
    work: int = 0
    least: timedelta = ZERO  # the most time that work in it needs

    def put(self, need: Need, count: int, at_least: timedelta) -> int:
        """Put up to `count` of `need` in, and return how many went in. `at_least`: time left that they need."""
        if need.python and self.python and need.python != self.python:
            return 0
        if self.time_left < at_least - self.slack:
            return 0
        if self.only_over is not None and at_least <= self.only_over:
            return 0
        taken = min(count, how_many(need.resources, self.free))
        if taken:
            self.free = self.free - times(need.resources, taken)
            self.work += taken
            self.least = max(self.least, at_least)
        return taken


def order(room: PilotBin) -> tuple[bool, int, bool, float]:
    """Sort key: pilots that are at work first, so that those left over are the idle and the pending ones."""
    pilot = room.pilot
    if pilot is None:
        return (room.is_gpu, 9, False, 0.0)
    return (room.is_gpu, _ORDER.get(pilot.state, 9), pilot.activations == 0, pilot.planned_at)
