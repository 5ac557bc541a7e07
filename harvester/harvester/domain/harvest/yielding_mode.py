"""Yielding mode: nobody evicts pilots, so they leave by themselves as soon as a prime job could start without them.

Pure. Pilots use every window, also those without a known end. Who is in the way of a prime job that would start now, or
within a lead, is asked to leave. While a prime job is about to start, pilots that wait are held and none is submitted:
one that took a node that was just vacated would put the prime job off again.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from harvester.domain.harvest.planning import (
    LEAD_S,
    CancelPilot,
    HarvestSettings,
    KnownPilot,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.model.pilots import PilotState

LONGEST = timedelta(hours=1)
"""What a pilot may last.

A pilot leaves by itself soon after it has heard nothing of a live daemon, so its length matters only where that fails
too. docs/simulator.md has what a dead daemon does with and without it, and what shorter lengths cost.
"""


def limited(settings: HarvestSettings) -> HarvestSettings:
    """Return `settings` with lengths that keep the harm small when nobody is left to ask pilots to leave."""
    lengths = tuple(length for length in settings.lengths if length <= LONGEST) or (LONGEST,)
    return replace(settings, lengths=lengths, longest=min(settings.longest, LONGEST))


class YieldingRules:
    """What yielding mode allows in one situation."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._contention = situation.contention
        self._soon = situation.now + LEAD_S
        self._starting = starting(situation, self._soon)

    # ---- submissions

    def fitted(self, wish: SubmitPilot, shape: Shape) -> tuple[SubmitPilot | None, str]:
        """Return `wish`, no longer than a pilot may last, or why it must wait."""
        batch_job_id = self._starting.get(shape.partition)
        if batch_job_id is not None:
            return None, f"mode = yielding, and batch job {batch_job_id} is about to start in {shape.partition}"
        if wish.walltime <= LONGEST:
            return wish, ""
        least = None if wish.time_min is None else min(wish.time_min, LONGEST)
        return replace(wish, walltime=LONGEST, time_min=least), ""

    # ---- departures

    def departures(self) -> list[CancelPilot]:
        """Return the pilots that are in a prime job's way."""
        running = [(pilot, self._is_wanted(pilot)) for pilot in self._situation.pilots if not pilot.is_pending]
        return [CancelPilot(pilot_id=pilot.pilot_id, why=why) for pilot, why in running if why]

    def held(self) -> dict[str, str]:
        """Return the pilots that could get into a prime job's way if they were started now, and why."""
        waiting = [(pilot, self._starting.get(pilot.partition)) for pilot in self._situation.pilots if pilot.is_pending]
        return {
            pilot.pilot_id: f"batch job {batch_job_id} is about to start on nodes that it could take"
            for pilot, batch_job_id in waiting
            if batch_job_id is not None
        }

    def _is_wanted(self, pilot: KnownPilot) -> str:
        claim = self._contention.wanted.get(pilot.node)
        if claim is None or pilot.state is PilotState.DRAINING or claim.at > self._soon:
            return ""
        return f"its node is wanted: {claim.why}"


def starting(situation: Situation, soon: float) -> dict[str, str]:
    """Return the partitions with nodes on which a prime job is about to start, each with the first such batch job."""
    partitions = {node.name: node.partitions for node in situation.snapshot.nodes}
    found: dict[str, str] = {}
    for start in situation.contention.starts:
        if start.at <= soon:
            for node in start.nodes:
                for partition in partitions.get(node, ()):
                    found.setdefault(partition, start.batch_job_id)
    return found
