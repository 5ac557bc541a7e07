"""A steady clock: wall time as it was at the start, going on as the monotonic clock does.

Intervals, leases and timeouts by it are right whatever somebody does to the machine's clock, and the instants that one
process writes down stay comparable. The wall clock may jump away from it; by how much is told, and a restart takes the
new time up. Reads the clocks that it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]  # returns Unix seconds
TOLERATED_S = 2.0  # steps of the wall clock that nobody needs to hear of


class Steady:
    """Unix seconds that only go forward, at the pace of the monotonic clock."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._base = wall() - monotonic()

    def __call__(self) -> float:
        """Return now."""
        return self._base + self._monotonic()

    @property
    def ahead_s(self) -> float:
        """How far the wall clock is ahead of this one; negative where it was set back, 0 while the two agree."""
        ahead_s = self._wall() - self()
        return ahead_s if abs(ahead_s) > TOLERATED_S else 0.0


def jumped(ahead_s: float) -> str:
    """Return a jump of the wall clock in words; empty where there was none."""
    if not ahead_s:
        return ""
    way = "ahead" if ahead_s > 0 else "back"
    return (
        f"the machine's clock was set {way} by {abs(ahead_s):.0f} s since the start; intervals are not affected, and "
        "instants are told by the old time until harvester is restarted"
    )
