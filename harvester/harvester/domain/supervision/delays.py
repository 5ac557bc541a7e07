"""Delays: a watch of the harm that pilots do, from look to look, and of what our own plan gets wrong.

Pure. What counts as our delay of a prime job: from when it could have started without our pilots, while some were on
its nodes, until it ran; but only until the last of those nodes was left and the scheduler has had a moment to start it.
What it waits beyond that is not ours. Its beginning is the submission, or the look before the one that showed it, so a
delay is told too long by a look at most, never too short.

A plan can be wrong. Where a prime job does not start although its nodes have been free for a while, it may want others
than we think: it is doubted, and wants every node that it could use. Where it does not start on any of those either, it
waits for something that we cannot see, and is disbelieved: until its own record changes, for half an hour at most, or
for ten minutes where a batch job of its user has ended, because limits are often of users. The next time our patience
is shorter. In strict mode it is not disbelieved: the nodes that our plan gives it stay free, but no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property

import msgspec
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.harvest.planning import HarvestMode, Situation
from harvester.domain.model.pilots import PilotState

LATENCY_S = 10.0  # the scheduler's, from a free node to a start, as far as it is counted as ours
PATIENCE_S = 120.0  # with its nodes free for so long, a prime job that does not start is doubted, then disbelieved
AGAIN_PATIENCE_S = 30.0  # the same for one that was disbelieved before
AGAIN_S = 1800.0  # a disbelieved one is believed again after so long
OTHERS_S = 600.0  # … and after so long where another batch job of its user has ended

_STAYS = frozenset({PilotState.BOOTING, PilotState.READY, PilotState.QUEUED, PilotState.PLANNED})
_ON_NODES = frozenset({BatchState.RUNNING, BatchState.COMPLETING, BatchState.SUSPENDED})


class Belief(StrEnum):
    """What we think of a prime job that our plan would start."""

    BELIEVED = "believed"
    DOUBTED = "doubted"  # it wants other nodes than we think
    DISBELIEVED = "disbelieved"  # it waits for something that we cannot see, so it wants nothing
    CLEARED = "cleared"  # the same in strict mode, where its nodes are kept free all the same


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A prime job that could start without our pilots, as far as we can tell."""

    since: float
    elements: int
    is_blocked: bool  # pilots of ours are on its nodes, or are leaving them
    was_blocked: bool  # … or have been
    vacated_at: float | None = None  # when the last of them was gone
    free_since: float | None = None  # since when all its nodes are free of ours
    belief: Belief = Belief.BELIEVED
    trace: tuple[object, ...] = ()  # DISBELIEVED, CLEARED: what must change before it is believed again
    others: frozenset[str] = frozenset()  # … or which batch jobs of its user must end
    judged_at: float = 0.0
    times: int = 0  # that it was disbelieved

    def harm(self, until: float, latency_s: float = 0.0) -> float:
        """Return the seconds that it has waited for us by then."""
        if not self.was_blocked:
            return 0.0
        end = until if self.vacated_at is None else min(until, self.vacated_at + latency_s)
        return max(0.0, end - self.since)


class DelayWatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is carried from one look to the next. Losing it (a restart) forgets the waits that were going on."""

    looked_at: float | None = None
    waits: dict[str, Wait] = {}  # by batch job

    @property
    def doubted(self) -> frozenset[str]:
        """Return the prime jobs that may want other nodes than we think, for `Situation`."""
        return frozenset(name for name, wait in self.waits.items() if wait.belief is Belief.DOUBTED)

    @property
    def disbelieved(self) -> frozenset[str]:
        """Return the prime jobs that wait for something that we cannot see, for `Situation`."""
        return frozenset(name for name, wait in self.waits.items() if wait.belief is Belief.DISBELIEVED)


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """A prime job that waited for pilots of ours."""

    batch_job_id: str
    seconds: float
    is_over: bool  # it runs


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one look showed."""

    watch: DelayWatch
    delays: tuple[Delay, ...]  # of those that began to run since the last look, and of those that wait for us now

    def too_long(self, situation: Situation) -> Delay | None:
        """Return the worst delay past what was promised, if there is one."""
        most = situation.settings.max_delay.total_seconds()
        worst = max(self.delays, key=lambda delay: delay.seconds, default=None)
        return worst if worst is not None and worst.seconds > most else None


def watch(before: DelayWatch, situation: Situation) -> Seen:
    """Return what a look adds to what is known of delays."""
    look = _Look(before, situation)
    waits = dict(look.waits())
    still = [
        Delay(batch_job_id=name, seconds=wait.harm(situation.now), is_over=False)
        for name, wait in waits.items()
        if wait.is_blocked and wait.harm(situation.now) > 0
    ]
    return Seen(watch=DelayWatch(looked_at=situation.now, waits=waits), delays=(*look.started(), *still))


class _Look:
    """One look, against what was known before."""

    def __init__(self, before: DelayWatch, situation: Situation) -> None:
        self.before = before
        self.situation = situation
        self.now = situation.now
        self.batches = {batch.batch_job_id: batch for batch in situation.snapshot.batch_jobs}
        self.wanted: dict[str, set[str]] = {}  # by batch job: nodes on which it could start now
        self.in_the_way: dict[str, set[str]] = {}
        self.certain: dict[str, bool] = {}
        for start in situation.contention.starts:
            if start.at <= self.now:
                self.wanted.setdefault(start.batch_job_id, set()).update(start.nodes)
                self.in_the_way.setdefault(start.batch_job_id, set()).update(start.in_the_way)
                self.certain[start.batch_job_id] = start.is_certain
        self.going = self._going()

    def _going(self) -> set[str]:
        """Return the nodes with pilots that were told to leave, and are not gone yet."""
        mark = self.situation.mark
        names = {pilot.name: pilot for pilot in self.situation.pilots}
        found: set[str] = set()
        for batch in self.situation.snapshot.batch_jobs:
            is_ours = batch.name in names or (bool(mark) and batch.name.startswith(mark))
            if is_ours and batch.state in _ON_NODES:
                pilot = names.get(batch.name)
                if pilot is None or batch.state is BatchState.COMPLETING or pilot.state not in _STAYS:
                    found.update(batch.nodes)
        return found

    # ---- those that began to run

    def started(self) -> Iterator[Delay]:
        """Yield the delays of those that waited at the last look and run now."""
        for name, wait in self.before.waits.items():
            batch = self.batches.get(name)
            if batch is None or wait.belief is Belief.DISBELIEVED:
                continue
            if batch.state is BatchState.PENDING and batch.elements >= wait.elements:
                continue
            harm = wait.harm(self._began(batch, wait), LATENCY_S)
            if harm > 0:
                yield Delay(batch_job_id=name, seconds=harm, is_over=True)

    def _began(self, batch: BatchJob, wait: Wait) -> float:
        at = batch.start_at
        is_told = batch.state is not BatchState.PENDING and at is not None and wait.since <= at <= self.now
        return at if at is not None and is_told else self.now

    # ---- those that wait

    def waits(self) -> Iterator[tuple[str, Wait]]:
        """Yield the prime jobs that could start now, and those that are disbelieved."""
        for name, batch in self.batches.items():
            if batch.state is not BatchState.PENDING:
                continue
            wait = self.before.waits.get(name)
            times = 0 if wait is None else wait.times
            if wait is not None and self._is_believed_again(batch, wait):
                wait = None
            if wait is not None and wait.belief is Belief.DISBELIEVED:
                yield name, wait
            elif name in self.wanted:
                yield name, self._judged(batch, replace(self._wait(batch, wait), times=times))
            elif times:
                fresh = Wait(since=self.now, elements=batch.elements, is_blocked=False, was_blocked=False)
                yield name, replace(fresh, times=times)

    def _is_believed_again(self, batch: BatchJob, wait: Wait) -> bool:
        if not wait.trace:
            return False
        since = self.now - wait.judged_at
        has_room = since >= OTHERS_S and not wait.others <= self._others(batch)
        return since >= AGAIN_S or has_room or wait.trace != _trace(batch)

    def _wait(self, batch: BatchJob, wait: Wait | None) -> Wait:
        nodes = self.wanted[batch.batch_job_id]
        is_blocked = bool(self.in_the_way[batch.batch_job_id] or nodes & self.going)
        if wait is None or batch.elements < wait.elements:
            since = self._since(batch) if wait is None else self.now
            wait = Wait(since=since, elements=batch.elements, is_blocked=is_blocked, was_blocked=is_blocked)
        vacated_at = None if is_blocked else wait.vacated_at
        if wait.is_blocked and not is_blocked:
            vacated_at = self.now
        return replace(
            wait,
            elements=batch.elements,
            is_blocked=is_blocked,
            was_blocked=wait.was_blocked or is_blocked,
            vacated_at=vacated_at,
            free_since=None if is_blocked else self.now if wait.free_since is None else wait.free_since,
        )

    def _since(self, batch: BatchJob) -> float:
        before = self.now if self.before.looked_at is None else self.before.looked_at
        return before if batch.submitted_at is None else min(self.now, max(before, batch.submitted_at))

    def _judged(self, batch: BatchJob, wait: Wait) -> Wait:
        """Return `wait` with what we think of it now."""
        patience_s = AGAIN_PATIENCE_S if wait.times else PATIENCE_S
        if wait.free_since is None or self.now - wait.free_since < patience_s or wait.belief is Belief.CLEARED:
            return wait
        is_certain = self.certain[batch.batch_job_id]
        if is_certain and wait.belief is Belief.BELIEVED:
            return replace(wait, belief=Belief.DOUBTED, free_since=None)
        belief = Belief.DISBELIEVED
        if self.situation.settings.mode is HarvestMode.STRICT:
            if wait.belief is not Belief.DOUBTED:
                return wait  # the scheduler's reason is one that we do not know: it stays in doubt
            belief = Belief.CLEARED
        return replace(
            wait,
            belief=belief,
            trace=_trace(batch),
            others=self._others(batch),
            judged_at=self.now,
            times=wait.times + 1,
        )

    def _others(self, batch: BatchJob) -> frozenset[str]:
        return frozenset(self._of_users.get(batch.user, ()))

    @cached_property
    def _of_users(self) -> dict[str, list[str]]:
        """Return the batch jobs on nodes, by user."""
        found: dict[str, list[str]] = {}
        for batch in self.batches.values():
            if batch.state in _ON_NODES:
                found.setdefault(batch.user, []).append(batch.batch_job_id)
        return found


def _trace(batch: BatchJob) -> tuple[object, ...]:
    """Return what changes when its user has changed a batch job. The scheduler's reason is none: it comes and goes."""
    return (batch.elements, batch.node_count, batch.requested, batch.limit, batch.features, batch.required_nodes)
