"""Stopped slots: processes that were stopped by a signal, and so will never end their run.

Owns for how long each has been seen stopped. Pure: `now` in, a decision out. Looks are counted, not only seconds: a
scheduler suspends and wakes the whole pilot, this process perhaps before its slots, and that time must not count.
"""

LOOK_S = 0.5
"""Between two looks."""

LOOKS = 3
"""A process that is stopped at so many looks in a row is given up."""


class StoppedSlots:
    """The stopped children of one process."""

    def __init__(self) -> None:
        self._looks: dict[int, int] = {}
        self._look_at = 0.0

    def add(self, pid: int, now: float) -> None:
        """Record that a process was stopped."""
        if not self._looks:
            self._look_at = now + LOOK_S
        self._looks.setdefault(pid, 0)

    def due_in_s(self, now: float) -> float | None:
        """Return in how many seconds to look, None while no process is stopped."""
        return max(0.0, self._look_at - now) if self._looks else None

    def to_look_at(self, now: float) -> list[int]:
        """Return those whose state has to be told now by `seen`."""
        if not self._looks or now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        return list(self._looks)

    def seen(self, pid: int, *, is_stopped: bool) -> bool:
        """Record a look; return whether the process is to be given up."""
        if not is_stopped:
            del self._looks[pid]
            return False
        self._looks[pid] += 1
        if self._looks[pid] < LOOKS:
            return False
        del self._looks[pid]
        return True
