"""The PBS adapter: what is asked of a PBS, and how often; pilots in and out.

Owns the commands and their environment. What they print is read by `jobs`, `nodes` and `slow_look`; what is submitted
is made by `submission`. Decides nothing about pilots, and remembers nothing that PBS could tell again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.domain.cluster.ports import LimitReached, PilotOrder, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
from harvester.domain.cluster.windows import claims
from harvester.domain.model.resources import Resources
from harvester_adapters.asking import CachedLook, SchedulerCommands
from harvester_adapters.oddities import Oddities
from harvester_adapters.pbs.jobs import QSTAT, batch_jobs, by_id
from harvester_adapters.pbs.nodes import PBSNODES, Vnode, hosts, nodes, vnode_list
from harvester_adapters.pbs.partitions import partitions, partitions_of, settled
from harvester_adapters.pbs.slow_look import PbsSlow, PbsSlowLook
from harvester_adapters.pbs.submission import (
    COMMANDS_NEED,
    EXPORTED,
    PbsPilotExecutor,
    PbsSubmitOptions,
    judge_change,
)
from harvester_adapters.pbs.words import checked_ids
from harvester_adapters.scheduler_command import own_name

# Of several ids: some are unknown by now, or have ended. The others are told nevertheless.
_SOME_ARE_OVER = frozenset({35, 153})


class PbsAdapter:
    """The port `SchedulerAdapter` on PBS's commands.

    Parameters
    ----------
    work_dir: where PSI/J writes a file for the moment of a submission; made when missing.
    options: what all pilots are submitted with.
    command_timeout: how long a snapshot, a submission or a cancellation may take before it is given up.
    cache_for: a snapshot younger than this is returned again; a submission or cancellation makes it old. Below a second
        qstat sleeps for 200 ms of its own.
    slow_cache_for: how long the queues, the server and the scheduler's settings are believed.
    reservations_for: how long the reservations are believed.
    exported: the variables of this process's environment that a pilot gets. Everybody on the cluster can read them.
    """

    def __init__(
        self,
        *,
        work_dir: Path,
        options: PbsSubmitOptions | None = None,
        command_timeout: timedelta = timedelta(seconds=10),
        cache_for: timedelta = timedelta(seconds=1),
        slow_cache_for: timedelta = timedelta(minutes=30),
        reservations_for: timedelta = timedelta(minutes=5),
        exported: Sequence[str] = EXPORTED,
    ) -> None:
        self._run = SchedulerCommands(timeout=command_timeout, asking=asking, exported=COMMANDS_NEED)
        self._last = CachedLook(self._look, cache_for=cache_for)
        self._user = own_name()
        self._slow = PbsSlowLook(
            ask=self._run.ask, user=self._user, keep_for=slow_cache_for, reservations_for=reservations_for
        )
        self._oddities = Oddities("pbs")
        self._seen: ClusterSnapshot | None = None  # the newest look, however old
        self._chosen: set[str] = set()  # nodes that were chosen for pilots since
        self._executor = PbsPilotExecutor(
            work_dir=work_dir,
            run=self._run.act,
            options=options or PbsSubmitOptions(),
            is_rerunnable=self._is_rerunnable,
            exported=exported,
        )

    @property
    def commands(self) -> int:
        """How many commands have been sent to PBS so far."""
        return self._run.count

    def snapshot(self) -> ClusterSnapshot:
        """Look at the nodes and what has not ended: pbsnodes and qstat once, or the last look while it is fresh.

        Raises `SchedulerUnavailable` with the command, its exit code and its words.
        """
        return self._last.get()

    def glance(self) -> tuple[BatchJob, ...]:
        """Return what has not ended: one qstat. Raises `SchedulerUnavailable`."""
        found = batch_jobs(self._run.ask(QSTAT, self._run.give_up_at()))
        known = self._slow.known
        return found if known is None else settled(found, known.queues)

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what became of batch jobs: one qstat, while PBS's history has them. Raises `SchedulerUnavailable`."""
        if not batch_job_ids:
            return ()
        answer = self._run.answer(by_id(checked_ids(tuple(batch_job_ids))), self._run.give_up_at())
        if answer.exit_code not in _SOME_ARE_OVER:
            answer.expect_success()
        return batch_jobs(answer.stdout)

    def submit(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises `SubmissionRejected` or `SchedulerUnavailable`."""
        try:
            return self._executor.submit_pilot(self._placed(order))
        except LimitReached:
            raise
        except SubmissionRejected:
            self._slow.doubt()  # a queue's longest walltime may have been lowered: the next pilot has to know
            raise
        finally:
            self._last.forget()

    def cancel(self, *batch_job_ids: str) -> None:
        """Delete batch jobs: one qdel; those that are over are no error. Raises `SchedulerUnavailable`."""
        if not batch_job_ids:
            return
        try:
            self._executor.cancel_pilots(batch_job_ids)
        finally:
            self._last.forget()

    def hold(self, *batch_job_ids: str) -> None:
        """Keep pending batch jobs from being started: one qhold. Raises `SchedulerUnavailable`."""
        self._change("qhold", batch_job_ids)

    def release(self, *batch_job_ids: str) -> None:
        """Let held batch jobs be started again: one qrls. Raises `SchedulerUnavailable`."""
        self._change("qrls", batch_job_ids)

    def close(self) -> None:
        """Nothing to let go: there is no thread, and no file outlives its submission."""

    def _change(self, verb: str, batch_job_ids: tuple[str, ...]) -> None:
        if not batch_job_ids:
            return
        try:
            judge_change(self._run.act((verb, *checked_ids(batch_job_ids))))
        finally:
            self._last.forget()

    def _is_rerunnable(self, queue: str) -> bool:
        known = self._slow.known
        return known is not None and known.is_rerunnable(queue)

    def _placed(self, order: PilotOrder) -> PilotOrder:
        """Return an order that keeps off the nodes that it excludes.

        PBS can name a node that a batch job must have, none that it must not. So it gets one of the others that has
        room now. Where there is none it is for later: a pilot that waits takes a place in the scheduler's plan.
        """
        if order.node or not order.exclude or self._seen is None:
            return order
        now = time.time()
        ends_at = now + (order.time_min or order.walltime).total_seconds()
        soon = {name for name, claim in claims(self._seen, now).items() if claim.at < ends_at}
        shunned = {*order.exclude, *self._chosen, *soon}
        for node in self._seen.nodes:
            if (
                order.partition in node.partitions
                and node.name not in shunned
                and not node.leaving
                and order.resources.fits(node.free)
            ):
                self._chosen.add(node.name)
                return msgspec.structs.replace(order, node=node.name)
        raise LimitReached(
            f"PBS cannot keep {order.name} off {len(order.exclude)} excluded nodes, and no other node of queue"
            f" {order.partition} has room for it now"
        )

    def _look(self) -> ClusterSnapshot:
        give_up_at = self._run.give_up_at()
        taken_at = time.time()
        # Nodes before batch jobs: a batch job that starts in between makes a node look idle that its job names, which
        # reads as "taken"; the other order would show a free node that nobody has.
        odd: list[str] = []
        vnodes = vnode_list(self._run.ask(PBSNODES, give_up_at), odd=odd)
        host_of = hosts(vnodes)
        slow = self._slow.look(give_up_at, host_of)
        queue = batch_jobs(self._run.ask(QSTAT, give_up_at), host_of, now=taken_at, odd=odd)
        self._oddities.tell(odd)
        if slow.misses(vnodes, queue):
            slow = self._slow.look_again(give_up_at, host_of)
        parts = partitions(slow.queues, vnodes, slow.server, slow.scheds, self._user, reserved=slow.reservation_names)
        self._chosen = set()
        self._seen = ClusterSnapshot(
            taken_at=taken_at,
            scheduler=f"pbs {slow.server.version}",
            nodes=nodes(vnodes, partitions_of(slow.queues.execution, vnodes)),
            batch_jobs=settled((*queue, *_untold(vnodes, queue)), slow.queues),
            partitions=parts,
            reservations=slow.reservations,
            hidden=self._hidden(slow, queue),
            cuts_time_min=True,
        )
        return self._seen

    def _hidden(self, slow: PbsSlow, told: Sequence[BatchJob]) -> str:
        """Return what we are not shown."""
        sees_all = slow.server.shows_others or self._user in slow.server.privileged
        if sees_all or any(batch.user != self._user for batch in told):
            return ""
        return "other users' batch jobs (query_other_jobs is not True)"


def _untold(vnodes: Sequence[Vnode], told: Sequence[BatchJob]) -> tuple[BatchJob, ...]:
    """Return the batch jobs that are on nodes and that qstat did not show, as far as they are known.

    They are elements of arrays, which are shown as one, or somebody's who is hidden (query_other_jobs is False).
    """
    known = {batch.batch_job_id: batch for batch in told}
    places: dict[str, list[str]] = {}
    for vnode in vnodes:
        for batch_job_id in vnode.batch_job_ids:
            if batch_job_id not in known:
                places.setdefault(batch_job_id, []).append(vnode.host)
    found = []
    for batch_job_id, names in places.items():
        array = known.get(batch_job_id.partition("[")[0] + "[]")
        found.append(
            BatchJob(
                batch_job_id=batch_job_id,
                name=array.name if array else "",
                user=array.user if array else "",
                partition=array.partition if array else "",
                state=BatchState.RUNNING,
                nodes=tuple(dict.fromkeys(names)),
                requested=array.requested if array else Resources(),
                limit=array.limit if array else None,
            )
        )
    return tuple(found)


def asking() -> dict[str, str]:
    """Return the environment for questions: this process's, in UTC and English."""
    return {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
