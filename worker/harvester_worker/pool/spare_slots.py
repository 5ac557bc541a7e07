"""Spare slots: slot processes that are forked ahead and are nobody's yet, for tenants that have none.

A fork and what a new process does first take 4 ms, most of them page faults; a run that finds a process ready does not
wait for them. A spare has seen nobody's code, so it may become anybody's. Owns how many there are and when they are
made. Must not know what they run.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from harvester_worker.isolation.slot_environment import Surroundings

MOST = 4
"""Spares of a pilot, however many CPUs it has: who calls many new functions at once waits for a fork from the fifth
on. Each has about 4 MB for itself."""

PAUSE_S = 0.005
"""From when one was taken, or made, to when the next one is made: a run that begins may need what a fork takes."""


class Timer(Protocol):
    """What comes later, until it is cancelled."""

    def cancel(self) -> None:
        """Let it not come."""
        ...


class SpareSlots:
    """The spare processes of one pilot.

    Parameters
    ----------
    first: the surroundings that the first ones are made for.
    count: how many there are to be.
    fork: forks a process in such surroundings; returns its number.
    drop: ends one that nobody has had.
    later: calls something after so many seconds; the running loop's `call_later` where none is given.
    """

    def __init__(
        self,
        first: Surroundings,
        count: int,
        *,
        fork: Callable[[Surroundings], int],
        drop: Callable[[int], None],
        later: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        self._later = later or asyncio.get_running_loop().call_later
        self._wanted, self._count, self._fork, self._drop = first, count, fork, drop
        self._spares: dict[int, Surroundings] = {}  # by number, the oldest first
        self._timer: Timer | None = None
        self._make_later()

    def take(self, surroundings: Surroundings) -> int | None:
        """Return a process if there is one for these surroundings; the next one is made for them."""
        if surroundings.gpus:
            return None  # the next run's devices are others, most likely
        self._wanted = surroundings
        number = next((number for number, its in self._spares.items() if its == surroundings), None)
        if number is not None:
            del self._spares[number]
        elif len(self._spares) >= self._count:
            oldest = next(iter(self._spares))
            del self._spares[oldest]
            self._drop(oldest)
        self._make_later()
        return number

    def discard(self, number: int) -> None:
        """Record that a process is gone. If it was a spare, another one is made when the next is taken."""
        self._spares.pop(number, None)

    def close(self) -> None:
        """Make no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _make_later(self) -> None:
        if self._timer is None:
            self._timer = self._later(PAUSE_S, self._make)

    def _make(self) -> None:
        self._timer = None
        if len(self._spares) < self._count:
            self._spares[self._fork(self._wanted)] = self._wanted
        if len(self._spares) < self._count:
            self._make_later()
