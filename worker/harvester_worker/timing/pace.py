"""The pace: how long functions take on this pilot, from how long they took.

Pure arithmetic.
"""

SHARE = 0.25
"""What the newest duration counts in the moving mean: a function that turned slow is known to be after one run."""

MOST = 10_000
"""So many functions are remembered; those that came first are forgotten first."""


class Pace:
    """Moving means of durations, by function."""

    def __init__(self) -> None:
        self._mean_s: dict[str, float] = {}

    def ran(self, name: str, duration_s: float) -> None:
        """Record a run."""
        mean = self._mean_s.get(name, duration_s)
        self._mean_s[name] = mean + SHARE * (duration_s - mean)
        if len(self._mean_s) > MOST:
            del self._mean_s[next(iter(self._mean_s))]

    def expected_s(self, name: str) -> float | None:
        """Return how long the next run will take, in seconds; None for a function that has not run yet."""
        return self._mean_s.get(name)
