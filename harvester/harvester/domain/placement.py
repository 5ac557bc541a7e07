"""Placement: the pilot for an invocation. Pure, and blind to queues and leases.

Policy: among the first pilots that have room and time enough, one that has the function loaded, else the one with the
most time left. Looking at a bounded number keeps the cost of one placement constant, however many pilots there are.
"""

from collections.abc import Iterable
from enum import StrEnum

from harvester.domain.entries import Entry, PilotEntry

CANDIDATES = 32  # suitable pilots looked at for one placement


class Obstacle(StrEnum):
    """Why a pilot cannot run an invocation now."""

    LEAVING = "leaving"
    CUT_OFF = "not connected"
    BUSY = "busy"
    SMALL = "too small"
    PYTHON = "another Python"
    TIME = "too little time left"


def choose(entry: Entry, pilots: Iterable[PilotEntry], margin_s: float, now: float) -> PilotEntry | None:
    """Return the pilot to run `entry` on, or None while none suits.

    `margin_s` is the time that must be left of a pilot beyond what the run needs.
    """
    best: PilotEntry | None = None
    seen = 0
    for pilot in pilots:
        if obstacle(entry, pilot, margin_s, now) is not None:
            continue
        if entry.work.function_id in pilot.warm:
            return pilot
        if best is None or pilot.ends_at > best.ends_at:
            best = pilot
        seen += 1
        if seen == CANDIDATES:
            break
    return best


def obstacle(entry: Entry, pilot: PilotEntry, margin_s: float, now: float) -> Obstacle | None:
    """Return why `pilot` cannot run `entry` now; None if it can."""
    if not pilot.is_open:
        return Obstacle.LEAVING if pilot.drain is not None else Obstacle.CUT_OFF
    key = entry.key
    if not key.resources.fits(pilot.free):
        return Obstacle.BUSY if key.resources.fits(pilot.capacity) else Obstacle.SMALL
    if key.python and key.python != pilot.python:
        return Obstacle.PYTHON
    if pilot.ends_at - now < key.needs_s + margin_s:
        return Obstacle.TIME
    return None
