"""Back-off: how long to leave somebody alone who said no, and when to stop asking.

Pure: `failed` and `succeeded` return the next state. The daemon keeps one for the scheduler as a whole (it does not
answer) and one for each pilot shape (its submissions are refused, or its pilots end before they are of use).
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
from msgspec import structs


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait after the first failure in a row, the second …"""

    steps: tuple[timedelta, ...]
    pause_after: int | None = None  # so many failures in a row pause it until somebody resumes it; None: never


SUBMISSIONS = Ladder(
    steps=(timedelta(seconds=5), timedelta(seconds=15), timedelta(minutes=1), timedelta(minutes=5)), pause_after=5
)
"""For refused submissions, for pilots that end before they register, and for failures that none of a shape survives."""

LIMITS = Ladder(steps=SUBMISSIONS.steps)
"""For submissions beyond a limit of our user, account or QOS. It has room again by itself, so this never pauses."""

ANSWERS = Ladder(steps=tuple(timedelta(seconds=seconds) for seconds in (2, 4, 8, 15, 30, 60)))
"""For a scheduler that does not answer. It may come back at any time, so this never pauses."""

URGENT = Ladder(steps=tuple(timedelta(seconds=seconds) for seconds in (1, 2, 5)))
"""The same, where prime jobs wait for pilots until we see them: nobody else takes a node back."""


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Failures in a row, and what follows from them."""

    failures: int = 0
    grave: int = 0  # of these, the ones of a ladder that pauses: full limits before them bring no pause nearer
    until_at: float = 0.0
    failed_at: float = 0.0  # the newest failure
    reason: str = ""  # of the newest failure
    is_paused: bool = False
    paused_at: float | None = None

    def failed(self, ladder: Ladder, reason: str, now: float) -> Backoff:
        """Return the state after one more failure."""
        failures = self.failures + 1
        grave = self.grave + (ladder.pause_after is not None)
        is_paused = ladder.pause_after is not None and grave >= ladder.pause_after
        step = ladder.steps[min(failures, len(ladder.steps)) - 1]
        return Backoff(
            failures=failures,
            grave=grave,
            until_at=now + step.total_seconds(),
            failed_at=now,
            reason=reason,
            is_paused=is_paused,
            paused_at=(self.paused_at or now) if is_paused else None,
        )

    def answered(self) -> Backoff:
        """Return the state after a success that may not last: nothing is held back, and the count goes on."""
        return structs.replace(self, until_at=0.0, is_paused=False, paused_at=None)

    @property
    def is_answered(self) -> bool:
        """Whether there was such a success since the newest failure."""
        return not self.until_at

    def allows(self, now: float) -> bool:
        """Return whether to try now."""
        return not self.is_paused and now >= self.until_at


CLEAR = Backoff()
