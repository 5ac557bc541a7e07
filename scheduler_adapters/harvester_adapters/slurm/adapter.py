"""The Slurm adapter: what is asked of a Slurm, and how often; pilots in and out.

Owns the commands and their environment, and counts them. What they print is read by `squeue`, `nodes` and
`slow_look`; what is submitted is made by `submission`. Decides nothing about pilots, and remembers nothing that
Slurm could tell again.
"""

from __future__ import annotations

import grp
import os
import re
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester_adapters.asking import CachedLook, SchedulerCommands
from harvester_adapters.oddities import Oddities
from harvester_adapters.scheduler_command import own_name
from harvester_adapters.slurm.slow_look import Slow, SlowLook
from harvester_adapters.slurm.sources.choice import chosen
from harvester_adapters.slurm.sources.commands import nonce
from harvester_adapters.slurm.sources.source import SourceKind
from harvester_adapters.slurm.submission import EXPORTED, PilotExecutor, checked_ids
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.access import Submitter
from harvester_adapters.slurm.text.squeue import batch_jobs, glimpses

_WHOLE_MINUTES = timedelta(minutes=1)
# What a single id that Slurm has forgotten is answered with; several of which some are known are no error.
_FORGOTTEN = re.compile(r"invalid job id", re.IGNORECASE)
_NOT_PENDING = re.compile(
    r"invalid job id|no longer pending|already (running|complet|finish)|job/step already", re.IGNORECASE
)


class SlurmAdapter:
    """The port `SchedulerAdapter` on Slurm's commands.

    Parameters
    ----------
    work_dir: where batch scripts lie for the moment of their submission; made when missing.
    account: what pilots are submitted with; empty: the user's default one.
    qos: what pilots are submitted with; empty: what Slurm gives where none is named.
    command_timeout: how long a snapshot, a submission or a cancellation may take before it is given up.
    cache_for: a snapshot younger than this is returned again; a submission or cancellation makes it old.
    slow_cache_for: how long the partitions, the QOSs and the configuration are believed.
    reservations_for: how long the reservations are believed.
    exported: the variables of this process's environment that a pilot gets. No others reach it.
    source: a `SourceKind`: whom nodes and batch jobs are asked of.
    wake: whether pilots may wake nodes that are powered down to save energy.
    """

    def __init__(
        self,
        *,
        work_dir: Path,
        account: str = "",
        qos: str = "",
        command_timeout: timedelta = timedelta(seconds=10),
        cache_for: timedelta = timedelta(seconds=1),
        slow_cache_for: timedelta = timedelta(minutes=30),
        reservations_for: timedelta = timedelta(minutes=5),
        exported: Sequence[str] = EXPORTED,
        source: str = SourceKind.COMMANDS,
        wake: bool = False,
    ) -> None:
        self._run = SchedulerCommands(timeout=command_timeout, asking=asking, exported=(*exported, "SLURM_CONF"))
        self._last = CachedLook(self._look, cache_for=cache_for)
        self._submitter = _submitter(account, qos)
        self._slow = SlowLook(
            ask=self._run.ask,
            submitter=self._submitter,
            keep_for=slow_cache_for,
            reservations_for=reservations_for,
        )
        self._source = chosen(SourceKind(source), self._run, wake=wake)
        self._oddities = Oddities("slurm")
        self._executor = PilotExecutor(work_dir=work_dir, run=self._run.act)

    @property
    def commands(self) -> int:
        """How many commands have been sent to Slurm so far."""
        return self._run.count

    @property
    def source_in_use(self) -> tuple[str, str]:
        """What nodes and batch jobs are asked of, "commands" or "pyslurm"; and why not pyslurm, where that may be.

        Known after the first look.
        """
        return self._source.in_use.value, self._source.why_commands

    def snapshot(self) -> ClusterSnapshot:
        """Look at the nodes and what has not ended: scontrol and squeue once, or the last look while it is fresh.

        Raises `SchedulerUnavailable` with the command, its exit code and its words.
        """
        return self._last.get()

    def glance(self) -> tuple[BatchJob, ...]:
        """Return what has not ended, with little of each: one squeue. Raises `SchedulerUnavailable`."""
        question = squeue.at_a_glance(nonce())
        return glimpses(self._run.ask(("squeue", *question.arguments), self._run.give_up_at()), question)

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what became of batch jobs: one squeue, while Slurm remembers them. Raises `SchedulerUnavailable`."""
        if not batch_job_ids:
            return ()
        question = squeue.by_id(nonce(), checked_ids(batch_job_ids))
        answer = self._run.answer(("squeue", *question.arguments), self._run.give_up_at())
        if answer.exit_code and _FORGOTTEN.search(answer.words):
            return ()
        return batch_jobs(answer.expect_success(), question)

    def submit(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises `SubmissionRejected` or `SchedulerUnavailable`."""
        # Where --time-min gives the minimum and no more, a pilot is better off with the walltime that it asks for.
        known = self._slow.known
        if order.time_min is not None and not (known is not None and known.site.cuts_time_min):
            order = msgspec.structs.replace(order, time_min=None)
        try:
            return self._executor.submit_pilot(order)
        finally:
            self._last.forget()

    def cancel(self, *batch_job_ids: str) -> None:
        """Cancel batch jobs: one scancel; those that are over are no error. Raises `SchedulerUnavailable`."""
        if not batch_job_ids:
            return
        try:
            self._executor.cancel_pilots(batch_job_ids)
        finally:
            self._last.forget()

    def hold(self, *batch_job_ids: str) -> None:
        """Keep pending batch jobs from being started. Raises `SchedulerUnavailable`."""
        # Not `hold`: of root or an operator that is an administrator's hold, also on batch jobs of their own.
        self._control("uhold", batch_job_ids)

    def release(self, *batch_job_ids: str) -> None:
        """Let held batch jobs be started again. Raises `SchedulerUnavailable`."""
        self._control("release", batch_job_ids)

    def _control(self, verb: str, batch_job_ids: Sequence[str]) -> None:
        if not batch_job_ids:
            return
        try:
            answer = self._run.act(("scontrol", verb, ",".join(checked_ids(batch_job_ids))))
        finally:
            self._last.forget()
        # One that has started meanwhile, or is over, is refused, and the others are done nevertheless.
        if answer.exit_code and not _NOT_PENDING.search(answer.words):
            answer.expect_success()

    def close(self) -> None:
        """Nothing to let go: there is no thread, and no file outlives its submission."""

    def _look(self) -> ClusterSnapshot:
        give_up_at = self._run.give_up_at()
        taken_at = time.time()
        slow = self._slow.look(give_up_at)
        seen = self._source.look(slow.site, give_up_at)
        if slow.misses(seen.nodes, seen.batch_jobs):
            slow = self._slow.look_again(give_up_at)
        self._oddities.tell((*slow.odd, *seen.odd))
        return ClusterSnapshot(
            taken_at=taken_at,
            scheduler=f"slurm {slow.site.version}",
            nodes=seen.nodes,
            batch_jobs=seen.batch_jobs,
            partitions=slow.partitions,
            reservations=slow.reservations,
            grain=_WHOLE_MINUTES,
            hidden=_hidden(slow, self._submitter, seen.batch_jobs),
            cuts_time_min=slow.site.cuts_time_min,
        )


def _submitter(account: str, qos: str) -> Submitter:
    user = own_name()
    try:
        ids = os.getgrouplist(user, os.getgid())
        groups = frozenset(grp.getgrgid(each).gr_name for each in ids)
    except (KeyError, OSError):  # a group without a name, or a directory service that does not answer
        groups = frozenset()
    return Submitter(user=user, account=account, qos=qos, groups=groups, is_root=os.geteuid() == 0)


def _hidden(slow: Slow, submitter: Submitter, batch_jobs: Sequence[BatchJob]) -> str:
    """Return what Slurm does not show to this user; who sees somebody else's batch job sees all."""
    if slow.sees_all or "jobs" not in slow.site.private or any(batch.user != submitter.user for batch in batch_jobs):
        return ""
    return "other users' batch jobs from this one (PrivateData=jobs; an operator sees all)"


def asking() -> dict[str, str]:
    """Return the environment for questions: this process's, without what would change their answers.

    SQUEUE_* and SLURM_TIME_FORMAT are a person's taste at a terminal.
    """
    changing = ("SLURM_", "SQUEUE_", "SCONTROL_", "SACCTMGR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(changing)}
    if "SLURM_CONF" in os.environ:
        kept["SLURM_CONF"] = os.environ["SLURM_CONF"]
    # LC_ALL: what the C library adds to Slurm's words is in the user's language. 0: lists of array elements are whole.
    return kept | {"TZ": "UTC", "LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}
