"""The cluster: what users and admins say to it, and what its scheduler makes of that.

Begin here. `lives` has the records and the clock, `scheduling` decides who starts. A test drives the time: nothing
happens but in `advance`.
"""

from __future__ import annotations

import copy

from support.fake_cluster.model.lives import START, Lives
from support.fake_cluster.model.records import (
    Amount,
    End,
    FakeBatchJob,
    FakeNode,
    FakeReservation,
    Manners,
    Phase,
    Refusal,
    Refused,
    Wish,
)
from support.fake_cluster.model.scheduling import Scheduling

__all__ = ["START", "FakeCluster"]


class FakeCluster(Scheduling, Lives):
    """One cluster."""

    def submit(self, wish: Wish, manners: Manners | None = None) -> FakeBatchJob:
        """Take a batch job. Raises `Refused`."""
        self._check(wish)
        self.last_number += 1
        batch = FakeBatchJob(
            number=self.last_number,
            wish=wish,
            submitted_at=self.now,
            manners=manners or copy.copy(self.manners),
            is_held=wish.is_held,
        )
        self.batch_jobs[batch.number] = batch
        self.pending[batch.number] = batch
        if wish.end_by is not None:
            self.see(batch, wish.end_by - (wish.least_s or wish.limit_s or 0.0))
        self.wake()
        return batch

    def _check(self, wish: Wish) -> None:
        queue = self.queues.get(wish.queue)
        if self.is_closed:
            raise Refused(Refusal.QUEUE_CLOSED, wish.queue)
        if queue is None:
            raise Refused(Refusal.NO_SUCH_QUEUE, wish.queue)
        if queue.max_time_s is not None and (wish.limit_s is None or wish.limit_s > queue.max_time_s):
            raise Refused(Refusal.OVER_LIMIT, wish.queue)
        if not self.rules.takes_impossible and not any(size.holds(wish.each) for size in self._sizes(wish.queue)):
            raise Refused(Refusal.TOO_LARGE, wish.queue)

    def _sizes(self, queue: str) -> frozenset[Amount]:
        if queue not in self._sizes_of:  # nodes neither come nor change their size
            self._sizes_of[queue] = frozenset(node.total for node in self.nodes.values() if queue in node.queues)
        return self._sizes_of[queue]

    def find(self, number: int) -> FakeBatchJob:
        """Return a batch job that is known still. Raises `Refused`."""
        if number not in self.batch_jobs:
            raise Refused(Refusal.UNKNOWN, str(number))
        return self.batch_jobs[number]

    def cancel(self, number: int, *, at_once: bool = False) -> None:
        """End a batch job: by SIGTERM, later SIGKILL; `at_once` by SIGKILL alone. Raises `Refused`."""
        batch = self.find(number)
        if batch.has_ended:
            raise Refused(Refusal.FINISHED, str(number))
        if batch.phase is Phase.PENDING:
            self.end(batch, End.NEVER_STARTED)
        elif at_once:
            batch.told_for = batch.told_for or End.CANCELLED
            self.kill(batch)
        else:
            self.tell(batch, End.CANCELLED)

    def hold(self, number: int) -> None:
        """Keep a batch job that waits from being started. Raises `Refused`."""
        batch = self.find(number)
        if batch.phase is not Phase.PENDING:
            raise Refused(Refusal.FINISHED if batch.has_ended else Refusal.NOT_PENDING, str(number))
        batch.is_held = True

    def release(self, number: int) -> None:
        """Let a held batch job be started. Raises `Refused`."""
        batch = self.find(number)
        if batch.has_ended:
            raise Refused(Refusal.FINISHED, str(number))
        batch.is_held = False
        self.wake()

    def drain_node(self, name: str, why: str) -> None:
        """Take a node out of service; what runs there goes on. Without `why` it is in service again."""
        self.nodes[name].drained = why
        self.wake()

    def fail_node(self, name: str) -> None:
        """Let a node die with what runs on it; the scheduler tells of the batch jobs later."""
        node = self.nodes[name]
        node.is_down = True
        for number in node.batch_jobs:
            batch = self.batch_jobs[number]
            batch.told_for = End.NODE_FAILED
            batch.is_put_back = self.goes_back(batch, End.NODE_FAILED)
            batch.gone_at = self.now
            self.see(batch, self.now + self.rules.node_fail_s)

    def finish(self, number: int, exit_code: int = 0) -> None:
        """Let the process of a batch job end by itself now."""
        batch = self.find(number)
        batch.exit_code = exit_code
        self.gone(batch)

    def reserve(self, reservation: FakeReservation) -> None:
        """Keep nodes for somebody."""
        self.reservations.append(reservation)
        self.see_at(reservation.end_at, 0)
        self.wake()

    def before(self) -> tuple[dict[int, FakeBatchJob], dict[str, FakeNode]]:
        """Return the state now, for `fail_over_to` later."""
        return copy.deepcopy((self.batch_jobs, self.nodes))

    def fail_over_to(self, state: tuple[dict[int, FakeBatchJob], dict[str, FakeNode]]) -> None:
        """Go on from an older state, as a second controller does: what has come since is forgotten."""
        self.batch_jobs, self.nodes = copy.deepcopy(state)
        self.pending = {number: batch for number, batch in self.batch_jobs.items() if batch.phase is Phase.PENDING}
        for batch in self.batch_jobs.values():
            self.see(batch, self.now)
        self.wake()
