"""Queueing: from the pilots that should wait, and those that do wait, to what is submitted and what is cancelled.

A pilot that waits costs nothing until it starts, and a cancellation nothing but a command; still nothing is replaced
that will do.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from harvester.domain.harvest.planning import CancelPilot, KnownPilot, SubmitPilot
from harvester.domain.harvest.policies.targets import WantedPilot
from harvester.domain.model.pilots import PilotState

_MOST_NICE = 1000


class Match(NamedTuple):
    """What came of it."""

    missing: list[WantedPilot]
    surplus: list[KnownPilot]  # waiting, and good for no target


def match(targets: Sequence[WantedPilot], waiting: Sequence[KnownPilot]) -> Match:
    """Give each target, in order, the longest pilots in the queue that will do."""
    shelves: dict[tuple[str, float | None], list[tuple[float, str, KnownPilot]]] = {}
    for pilot in waiting:
        shelf = shelves.setdefault((pilot.shape, pilot.end_by), [])
        shelf.append((pilot.walltime.total_seconds(), pilot.pilot_id, pilot))
    for shelf in shelves.values():
        shelf.sort()
    missing: list[WantedPilot] = []
    for target in targets:
        found = shelves.get((target.shape, target.end_by), [])
        place = bisect_left(found, (target.high + 1e-6, "")) if found else 0
        first = place
        while first > 0 and place - first < target.pilots and found[first - 1][0] >= target.low:
            first -= 1
        del found[first:place]
        missing += [target] * (target.pilots - (place - first))
    return Match(missing, [pilot for shelf in shelves.values() for _, _, pilot in shelf])


def submission(target: WantedPilot, longest: float) -> SubmitPilot:
    """Return the submission that a target asks for. Longer pilots are less nice: the scheduler tries them first."""
    nice = round(100 * math.log2(longest / target.length)) if target.length < longest else 0
    return SubmitPilot(
        shape=target.shape,
        walltime=timedelta(seconds=target.length),
        why=target.why,
        nice=min(nice, _MOST_NICE),
        nodes=(target.node,) if target.node else (),
        end_by=target.end_by,
        time_min=None if target.time_min is None else timedelta(seconds=target.time_min),
    )


def cancellations(surplus: Sequence[KnownPilot], count: int, why: str) -> list[CancelPilot]:
    """Return up to `count` cancellations, of those first that have waited longest."""
    queued = [pilot for pilot in surplus if pilot.state is PilotState.QUEUED]
    queued.sort(key=lambda pilot: pilot.pending_since)
    return [CancelPilot(pilot_id=pilot.pilot_id, why=why) for pilot in queued[: max(0, count)]]
