"""Durations: how long the runs of a function take, learned from those that ended.

Estimator: V. Jacobson, "Congestion avoidance and control", SIGCOMM 1988, which TCP uses for round trips (RFC 6298): a
moving mean with gain 1/8, a moving mean deviation with gain 1/4, and mean + 4 deviations as what a run hardly ever
exceeds. The first runs count equally. Two numbers a function, and no samples kept.

Knows no function, no invocation and no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil, log2

import msgspec

KNOWN = 5
"""So many runs make an estimate."""

STEPS = 4
"""Learned needs are rounded up to powers of 2^(1/4), so that they make few shapes and rarely change."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the duration of a function's runs."""

    runs: int  # that it was learned from
    mean_s: float
    upper_s: float  # hardly any run takes longer


class Duration(msgspec.Struct, gc=False):
    """The running estimate for one function."""

    runs: int = 0
    mean_s: float = 0.0
    deviation_s: float = 0.0
    needs_s: float = 0.0  # seconds that a pilot should have left for a run, rounded up; 0: no matter

    @property
    def is_known(self) -> bool:
        """Whether enough runs were seen."""
        return self.runs >= KNOWN

    def learn(self, seconds: float) -> None:
        """Take one run into account."""
        self.runs = runs = self.runs + 1
        if runs == 1:
            self.mean_s, self.deviation_s = seconds, seconds / 2
        else:
            error = seconds - self.mean_s
            self.mean_s += error / (runs if runs < 8 else 8)
            self.deviation_s += ((error if error > 0 else -error) - self.deviation_s) / (runs if runs < 4 else 4)
        if runs >= KNOWN:
            upper = self.mean_s + 4 * self.deviation_s
            self.needs_s = 0.0 if upper < 1.0 else 2.0 ** (ceil(STEPS * log2(upper)) / STEPS)

    def doubt(self) -> None:
        """Halve what a run is believed to need: nothing ran for long since no pilot had that much time."""
        self.needs_s = 0.0 if self.needs_s < 2.0 else self.needs_s / 2

    def estimate(self) -> Estimate | None:
        """Return what is known, None while that is too little."""
        if not self.is_known:
            return None
        return Estimate(runs=self.runs, mean_s=self.mean_s, upper_s=self.mean_s + 4 * self.deviation_s)


class Durations:
    """The estimates of the functions used last; `keep` bounds how many."""

    def __init__(self, keep: int = 10_000) -> None:
        self._keep = keep
        self._functions: OrderedDict[str, Duration] = OrderedDict()

    def of(self, function_id: str) -> Duration:
        """Return the running estimate of a function, to read and to teach."""
        found = self._functions.get(function_id)
        if found is None:
            found = self._functions[function_id] = Duration()
            if len(self._functions) > self._keep:
                self._functions.popitem(last=False)
        else:
            self._functions.move_to_end(function_id)
        return found

    def estimate(self, function_id: str) -> Estimate | None:
        """Return what is known of a function, None while that is too little."""
        found = self._functions.get(function_id)
        return None if found is None else found.estimate()
