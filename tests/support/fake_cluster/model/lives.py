"""The lives of batch jobs: they start, are told to leave, are killed, end, and are forgotten, as time passes.

Owns the records and the clock. Who starts when, and who must leave for whom, is `scheduling`'s; what differs between
schedulers is in `rules`. Knows no command and no scheduler's words. Not safe for threads: the server has the lock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from support.fake_cluster.model.mom import Mom
from support.fake_cluster.model.records import (
    Amount,
    End,
    FakeBatchJob,
    FakeNode,
    FakeQueue,
    FakeReservation,
    Manners,
    Phase,
)
from support.fake_cluster.model.rules import Eviction, Rules

START = 1_796_000_000.0  # 29 November 2026: where the time of tests begins


class Lives:
    """Batch jobs on nodes, in a time that the test drives.

    Parameters
    ----------
    manners: how batch jobs behave that somebody else submits, as the adapter does with pilots.
    mom: starts the processes of batch jobs with a command; None: they are only modelled.
    """

    def __init__(
        self,
        nodes: Iterable[FakeNode],
        queues: Iterable[FakeQueue],
        rules: Rules,
        *,
        manners: Manners | None = None,
        mom: Mom | None = None,
        now: float = START,
    ) -> None:
        self.now = now
        self.nodes = {node.name: node for node in nodes}
        self.queues = {queue.name: queue for queue in queues}
        self.rules = rules
        self.manners = manners or Manners()
        self.mom = mom
        self.reservations: list[FakeReservation] = []
        self.batch_jobs: dict[int, FakeBatchJob] = {}
        self._sizes_of: dict[str, frozenset[Amount]] = {}  # by queue
        self.is_closed = False  # submissions are refused
        self.last_number = 0
        self._due: list[tuple[float, int]] = []  # when to see to which batch job (0: the scheduler)
        self.pending: dict[int, FakeBatchJob] = {}
        self.is_dirty = False  # the scheduler has something to look at

    # ---- what is there

    def alive(self) -> Iterator[FakeBatchJob]:
        """Yield what waits or runs."""
        return (batch for batch in self.batch_jobs.values() if not batch.has_ended)

    def running(self) -> Iterator[FakeBatchJob]:
        """Yield what has nodes."""
        return (batch for batch in self.batch_jobs.values() if batch.phase in {Phase.RUNNING, Phase.SUSPENDED})

    # ---- time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.advance_to(self.now + seconds)

    def advance_to(self, instant: float) -> None:
        """Let time pass until an instant."""
        self.look()
        while self._due and self._due[0][0] <= instant:
            at, number = heapq.heappop(self._due)
            self.now = max(self.now, at)
            if batch := self.batch_jobs.get(number):
                self._visit(batch)
            elif not number:
                self.wake()
            if not self._due or self._due[0][0] > self.now:
                self.look()
        self.now = max(self.now, instant)
        self.look()

    def see(self, batch: FakeBatchJob, at: float) -> None:
        """See to a batch job at an instant."""
        self.see_at(at, batch.number)

    def see_at(self, at: float, number: int) -> None:
        """See to a batch job, or with 0 to the queue, at an instant."""
        heapq.heappush(self._due, (at, number))

    def wake(self) -> None:
        """Have the scheduler look."""
        self.is_dirty = True

    def look(self) -> None:
        """Start what can start; `scheduling` does it."""
        raise NotImplementedError

    def _visit(self, batch: FakeBatchJob) -> None:
        """See what is due for one batch job."""
        match batch.phase:
            case Phase.PENDING:
                wish = batch.wish
                if wish.end_by is not None and self.now + (wish.least_s or wish.limit_s or 0.0) >= wish.end_by:
                    self.end(batch, End.TIMEOUT)
            case Phase.RUNNING | Phase.SUSPENDED:
                self._visit_running(batch)
            case Phase.ENDED:
                if self.now >= (batch.ended_at or 0.0) + self.rules.forgets_after_s:
                    del self.batch_jobs[batch.number]

    def _visit_running(self, batch: FakeBatchJob) -> None:
        manners, rules = batch.manners, self.rules
        if batch.gone_at is not None:
            after = self._frees_after(batch)
            if self.now >= batch.gone_at + after:
                self.end(batch, batch.told_for or (End.FAILED if batch.exit_code else End.COMPLETED))
            return
        if batch.kill_at is not None and self.now >= batch.kill_at:
            self.kill(batch)
        elif batch.phase is Phase.SUSPENDED:
            return
        elif batch.end_at is not None and self.now >= batch.end_at + rules.limit_noticed_after_s:
            self.tell(batch, End.TIMEOUT)
        if self._is_real(batch) or batch.gone_at is not None:
            return
        leaves_at = None if batch.told_at is None or manners.leaves_s is None else batch.told_at + manners.leaves_s
        lasts_until = None if manners.lasts_s is None else (batch.started_at or 0.0) + manners.lasts_s
        if any(at is not None and self.now >= at for at in (leaves_at, lasts_until)):
            batch.exit_code = manners.exit_code
            self.gone(batch)

    def _frees_after(self, batch: FakeBatchJob) -> float:
        if batch.told_for is End.NODE_FAILED:
            return self.rules.node_fail_s
        return self.rules.requeues_after_s if batch.is_put_back else self.rules.frees_after_s

    # ---- the life of a batch job

    def _is_real(self, batch: FakeBatchJob) -> bool:
        return self.mom is not None and bool(batch.wish.command)

    def poll_mom(self) -> None:
        """Take note of real processes that have ended."""
        if self.mom is None:
            return
        for number, exit_code, signal in self.mom.ended():
            if (
                (batch := self.batch_jobs.get(number))
                and batch.gone_at is None
                and batch.phase in {Phase.RUNNING, Phase.SUSPENDED}
            ):
                batch.exit_code, batch.killed_by = exit_code, signal
                self.gone(batch)

    def start(self, batch: FakeBatchJob, nodes: tuple[str, ...], limit_s: float | None) -> None:
        """Give it its nodes."""
        del self.pending[batch.number]
        batch.phase, batch.nodes, batch.started_at = Phase.RUNNING, nodes, self.now
        batch.limit_s = limit_s or 0.0
        batch.plan_at, batch.plan_nodes, batch.waits = None, (), ""
        batch.told_at = batch.told_for = batch.kill_at = batch.preempt_at = batch.gone_at = batch.exit_code = None
        batch.came_back_from = None
        batch.runs += 1
        for name in nodes:
            self.nodes[name].batch_jobs.add(batch.number)
        self._take(batch)
        if batch.end_at is not None:
            self.see(batch, batch.end_at + self.rules.limit_noticed_after_s)
        if self._is_real(batch) and self.mom is not None:
            self.mom.start(batch)
        elif batch.manners.lasts_s is not None:
            self.see(batch, self.now + batch.manners.lasts_s)

    def tell(self, batch: FakeBatchJob, why: End) -> None:
        """Send SIGTERM, and SIGKILL when the notice is over."""
        queue = self.queues[batch.wish.queue]
        if batch.told_at is None:
            batch.told_at, batch.told_for = self.now, why
            batch.is_put_back = self.goes_back(batch, why)
            notice = queue.grace_s if why is End.PREEMPTED or self.rules.queue_kills else self.rules.kill_wait_s
            batch.kill_at = self.now + notice
            self.see(batch, batch.kill_at)
        if batch.phase is Phase.SUSPENDED:
            return  # it cannot hear: it is killed in the end
        if self._is_real(batch) and self.mom is not None:
            self.mom.terminate(batch)
        elif batch.manners.leaves_s is not None:
            self.see(batch, batch.told_at + batch.manners.leaves_s)

    def kill(self, batch: FakeBatchJob) -> None:
        """Send SIGKILL."""
        if self._is_real(batch) and self.mom is not None:
            self.mom.kill(batch)
            return
        batch.killed_by = 9
        self.gone(batch)

    def gone(self, batch: FakeBatchJob) -> None:
        """Take note that its last process has ended."""
        batch.gone_at = self.now
        self.see(batch, self.now + self._frees_after(batch))

    def goes_back(self, batch: FakeBatchJob, why: End) -> bool:
        """Return whether it is put back into the queue when its processes have ended."""
        is_requeue = self.rules.eviction is Eviction.REQUEUE and why is End.PREEMPTED
        return batch.wish.is_rerunnable and (is_requeue or (self.rules.queue_kills and why is End.NODE_FAILED))

    def suspend(self, batch: FakeBatchJob) -> None:
        """Stop its processes (SIGSTOP) and let others have its nodes."""
        self._leave(batch)
        batch.phase, batch.suspended_at = Phase.SUSPENDED, self.now
        if self._is_real(batch) and self.mom is not None:
            self.mom.stop(batch)
        self.wake()

    def resume(self, batch: FakeBatchJob) -> None:
        """Let its processes go on; the time in which they were stopped is not counted."""
        self._take(batch)
        batch.phase = Phase.RUNNING
        batch.started_at = (batch.started_at or 0.0) + self.now - (batch.suspended_at or self.now)
        if batch.end_at is not None:
            self.see(batch, batch.end_at + self.rules.limit_noticed_after_s)
        if self._is_real(batch) and self.mom is not None:
            self.mom.go_on(batch)

    def _take(self, batch: FakeBatchJob) -> None:
        for name in batch.nodes:
            self.nodes[name].used += batch.wish.each

    def _leave(self, batch: FakeBatchJob) -> None:
        for name in batch.nodes if batch.phase is Phase.RUNNING else ():
            self.nodes[name].used -= batch.wish.each

    def end(self, batch: FakeBatchJob, end: End) -> None:
        """Let it be over, or put it back into the queue."""
        self.pending.pop(batch.number, None)
        self._leave(batch)
        for name in batch.nodes:
            self.nodes[name].batch_jobs.discard(batch.number)
        if batch.is_put_back:
            batch.came_back_from = batch.told_for
            batch.phase, batch.nodes, batch.started_at = Phase.PENDING, (), None
            batch.told_at = batch.told_for = batch.kill_at = batch.gone_at = batch.preempt_at = None
            batch.is_put_back = False
            self.pending[batch.number] = batch
        else:
            batch.phase, batch.end, batch.ended_at = Phase.ENDED, end, self.now
            self.see(batch, self.now + self.rules.forgets_after_s)
        self.wake()
