"""Placement: the pilot for an invocation. Pure, and blind to queues and leases.

Policy: among the first pilots that have room and time enough, one that has the function loaded, else the one with the
most time left. Looking at a bounded number keeps the cost of one placement constant, however many pilots there are.
"""

from collections.abc import Iterable
from enum import StrEnum

from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.dispatch.queueing.lanes import Waiting, WorkShape

CANDIDATES = 32  # suitable pilots looked at for one placement


class Obstacle(StrEnum):
    """Why a pilot cannot run an invocation now."""

    LEAVING = "leaving"
    CUT_OFF = "not connected"
    BUSY = "busy"
    SMALL = "too small"
    PYTHON = "another Python"
    TIME = "too little time left"


def choose(
    waiting: Waiting, function_id: str, pilots: Iterable[PilotEntry], margin_s: float, now: float
) -> PilotEntry | None:
    """Return the pilot to run an invocation of this shape and function on, or None while none suits.

    `margin_s` is the time that must be left of a pilot beyond what the run needs.
    """
    best: PilotEntry | None = None
    seen = 0
    for pilot in pilots:
        if obstacle(waiting.shape, pilot, margin_s, now) is not None or is_kept_from(waiting, pilot):
            continue
        if function_id in pilot.warm:
            return pilot
        if best is None or pilot.ends_at > best.ends_at:
            best = pilot
        seen += 1
        if seen == CANDIDATES:
            break
    return best


def obstacle(
    shape: WorkShape, pilot: PilotEntry, margin_s: float, now: float, in_line: bool = False
) -> Obstacle | None:
    """Return why `pilot` cannot run what has this shape now; None if it can.

    `in_line`: it need not be now, when its room is free will do.
    """
    if pilot.drain is not None or not pilot.is_connected:
        return Obstacle.CUT_OFF if pilot.drain is None else Obstacle.LEAVING
    resources = shape.resources
    is_shut = pilot.has_alone or (shape.is_alone and len(pilot.leases) > 0)
    if (
        is_shut
        or resources.cpus > pilot.free_cpus
        or resources.gpus > pilot.free_gpus
        or resources.memory_mb > pilot.free_memory_mb
    ):
        if not resources.fits(pilot.capacity):
            return Obstacle.SMALL
        if is_shut or not in_line:
            return Obstacle.BUSY
    if shape.python and shape.python != pilot.python:
        return Obstacle.PYTHON
    if pilot.ends_at - now < shape.needs_s + margin_s:
        return Obstacle.TIME
    return None


def is_kept_from(waiting: Waiting, pilot: PilotEntry) -> bool:
    """Return whether the room of `pilot` is kept for work of another shape that still waits."""
    kept = pilot.kept_for
    return kept is not None and kept is not waiting and len(kept.groups) > 0
