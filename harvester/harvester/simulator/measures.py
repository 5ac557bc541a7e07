"""Measures: shares, quantiles, and how something went over time. Pure arithmetic over what a model counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

import msgspec

from harvester.simulator.errors import SimulationError

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Node-time, in one unit: what was idle, and what became of it."""

    idle: float
    ready: float
    warming: float
    bound: float

    def share(self, part: float) -> float:
        """Return `part` of what was idle; 0 where nothing was."""
        return part / self.idle if self.idle else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted `values` that at least `share` of them do not exceed; 0 where there is none."""
    if not values:
        return 0.0
    return values[max(0, ceil(share * len(values)) - 1)]


def weighted(values: Iterable[tuple[float, int]], shares: Sequence[float] = QUANTILES) -> dict[str, float]:
    """Return the quantiles of values that stand for several each, as `{"p50": …}`.

    Parameters
    ----------
    values: pairs of a value and how many of it there are.
    """
    ordered = sorted(values)
    total = sum(count for _, count in ordered)
    found: dict[str, float] = {}
    passed = 0
    wanted = [(share, f"p{share * 100:g}") for share in sorted(shares)]
    for value, count in ordered:
        passed += count
        while wanted and passed >= wanted[0][0] * total:
            found[wanted.pop(0)[1]] = value
    return found


def gap_quantiles(lengths: Iterable[float]) -> dict[str, float]:
    """Return quantiles and mean of gaps' lengths, in seconds."""
    return weighted_gaps((length, 1) for length in lengths)


def weighted_gaps(lengths: Iterable[tuple[float, int]]) -> dict[str, float]:
    """Return quantiles and mean of gaps' lengths in seconds, given as pairs of length and number."""
    known = list(lengths)
    count = sum(number for _, number in known)
    if not count:
        return {}
    mean = sum(length * number for length, number in known) / count
    return {**weighted(known), "mean": mean}


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over time: `value[i]` holds from `at[i]` until `at[i + 1]`."""

    at: tuple[float, ...]
    value: tuple[int, ...]

    @staticmethod
    def of(changes: Iterable[tuple[float, int]]) -> Series:
        """Return the running sum of `changes`, pairs of a moment and what is added then."""
        sums: dict[float, int] = {}
        for moment, change in changes:
            sums[moment] = sums.get(moment, 0) + change
        at: list[float] = []
        value: list[int] = []
        total = 0
        for moment in sorted(sums):
            if sums[moment]:
                total += sums[moment]
                at.append(moment)
                value.append(total)
        return Series(at=tuple(at), value=tuple(value))


def positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise `SimulationError` unless `value` is above 0 (or 0 itself, with `zero`)."""
    if not (value > 0 or (zero and value == 0)) or value == float("inf"):
        raise SimulationError(f"{name} = {value:g} is impossible: it must be {'0 or more' if zero else 'above 0'}")


def share(name: str, value: float) -> None:
    """Raise `SimulationError` unless `value` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise SimulationError(f"{name} = {value:g} is impossible: it is a share, from 0 to 1")
