"""The rules of the embedded `local` scheduler: a stimulus and `now` in, the new state and effects out. Pure.

Owns who gets which node, who is evicted for whom, and when. Modelled on Slurm with PreemptType=preempt/partition_prio
and PreemptMode=CANCEL: a prime batch job takes whole nodes, idle ones first, then those with the fewest and youngest
pilots; a pilot that has to make room gets SIGTERM at once and SIGKILL when the grace time is over. Knows no process,
no file and no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from harvester.domain.cluster.snapshot import BatchState
from harvester.domain.model.resources import Resources
from harvester_adapters.local.admission import check_order, check_prime
from harvester_adapters.local.state import (
    BatchKind,
    CancelRequest,
    Cluster,
    Effect,
    EmulatedNode,
    Exited,
    ForgetBatchJob,
    Hold,
    KillNow,
    KillProcesses,
    LocalBatchJob,
    PilotRequest,
    StartProcesses,
    Stimulus,
    SubmitPrime,
    TakeUp,
    Terminate,
    Tick,
    Vanished,
)

NOTHING = Resources(cpus=0)


def handle(cluster: Cluster, stimulus: Stimulus, now: float) -> tuple[Cluster, list[Effect]]:
    """Return the state after `stimulus`, and what has to be done; the same object where nothing changed.

    Raises `SubmissionRejected` for a submission that can never run, and changes nothing then.
    """
    turn = _Turn(cluster, now)
    _TAKE[type(stimulus)](turn, stimulus)
    turn.enforce_limits()
    turn.start_primes()
    turn.start_pilots()
    return turn.result(), turn.effects


class _Turn:
    """One stimulus at work: a copy of the batch jobs, and the effects so far."""

    def __init__(self, cluster: Cluster, now: float) -> None:
        self.cluster = cluster
        self.now = now
        self.next_id = cluster.next_id
        self.jobs = dict(cluster.batch_jobs)
        self.effects: list[Effect] = []

    def result(self) -> Cluster:
        if self.jobs == self.cluster.batch_jobs:
            return self.cluster
        return replace(self.cluster, batch_jobs=self.jobs, next_id=self.next_id)

    # ---- what is told ----------------------------------------------------------------------------------------------

    def submit_pilot(self, stimulus: PilotRequest) -> None:
        order = stimulus.order
        check_order(self.cluster, order)
        batch_job_id = str(self.next_id)
        self.next_id += 1
        self.jobs[batch_job_id] = LocalBatchJob(
            batch_job_id=batch_job_id,
            kind=BatchKind.PILOT,
            name=order.name,
            resources=order.resources,
            walltime=order.walltime,
            nice=order.nice,
            only_on=order.node,
            exclude=order.exclude,
            end_by=order.end_by,
            command=order.command,
            output=str(order.output),
            submitted_at=self.now,
        )

    def submit_prime(self, stimulus: SubmitPrime) -> None:
        check_prime(len(self.cluster.nodes), stimulus.nodes, stimulus.duration)
        if stimulus.batch_job_id in self.jobs:
            return  # the request was read twice: its file outlived a crash
        self.jobs[stimulus.batch_job_id] = LocalBatchJob(
            batch_job_id=stimulus.batch_job_id,
            kind=BatchKind.PRIME,
            name=stimulus.name,
            node_count=stimulus.nodes,
            walltime=stimulus.duration,
            submitted_at=self.now,
        )

    def cancel(self, stimulus: CancelRequest) -> None:
        job = self.jobs.get(stimulus.batch_job_id)
        if job is None or job.state.is_ended or job.leaving:
            return
        if job.kind is BatchKind.PRIME or job.state is BatchState.PENDING:
            self._end(job, BatchState.CANCELLED)
        else:
            self._send_away(job, BatchState.CANCELLED, self.cluster.kill_wait)

    def hold(self, stimulus: Hold) -> None:
        job = self.jobs.get(stimulus.batch_job_id)
        if job is not None and job.state is BatchState.PENDING:
            self._put(job, is_held=stimulus.is_held, reason="JobHeldUser" if stimulus.is_held else "")

    def exited(self, stimulus: Exited) -> None:
        job = self.jobs.get(stimulus.batch_job_id)
        if job is None or not job.is_live:
            return
        # Slurm 24.11 and later call a pilot that exits in its grace time PREEMPTED, whatever its exit code.
        end = job.leaving or (BatchState.FAILED if stimulus.exit_code else BatchState.COMPLETED)
        reason = job.reason or (_exit_words(stimulus.exit_code) if end is BatchState.FAILED else "")
        self._end(job, end, exit_code=stimulus.exit_code, reason=reason)

    def vanished(self, stimulus: Vanished) -> None:
        job = self.jobs.get(stimulus.batch_job_id)
        if job is None or not job.is_live:
            return
        # As Slurm does when a slurmstepd or its node is gone.
        self._end(job, job.leaving or BatchState.NODE_FAIL, reason=stimulus.reason)

    def take_up(self, _: TakeUp) -> None:
        for job in self.jobs.values():
            if job.is_live and job.leaving:
                self.effects.append(Terminate(batch_job_id=job.batch_job_id))

    def kill_now(self, _: KillNow) -> None:
        for job in [job for job in self.jobs.values() if job.is_live and job.kind is BatchKind.PILOT]:
            self._put(job, leaving=job.leaving or BatchState.CANCELLED, kill_at=self.now)

    def tick(self, _: Tick) -> None:
        pass

    # ---- what follows ----------------------------------------------------------------------------------------------

    def enforce_limits(self) -> None:
        """End what is over its time, kill what did not leave, forget what ended long ago."""
        keep = self.cluster.keep_ended.total_seconds()
        for job in list(self.jobs.values()):
            if job.ended_at is not None:
                if self.now >= job.ended_at + keep:
                    del self.jobs[job.batch_job_id]
                    self.effects.append(ForgetBatchJob(batch_job_id=job.batch_job_id))
            elif job.kind is BatchKind.PRIME:
                if job.end_at is not None and self.now >= job.end_at:
                    self._end(job, BatchState.COMPLETED)
            elif job.leaving is None and job.end_at is not None and self.now >= job.end_at:
                self._send_away(job, BatchState.TIMEOUT, self.cluster.kill_wait)
        for job in list(self.jobs.values()):
            if job.is_live and job.kill_at is not None and self.now >= job.kill_at and not job.is_killed:
                self._put(job, is_killed=True)
                self.effects.append(KillProcesses(batch_job_id=job.batch_job_id))

    def start_primes(self) -> None:
        """Claim nodes for the prime batch jobs in the order of submission, and start those whose nodes are free."""
        for job in self._pending(BatchKind.PRIME):
            claim = job.nodes or self._claim(job)
            if not claim:
                return  # first come, first served: the next one does not overtake
            if any(self._live_on(name) for name in claim):
                self._put(job, nodes=claim, reason="Resources")
            else:
                self._put(job, nodes=claim, state=BatchState.RUNNING, started_at=self.now, reason="")

    def start_pilots(self) -> None:
        """Start pending pilots where they fit: lower nice first, then first come, the fullest fitting node first."""
        pending = sorted(self._pending(BatchKind.PILOT), key=lambda job: job.nice)  # those that are held aside
        if not pending:
            return
        free = {node.name: self._free(node) for node in self.cluster.nodes}
        for job in pending:
            if job.end_by is not None and self.now + job.walltime.total_seconds() > job.end_by:
                self._end(job, BatchState.CANCELLED, reason="DeadLine")  # as Slurm does with --deadline
                continue
            fitting = [
                node
                for node in self.cluster.nodes
                if job.resources.fits(free[node.name])
                if node.name not in job.exclude and job.only_on in {"", node.name}
            ]
            if not fitting:
                self._put(job, reason="Resources")
                continue
            node = min(fitting, key=lambda node: free[node.name])
            free[node.name] -= job.resources
            started = self._put(
                job,
                state=BatchState.RUNNING,
                nodes=(node.name,),
                gpu_ids=self._gpu_ids(node, job.resources.gpus),
                started_at=self.now,
                reason="",
            )
            self.effects.append(StartProcesses(batch_job=started))

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def _claim(self, job: LocalBatchJob) -> tuple[str, ...]:
        """Return the nodes that a prime batch job will have, their pilots sent away; empty while others hold them."""
        held = _held_by_primes(self.jobs.values())
        open_nodes = [node.name for node in self.cluster.nodes if node.name not in held]
        if len(open_nodes) < job.node_count:
            self._put(job, reason="Resources")
            return ()

        def price(name: str) -> tuple[int, int, float]:
            pilots = self._live_on(name)
            staying = [pilot for pilot in pilots if pilot.leaving is None]
            return len(staying), len(pilots), -max((pilot.started_at or 0.0 for pilot in staying), default=0.0)

        cheapest = sorted(open_nodes, key=price)[: job.node_count]
        claim = tuple(name for name in open_nodes if name in cheapest)
        for pilot in [pilot for name in claim for pilot in self._live_on(name)]:
            self._send_away(pilot, BatchState.PREEMPTED, self.cluster.grace)
        return claim

    def _send_away(self, job: LocalBatchJob, end: BatchState, notice: timedelta) -> None:
        """Send SIGTERM now and SIGKILL after `notice`; who is leaving already is at most killed sooner."""
        kill_at = self.now + notice.total_seconds()
        if job.leaving:
            self._put(job, kill_at=kill_at if job.kill_at is None else min(job.kill_at, kill_at))
            return
        # Slurm shows an evicted batch job as RUNNING, with its preempt_time set, until it is gone.
        state = BatchState.RUNNING if end is BatchState.PREEMPTED else BatchState.COMPLETING
        self._put(job, state=state, leaving=end, leave_at=self.now, kill_at=kill_at, reason=_REASONS[end])
        self.effects.append(Terminate(batch_job_id=job.batch_job_id))

    def _end(self, job: LocalBatchJob, end: BatchState, **changes: Any) -> None:  # noqa: ANN401 - any field
        nodes = () if job.state is BatchState.PENDING else job.nodes
        self._put(job, **{"state": end, "ended_at": self.now, "nodes": nodes, "reason": job.reason} | changes)

    def _put(self, job: LocalBatchJob, **changes: Any) -> LocalBatchJob:  # noqa: ANN401 - any field
        changed = replace(job, **changes)
        self.jobs[job.batch_job_id] = changed
        return changed

    def _pending(self, kind: BatchKind) -> list[LocalBatchJob]:
        pending = [job for job in self.jobs.values() if job.kind is kind and job.state is BatchState.PENDING]
        return [job for job in pending if not job.is_held]

    def _live_on(self, name: str) -> list[LocalBatchJob]:
        return [job for job in self.jobs.values() if job.is_live and name in job.nodes]

    def _free(self, node: EmulatedNode) -> Resources:
        return free_on(node, replace(self.cluster, batch_jobs=self.jobs))

    def _gpu_ids(self, node: EmulatedNode, count: int) -> tuple[int, ...]:
        taken = {gpu for job in self._live_on(node.name) for gpu in job.gpu_ids}
        return tuple([gpu for gpu in range(node.total.gpus) if gpu not in taken][:count])


_TAKE: dict[type, Callable[[_Turn, Any], None]] = {
    PilotRequest: _Turn.submit_pilot,
    SubmitPrime: _Turn.submit_prime,
    CancelRequest: _Turn.cancel,
    Hold: _Turn.hold,
    Exited: _Turn.exited,
    Vanished: _Turn.vanished,
    TakeUp: _Turn.take_up,
    KillNow: _Turn.kill_now,
    Tick: _Turn.tick,
}

_REASONS = {
    BatchState.PREEMPTED: "Preempted",
    BatchState.TIMEOUT: "TimeLimit",
    BatchState.CANCELLED: "Cancelled",
}


def _exit_words(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _held_by_primes(jobs: Any) -> set[str]:  # noqa: ANN401 - any iterable of batch jobs
    """Return the nodes that a prime batch job has or has claimed."""
    return {name for job in jobs if job.kind is BatchKind.PRIME and not job.state.is_ended for name in job.nodes}


def free_on(node: EmulatedNode, cluster: Cluster) -> Resources:
    """Return what pilots may still have of a node: nothing where a prime batch job is, or is about to be."""
    if node.name in _held_by_primes(cluster.batch_jobs.values()):
        return NOTHING
    return node.total - sum((job.resources for job in cluster.live() if node.name in job.nodes), NOTHING)
