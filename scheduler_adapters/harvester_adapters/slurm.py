"""The Slurm adapter: one look at the cluster a tick, pilots in and out.

Owns the commands that are asked, how often, and with which environment. What they print is read by `slurm_text`, what
is submitted is made by `slurm_submit`. Decides nothing about pilots, and remembers nothing that Slurm could tell again.
"""

from __future__ import annotations

import getpass
import os
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.domain.cluster import BatchJob, ClusterSnapshot, Partition, Reservation
from harvester.domain.ports import PilotOrder, SchedulerUnavailable
from harvester_adapters import slurm_text
from harvester_adapters.scheduler_command import Answer, run
from harvester_adapters.slurm_submit import EXPORTED, PilotExecutor

_WHOLE_MINUTES = timedelta(minutes=1)


class _Slow(msgspec.Struct, frozen=True, kw_only=True):
    """What changes so rarely that it is asked once in a while."""

    scheduler: str
    partitions: tuple[Partition, ...]
    reservations: tuple[Reservation, ...]
    cuts_time_min: bool
    read_at: float  # monotonic


class SlurmAdapter:
    """The port `SchedulerAdapter` on Slurm's commands.

    Parameters
    ----------
    work_dir: where batch scripts lie for the moment of their submission; made when missing.
    user: whose ended batch jobs a snapshot shows; everybody's pending and running ones are always in it. The user of
        this process by default.
    command_timeout: how long a snapshot, a submission or a cancellation may take before it is given up.
    cache_for: a snapshot younger than this is returned again; a submission or cancellation makes it old.
    slow_cache_for: how long the partitions, the reservations and Slurm's version are believed.
    exported: the variables of this process's environment that a pilot gets. No others reach it.
    """

    def __init__(
        self,
        *,
        work_dir: Path,
        user: str | None = None,
        command_timeout: timedelta = timedelta(seconds=10),
        cache_for: timedelta = timedelta(seconds=1),
        slow_cache_for: timedelta = timedelta(minutes=1),
        exported: Sequence[str] = EXPORTED,
    ) -> None:
        self._exported = (*exported, "SLURM_CONF")
        self._user = user or getpass.getuser()
        self._timeout = command_timeout
        self._cache_for = cache_for.total_seconds()
        self._slow_cache_for = slow_cache_for.total_seconds()
        self._lock = threading.Lock()  # one look at a time; whoever waits for it gets the cached one
        self._snapshot: ClusterSnapshot | None = None
        self._read_at = 0.0  # monotonic
        self._slow: _Slow | None = None
        self._commands = 0
        self._executor = PilotExecutor(work_dir=work_dir, run=self._run)

    def snapshot(self) -> ClusterSnapshot:
        """Look at the cluster: squeue and scontrol once, or the last look while it is fresh.

        Raises `SchedulerUnavailable` with the command, its exit code and its words.
        """
        with self._lock:
            if self._snapshot is None or time.monotonic() - self._read_at >= self._cache_for:
                self._snapshot = self._look()
                self._read_at = time.monotonic()
            return self._snapshot

    def submit(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises `SubmissionRejected` or `SchedulerUnavailable`."""
        # Where --time-min gives the minimum and no more, a pilot is better off with the walltime that it asks for.
        if order.time_min is not None and not (self._slow is not None and self._slow.cuts_time_min):
            order = msgspec.structs.replace(order, time_min=None)
        try:
            return self._executor.submit_pilot(order)
        finally:
            self._forget()

    @property
    def commands(self) -> int:
        """How many commands have been sent to Slurm so far."""
        return self._commands

    def glance(self) -> tuple[BatchJob, ...]:
        """Return everybody's batch jobs that have not ended. Raises `SchedulerUnavailable`."""
        return tuple(batch for batch in self.snapshot().batch_jobs if not batch.state.is_ended)

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what became of batch jobs, while Slurm remembers them. Raises `SchedulerUnavailable`."""
        return tuple(batch for batch in self.snapshot().batch_jobs if batch.batch_job_id in batch_job_ids)

    def cancel(self, *batch_job_ids: str) -> None:
        """Cancel batch jobs; those that are over are no error. Raises `SchedulerUnavailable`."""
        try:
            for batch_job_id in batch_job_ids:
                self._executor.cancel_pilot(batch_job_id)
        finally:
            self._forget()

    def hold(self, *batch_job_ids: str) -> None:
        """Keep pending batch jobs from being started. Raises `SchedulerUnavailable`."""
        self._control("hold", batch_job_ids)

    def release(self, *batch_job_ids: str) -> None:
        """Let held batch jobs be started again. Raises `SchedulerUnavailable`."""
        self._control("release", batch_job_ids)

    def _control(self, verb: str, batch_job_ids: Sequence[str]) -> None:
        # One that has started meanwhile, or is over, is refused, and the others are done nevertheless.
        if batch_job_ids:
            self._run(("scontrol", verb, ",".join(batch_job_ids)))
            self._forget()

    def close(self) -> None:
        """Nothing to let go: there is no thread, and no file outlives its submission."""

    def _forget(self) -> None:
        with self._lock:
            self._snapshot = None

    def _look(self) -> ClusterSnapshot:
        give_up_at = time.monotonic() + self._timeout.total_seconds()
        taken_at = time.time()
        nonce = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6))
        slow = self._slow_look(give_up_at)
        # Nodes before batch jobs: a batch job that starts in between makes a node look idle that its job names, which
        # reads as "taken"; the other order would show a free node that nobody has.
        nodes = slurm_text.nodes(
            self._ask(("scontrol", "--details", "--oneliner", "--all", "show", "node"), give_up_at)
        )
        queue = self._ask(("squeue", *slurm_text.squeue_arguments(nonce)), give_up_at)
        return ClusterSnapshot(
            taken_at=taken_at,
            scheduler=slow.scheduler,
            nodes=nodes,
            batch_jobs=tuple(
                job for job in slurm_text.batch_jobs(queue, nonce) if job.user == self._user or not job.state.is_ended
            ),
            partitions=slow.partitions,
            reservations=slow.reservations,
            grain=_WHOLE_MINUTES,
            cuts_time_min=slow.cuts_time_min,
        )

    def _slow_look(self, give_up_at: float) -> _Slow:
        if self._slow is None or time.monotonic() - self._slow.read_at >= self._slow_cache_for:
            text = self._ask(("scontrol", "--oneliner", "--all", "show", "partition"), give_up_at)
            reserved = self._ask(("scontrol", "--oneliner", "--all", "show", "reservation"), give_up_at)
            words = self._ask(("scontrol", "--version"), give_up_at).split()
            version = words[-1] if words else ""
            self._slow = _Slow(
                scheduler=f"slurm {version}".strip(),
                partitions=slurm_text.partitions(text),
                reservations=slurm_text.reservations(reserved),
                cuts_time_min=slurm_text.cuts_time_min(version),
                read_at=time.monotonic(),
            )
        return self._slow

    def _ask(self, argv: Sequence[str], give_up_at: float) -> str:
        self._commands += 1
        left = timedelta(seconds=give_up_at - time.monotonic())
        if left <= timedelta(0):
            raise SchedulerUnavailable(
                f"the look at the cluster took longer than {self._timeout.total_seconds():g} s;"
                f" {argv[0]} was not asked any more"
            )
        return run(argv, timeout=left, environment=_asking()).expect_success()

    def _run(self, argv: Sequence[str]) -> Answer:
        self._commands += 1
        environment = {name: os.environ[name] for name in self._exported if name in os.environ}
        return run(argv, timeout=self._timeout, environment=environment)


def _asking() -> dict[str, str]:
    """Return the environment for questions: this process's, without what would change their answers.

    SQUEUE_* and SLURM_TIME_FORMAT are a person's taste at a terminal.
    """
    changing = ("SLURM_", "SQUEUE_", "SCONTROL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(changing)}
    if "SLURM_CONF" in os.environ:
        kept["SLURM_CONF"] = os.environ["SLURM_CONF"]
    return kept | {"TZ": "UTC"}
