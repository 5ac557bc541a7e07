"""A workload of invocations on the pilots of a simulation: who succeeds, restarts, loses work, and how long it takes.

The file is JSON: `{"slots": 1, "functions": [{"name": "render", "rate_per_minute": 30, "duration_s": 5}, …]}`. A
duration is a number of seconds, or `{"median": 5, "sigma": 1.2}` for a log-normal one. Functions with
`checkpoint_interval_s` resume from their newest checkpoint after an eviction; the others start again. Arrivals are a
Poisson process. Reads nothing of the cluster but when pilots were ready.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log
from pathlib import Path
from random import Random

import msgspec

from harvester.simulator.errors import SimulationError
from harvester.simulator.measures import quantile
from harvester.simulator.report.report import FunctionFigures, Interval

_MOST = 20_000_000  # invocations; more would take hours and tell nothing new
_GIVE_UP = 1000  # restarts of one invocation: it never fits between two evictions


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A log-normal distribution."""

    median: float
    sigma: float = 0.0


class FunctionLoad(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One function of a workload, and how it is invoked."""

    name: str
    rate_per_minute: float
    duration_s: float | Spread
    checkpoint_interval_s: float | None = None
    expires_s: float | None = None  # an invocation that has waited for longer expires


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Functions, and the slots of each pilot."""

    functions: tuple[FunctionLoad, ...]
    slots: int = 1


def read(path: Path) -> Workload:
    """Read a workload. Raises `SimulationError` that names the field which is wrong."""
    try:
        workload = msgspec.json.decode(path.read_bytes(), type=Workload)
    except OSError as error:
        raise SimulationError(f"{path} cannot be read: {error.strerror or error}") from None
    except msgspec.MsgspecError as error:
        raise SimulationError(f"{path} is not a workload: {error}") from None
    if not workload.functions or workload.slots < 1:
        raise SimulationError(f"{path} is not a workload: it needs at least one function and one slot")
    names = [function.name for function in workload.functions]
    if len(set(names)) < len(names) or "all" in names:
        raise SimulationError(f"{path}: each function needs a name of its own, and 'all' is taken")
    for function in workload.functions:
        _check(path, function)
    return workload


def _check(path: Path, function: FunctionLoad) -> None:
    spread = function.duration_s
    duration = spread.median if isinstance(spread, Spread) else spread
    named = (("rate_per_minute", function.rate_per_minute), ("duration_s", duration))
    optional = (("checkpoint_interval_s", function.checkpoint_interval_s), ("expires_s", function.expires_s))
    for name, value in (*named, *optional):
        if value is not None and not 0 < value < inf:
            raise SimulationError(f"{path}: {name} = {value:g} of function {function.name!r} is impossible")
    if isinstance(spread, Spread) and not 0 <= spread.sigma < 10:
        raise SimulationError(f"{path}: sigma = {spread.sigma:g} of function {function.name!r} is impossible")


def run(
    workload: Workload, intervals: Sequence[Interval], *, from_at: float, to_at: float, seed: int, block: int = 1
) -> dict[str, FunctionFigures]:
    """Return what becomes of the invocations between `from_at` and `to_at`, by function, and for "all".

    Parameters
    ----------
    intervals: when pilots were ready.
    seed: of arrivals and durations; the same for every policy gives every policy the same invocations.
    block: pilots that each interval stands for.

    Raises `SimulationError` where there would be too many invocations.
    """
    expected = sum(function.rate_per_minute for function in workload.functions) * (to_at - from_at) / 60
    if expected > _MOST:
        raise SimulationError(f"the workload makes {expected:.3g} invocations in that time; {_MOST:.3g} are the most")
    floor = _Floor(workload, seed, from_at, to_at)
    floor.run(intervals, workload.slots * block)
    counts = dict(zip([function.name for function in workload.functions], floor.counts, strict=True))
    return {**{name: count.figures() for name, count in counts.items()}, "all": _sum(counts.values()).figures()}


@dataclass(slots=True)
class _Invocation:
    function: int
    arrived_at: float
    duration_s: float
    done_s: float = 0.0  # held by its newest checkpoint
    restarts: int = 0


@dataclass(slots=True)
class _Crew:
    """The slots of pilots that were ready together."""

    free: int
    is_over: bool = False
    working: dict[int, tuple[_Invocation, float]] = field(default_factory=dict)  # by activation, with its start


@dataclass
class _Count:
    invocations: int = 0
    expired: int = 0
    unfinished: int = 0
    restarts: int = 0
    resumed: int = 0
    lost_s: float = 0.0
    worked_s: float = 0.0
    latencies: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def figures(self) -> FunctionFigures:
        """Return the counts as a report has them."""
        latencies, waits, done = sorted(self.latencies), sorted(self.waits), len(self.latencies)
        return FunctionFigures(
            invocations=self.invocations,
            succeeded=done,
            expired=self.expired,
            unfinished=self.unfinished,
            success_share=done / self.invocations if self.invocations else 0.0,
            restarts=self.restarts,
            resumed=self.resumed,
            lost_work_s=self.lost_s,
            lost_work_share=self.lost_s / self.worked_s if self.worked_s else 0.0,
            latency_mean_s=sum(latencies) / done if done else None,
            latency_p50_s=quantile(latencies, 0.5) if done else None,
            latency_p95_s=quantile(latencies, 0.95) if done else None,
            latency_p99_s=quantile(latencies, 0.99) if done else None,
            wait_p99_s=quantile(waits, 0.99) if waits else None,
        )


def _sum(counts: Iterable[_Count]) -> _Count:
    total = _Count()
    for count in counts:
        for name in ("invocations", "expired", "unfinished", "restarts", "resumed", "lost_s", "worked_s"):
            setattr(total, name, getattr(total, name) + getattr(count, name))
        total.latencies += count.latencies
        total.waits += count.waits
    return total


_LEAVE, _DONE, _READY, _ARRIVE = range(4)
"""Events of one moment, in the order in which they happen."""


class _Floor:
    """Invocations meet slots: the oldest first, the evicted at the head of the queue."""

    def __init__(self, workload: Workload, seed: int, from_at: float, to_at: float) -> None:
        self.functions = workload.functions
        self.counts = [_Count() for _ in workload.functions]
        self._random = [Random(f"{seed}:{function.name}") for function in workload.functions]  # noqa: S311 - no secret
        self._from_at, self._to_at = from_at, to_at
        self._queue: deque[_Invocation] = deque()
        self._crews: list[_Crew] = []
        self._open: list[_Crew] = []  # those with a free slot, some of them no longer
        self._events: list[tuple[float, int, int, _Crew | None]] = []
        self._number = 0

    def run(self, intervals: Sequence[Interval], slots: int) -> None:
        """Let the time pass."""
        for interval in intervals:
            fresh = _Crew(free=slots * interval.count)
            self._add(interval.ready_at, _READY, fresh)
            self._add(interval.ends_at, _LEAVE, fresh)
        for function in range(len(self.functions)):
            self._arrival(function, self._from_at)
        while self._events and self._events[0][0] <= self._to_at:
            now, kind, number, crew = heapq.heappop(self._events)
            if kind == _ARRIVE:
                self._arrives(now, number)
            elif crew is not None:
                self._happens(now, kind, number, crew)
            self._assign(now)
        self._finish()

    def _add(self, at: float, kind: int, crew: _Crew) -> int:
        self._number += 1
        heapq.heappush(self._events, (at, kind, self._number, crew))
        return self._number

    def _arrival(self, function: int, now: float) -> None:
        at = now + self._random[function].expovariate(self.functions[function].rate_per_minute / 60)
        heapq.heappush(self._events, (at, _ARRIVE, function, None))

    def _arrives(self, now: float, function: int) -> None:
        self.counts[function].invocations += 1
        self._queue.append(_Invocation(function, now, self._duration(function)))
        self._arrival(function, now)

    def _duration(self, function: int) -> float:
        spread = self.functions[function].duration_s
        if not isinstance(spread, Spread):
            return spread
        return exp(self._random[function].gauss(log(spread.median), spread.sigma))

    def _happens(self, now: float, kind: int, number: int, crew: _Crew) -> None:
        if kind == _READY:
            self._open.append(crew)
        elif kind == _LEAVE:
            crew.is_over = True
            for invocation, since in list(crew.working.values()):
                self._interrupt(invocation, now - since)
            crew.working.clear()
        elif number in crew.working:
            invocation, since = crew.working.pop(number)
            count = self.counts[invocation.function]
            count.worked_s += now - since
            count.latencies.append(now - invocation.arrived_at)
            crew.free += 1
            if crew.free == 1:
                self._open.append(crew)

    def _interrupt(self, invocation: _Invocation, worked: float) -> None:
        count = self.counts[invocation.function]
        interval = self.functions[invocation.function].checkpoint_interval_s
        kept = 0.0 if interval is None else worked // interval * interval
        count.worked_s += worked
        count.lost_s += worked - kept
        count.restarts += 1
        invocation.done_s += kept
        invocation.restarts += 1
        count.resumed += invocation.done_s > 0
        self._queue.appendleft(invocation)

    def _assign(self, now: float) -> None:
        while self._queue and self._open:
            crew = self._open[-1]
            if crew.is_over or not crew.free:
                self._open.pop()
                continue
            invocation = self._queue.popleft()
            function, count = self.functions[invocation.function], self.counts[invocation.function]
            waited = now - invocation.arrived_at
            if not invocation.restarts:
                if function.expires_s is not None and waited > function.expires_s:
                    count.expired += 1
                    continue
                count.waits.append(waited)
            if invocation.restarts > _GIVE_UP:
                count.unfinished += 1
                continue
            number = self._add(now + invocation.duration_s - invocation.done_s, _DONE, crew)
            crew.working[number] = (invocation, now)
            crew.free -= 1

    def _finish(self) -> None:
        for count in self.counts:
            count.unfinished = count.invocations - len(count.latencies) - count.expired
