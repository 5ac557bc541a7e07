"""What a caller may ask for one invocation: its place among the caller's own, and until when it is of use.

Owns the options and how those of a function and of a client meet. The gateway checks what it is asked.
"""

from __future__ import annotations

import math
from datetime import timedelta

import msgspec

MAX_PRIORITY = 1000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """None where nothing is asked."""

    priority: int | None = None
    ttl_s: float | None = None
    deadline_s: float | None = None

    def over(self, other: Options) -> Options:
        """Return these, and the `other` ones where these ask nothing."""
        return Options(
            priority=other.priority if self.priority is None else self.priority,
            ttl_s=other.ttl_s if self.ttl_s is None else self.ttl_s,
            deadline_s=other.deadline_s if self.deadline_s is None else self.deadline_s,
        )

    def params(self) -> dict[str, str]:
        """Return the query parameters of a submission."""
        asked = {"priority": self.priority, "ttl_s": self.ttl_s, "deadline_s": self.deadline_s}
        return {name: f"{value:.10g}" for name, value in asked.items() if value is not None}


NO_OPTIONS = Options()


def make_options(
    priority: int | None = None, ttl: timedelta | float | None = None, deadline: timedelta | float | None = None
) -> Options:
    """Return the options of an invocation.

    Parameters
    ----------
    priority: from -1000 to 1000, 0 unless asked; orders the waiting invocations of one user, higher first.
    ttl: it must have begun within this time, in seconds or as a `timedelta`; else it ends as EXPIRED.
    deadline: it must have ended within this time; else it is stopped and ends as EXPIRED.

    Raises `ValueError` for a number that makes no sense.
    """
    if priority is not None and not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise ValueError(f"priority must be from {-MAX_PRIORITY} to {MAX_PRIORITY}, not {priority}")
    return Options(priority=priority, ttl_s=seconds("ttl", ttl), deadline_s=seconds("deadline", deadline))


def seconds(field: str, value: timedelta | float | None) -> float | None:
    """Return a time as seconds. Raises `ValueError`, which names `field`, unless it is longer than nothing."""
    if value is None:
        return None
    try:
        found = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(
            f"{field}: {value!r} is not a duration: write seconds, as in 600, or datetime.timedelta(minutes=10)"
        )
    if not found > 0:
        raise ValueError(f"{field} must be longer than nothing, not {value!r}")
    return found
