"""Gaps: nodes that no prime job uses, from one moment to another, and the most that anybody can have of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil

import msgspec

from harvester.domain.cluster.snapshot import BatchJob
from harvester.simulator.parameters import Parameters


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A node that nobody used from one moment to another."""

    node: str
    opens_at: float
    closes_at: float
    samples: int = 0  # idle log: consecutive samples that showed it idle
    is_cut: bool = False  # the trace ends before the gap does
    closed_by: int = -1  # job trace: the prime job that takes the node; -1: none, or nobody knows

    @property
    def length_s(self) -> float:
        """How long it lasted, in seconds."""
        return self.closes_at - self.opens_at


class PlanChange(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler shows of prime jobs from a moment on: those that run, and those whose start it has planned."""

    at: float
    primes: tuple[BatchJob, ...]


class ClusterOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster offers to pilots. The gaps' ends are for the model alone; a daemon sees what the plan shows."""

    nodes: tuple[str, ...]
    gaps: tuple[Gap, ...]
    plans: tuple[PlanChange, ...]
    from_at: float
    to_at: float

    @property
    def idle_s(self) -> float:
        """Idle node-time, in seconds."""
        return sum(gap.length_s for gap in self.gaps)

    def bound_s(self, parameters: Parameters) -> float:
        """Return the ready node-time in seconds that no policy can exceed."""
        return sum(bound_s(gap, self.from_at, parameters) for gap in self.gaps)

    def changes(self) -> Iterator[tuple[float, int]]:
        """Yield when gaps open (+1) and close (-1)."""
        return changes((gap.opens_at, gap.closes_at) for gap in self.gaps)


def bound_s(gap: Gap, origin: float, parameters: Parameters) -> float:
    """Return the most ready time in seconds in `gap`: one pilot from the first scheduler cycle on, less one boot.

    Parameters
    ----------
    origin: cycles are at this moment and every `cycle_s` after it.
    """
    first = origin + ceil((gap.opens_at - origin) / parameters.cycle_s) * parameters.cycle_s
    return max(0.0, gap.closes_at - first - parameters.boot_s)


def changes(intervals: Iterable[tuple[float, float]]) -> Iterator[tuple[float, int]]:
    """Yield +1 for each beginning and -1 for each end."""
    for begin, end in intervals:
        yield begin, 1
        yield end, -1
