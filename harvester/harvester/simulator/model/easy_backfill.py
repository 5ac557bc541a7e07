"""Prime jobs on a cluster of whole nodes: first come first served with EASY backfill, event by event.

The first of the queue that does not fit gets a reservation at the earliest moment at which, by the limits of what runs,
enough nodes are free. Whoever is behind it may start now where it ends before that moment, or takes nodes that the
reservation leaves over. A decision takes effect `delay_s` later (Slurm waits for more submissions: batch_sched_delay).

Owns when prime jobs run without harvest, and on which nodes, and what the scheduler has planned at each moment. Knows
no pilots: they have the lower priority, so the plan is made as if they were not there.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, inf

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.model.resources import Resources
from harvester.simulator.inputs.gaps import Gap, PlanChange
from harvester.simulator.inputs.jobs import PrimeJob

_DEPTH = 1000  # batch jobs behind the first that backfill looks at (bf_max_job_test)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How the prime jobs of a trace ran, by their place in it."""

    starts: tuple[float, ...]
    ends: tuple[float, ...]
    gaps: tuple[Gap, ...]
    plans: tuple[PlanChange, ...]
    from_at: float
    to_at: float


@dataclass
class _Running:
    index: int
    units: list[int]
    batch: BatchJob


@dataclass
class Prime:
    """One run of the prime jobs.

    Parameters
    ----------
    units: blocks of nodes that the cluster has.
    block: nodes of a block; a batch job takes whole blocks.
    names: of the blocks.
    """

    jobs: Sequence[PrimeJob]
    names: Sequence[str]
    block: int
    delay_s: float
    partition: str
    events: list[tuple[float, int, int]] = field(default_factory=list)  # (time, kind, batch job)
    queue: list[int] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)  # (end by limit, batch job), sorted
    running: dict[int, _Running] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    plans: list[PlanChange] = field(default_factory=list)

    def run(self) -> Schedule:
        """Run all of them to their ends."""
        self.starts = [inf] * len(self.jobs)
        self.ends = [inf] * len(self.jobs)
        self.free = list(range(len(self.names)))  # a heap: the lowest number goes first, as with equal weights
        self.shown = -1  # the batch job whose reservation the newest plan shows
        begin = self.jobs[0].submit_at
        self.opened = dict.fromkeys(self.free, begin)
        self.events = [(job.submit_at, _SUBMIT, index) for index, job in enumerate(self.jobs)]
        heapq.heapify(self.events)
        now = begin
        while self.events:
            now = self.events[0][0]
            kinds = set()
            while self.events and self.events[0][0] == now:
                _, kind, index = heapq.heappop(self.events)
                self._happen(now, kind, index)
                kinds.add(kind)
            self._decide(now, is_new=kinds != {_SUBMIT})
        end = max(self.ends)
        self.gaps += [
            Gap(node=self.names[unit], opens_at=at, closes_at=end, is_cut=True)
            for unit, at in self.opened.items()
            if at < end
        ]
        return Schedule(
            starts=tuple(self.starts),
            ends=tuple(self.ends),
            gaps=tuple(sorted(self.gaps, key=lambda gap: (gap.opens_at, gap.node))),
            plans=tuple(self.plans),
            from_at=begin,
            to_at=end,
        )

    def units(self, index: int) -> int:
        """Return the blocks that a batch job takes."""
        return ceil(self.jobs[index].nodes / self.block)

    # ---- events

    def _happen(self, now: float, kind: int, index: int) -> None:
        if kind == _SUBMIT:
            self.queue.append(index)
        elif kind == _START:
            run = self.running[index]
            job = self.jobs[index]
            run.batch = msgspec.structs.replace(
                run.batch, state=BatchState.RUNNING, start_at=now, end_at=now + job.limit_s
            )
            for unit in run.units:
                opened = self.opened.pop(unit)
                if now - opened > self.delay_s:  # otherwise it was spoken for when it became free: nobody's gap
                    self.gaps.append(Gap(node=self.names[unit], opens_at=opened, closes_at=now, closed_by=index))
        else:
            run = self.running.pop(index)
            self.limits.remove((self.starts[index] + self.jobs[index].limit_s, index))
            for unit in run.units:
                heapq.heappush(self.free, unit)
                self.opened[unit] = now

    def _decide(self, now: float, *, is_new: bool) -> None:
        """Start whom EASY lets start, and note the plan that follows.

        Parameters
        ----------
        is_new: something began or ended, so that the plan is another one even where nothing starts.
        """
        begin = now + self.delay_s
        before = len(self.running)
        while self.queue and self.units(self.queue[0]) <= len(self.free):
            self._start(self.queue.pop(0), begin)
        shadow = self._backfill(begin) if self.queue else inf
        head = self.queue[0] if self.queue else -1
        if not is_new and len(self.running) == before and head == self.shown:
            return
        self.shown = head
        batches = [run.batch for run in self.running.values()]
        if self.queue:
            batches.append(self._batch(self.queue[0], self._planned(shadow), max(shadow, begin)))
        self.plans.append(PlanChange(at=now, primes=tuple(batches)))

    def _start(self, index: int, begin: float) -> None:
        job = self.jobs[index]
        taken = [heapq.heappop(self.free) for _ in range(self.units(index))]
        self.starts[index], self.ends[index] = begin, begin + job.run_s
        insort(self.limits, (begin + job.limit_s, index))
        batch = self._batch(index, taken, begin)
        self.running[index] = _Running(index, taken, batch)
        heapq.heappush(self.events, (begin, _START, index))
        heapq.heappush(self.events, (self.ends[index], _END, index))

    # ---- the reservation

    def _backfill(self, begin: float) -> float:
        """Start those behind the first that do not delay it, and return when its reservation begins."""
        shadow, extra = self._reservation()
        for index in self.queue[1 : _DEPTH + 1]:
            if not self.free:
                break
            units = self.units(index)
            if units > len(self.free):
                continue
            if begin + self.jobs[index].limit_s > shadow:
                if units > extra:
                    continue
                extra -= units
            self.queue.remove(index)
            self._start(index, begin)
        return shadow

    def _reservation(self) -> tuple[float, int]:
        """Return when the first of the queue can start by the limits of what runs, and how many blocks it leaves."""
        wanted = self.units(self.queue[0])
        free = len(self.free)
        for end, index in self.limits:
            free += len(self.running[index].units)
            if free >= wanted:
                return end, free - wanted
        raise AssertionError("a batch job larger than the cluster is in the queue")  # `JobTrace.on` left it out

    def _planned(self, shadow: float) -> list[int]:
        available = list(self.free)
        for end, index in self.limits:
            if end > shadow:
                break
            available += self.running[index].units
        return sorted(available)[: self.units(self.queue[0])]

    def _batch(self, index: int, units: list[int], start_at: float) -> BatchJob:
        job = self.jobs[index]
        return BatchJob(
            batch_job_id=job.job_id,
            name="prime",
            user="somebody",
            partition=self.partition,
            state=BatchState.PENDING,
            reason="Resources",
            nodes=tuple([self.names[unit] for unit in units]),
            requested=Resources(cpus=len(units)),
            node_count=len(units),
            limit=timedelta(seconds=job.limit_s),
            submitted_at=job.submit_at,
            start_at=start_at,
            end_at=start_at + job.limit_s,
        )


_END, _START, _SUBMIT = 0, 1, 2
"""Events of one moment, in the order in which they happen."""
