"""Placement: the pilot for an invocation. Pure, and blind to queues and leases.

Policy: among the first pilots that have room and time enough, one that has the function loaded, else the one with the
most time left. Looking at a bounded number keeps the cost of one placement constant, however many pilots there are.
"""

from collections.abc import Iterable

from harvester.domain.entries import Entry, PilotEntry

CANDIDATES = 32  # suitable pilots looked at for one placement


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


def obstacle(entry: Entry, pilot: PilotEntry, margin_s: float, now: float) -> str | None:
    """Return why `pilot` cannot run `entry` now, in words; None if it can."""
    if not pilot.is_open:
        return "is leaving" if pilot.drain is not None else "is not connected"
    if not entry.key.resources.fits(pilot.free):
        if entry.key.resources.fits(pilot.capacity):
            return "is busy"
        return f"is too small ({pilot.capacity})"
    if entry.key.python and entry.key.python != pilot.python:
        return f"runs Python {pilot.python}"
    if pilot.ends_at - now < entry.key.needs_s + margin_s:
        return f"has only {max(0.0, pilot.ends_at - now):.0f} s left"
    return None
