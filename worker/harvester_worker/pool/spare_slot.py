"""The spare: one slot process that is forked ahead and nobody's yet, for the next tenant that has none.

A fork and what a new process does first take 4 ms, most of them page faults; a run that finds a process ready does not
wait for them. It has seen nobody's code, so it may become anybody's. Owns when it is made.
"""

import asyncio
from collections.abc import Callable

from harvester_worker.isolation.slot_environment import Surroundings

PAUSE_S = 0.005
"""From when the last one was taken to the next one: the run that has it may need what a fork takes."""


class SpareSlot:
    """The spare process of one pilot.

    Parameters
    ----------
    first: the surroundings that the first one is made for.
    fork: forks a process in such surroundings; returns its number.
    drop: ends one that nobody has had.
    """

    def __init__(
        self, first: Surroundings, *, fork: Callable[[Surroundings], int], drop: Callable[[int], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._surroundings, self._fork, self._drop = first, fork, drop
        self._number: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._make_later()

    def take(self, surroundings: Surroundings) -> int | None:
        """Return the process if there is one for these surroundings; the next one is made for them."""
        if surroundings.gpus:
            return None  # the next run's devices are others, most likely
        number, self._number = self._number, None
        if number is not None and surroundings != self._surroundings:
            self._drop(number)
            number = None
        self._surroundings = surroundings
        self._make_later()
        return number

    def discard(self, number: int) -> None:
        """Take note that a process is gone. If it was this one, the next is made when it is missed."""
        if number == self._number:
            self._number = None

    def close(self) -> None:
        """Make no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _make_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(PAUSE_S, self._make)

    def _make(self) -> None:
        self._timer = None
        if self._number is None:
            self._number = self._fork(self._surroundings)
