"""Pilots into and out of Slurm, through PSI/J: one long-lived executor that submits and cancels.

Owns the batch script, sbatch's options, and the judgement of what sbatch and scancel answer.
"""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from packaging.version import Version
from psij import Job
from psij.executors.batch.slurm import SlurmExecutorConfig, SlurmJobExecutor

from harvester.domain.cluster.ports import PilotOrder
from harvester_adapters.pilot_jobs import PilotSubmission, judge_failure, order_of, without_id
from harvester_adapters.scheduler_command import CommandResult

# All that sbatch, and so the pilot, gets of the daemon's environment; Slurm adds its own SLURM_*. The choice is made
# here and not by --export: ALL would hand on the daemon's secrets, and both NONE and a list of names make slurmd run
# the user's login shell before the pilot (SLURM_GET_USER_ENV, seen on 22.05), which can take minutes.
EXPORTED = ("HOME", "LANG", "LOGNAME", "PATH", "USER")

# sbatch's words for "no answer" as against "no". After some of these the batch job exists nevertheless.
_NO_CONTACT = re.compile(
    r"unable to contact slurm controller|socket timed out|zero bytes were transmitted|connection refused"
    r"|connection (failure|error|reset)|message (receive|send) failure|not responding|in standby mode"
    r"|could not establish a configuration source|failed to fetch config|authentication (error|failure)"
    r"|munge|temporarily un|slurmctld is|host is down|no route to host|transport endpoint|unexpected message",
    re.IGNORECASE,
)
# Limits on how many or how much may be submitted together; those on a single batch job are as before at the next try.
_FULL = re.compile(r"\b(QOS|Assoc)(Max|Grp)Submit\w+|\b(QOS|Assoc)Grp\w+Limit")
_OVER = re.compile(r"invalid job id|already complet|job/step already", re.IGNORECASE)


def sbatch_arguments(order: PilotOrder, now: float) -> list[str]:
    """Return sbatch's options for a pilot that is submitted `now` (Unix seconds).

    They are on the command line, not in the script, because a site's or a user's SBATCH_* variables override what is in
    a script. Slurm rounds the walltime up to whole minutes.
    """
    resources = order.resources
    options = [
        f"--job-name={order.name}",
        f"--partition={order.partition}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={resources.cpus}",
        f"--time={_clock(order.walltime)}",
        # From 24.11 on, a pilot preempted with REQUEUE is put back even when it ended with 0.
        "--no-requeue",
        "--export=ALL",  # of the few variables that sbatch is run with
        f"--chdir={order.output.parent}",
        f"--output={str(order.output).replace('%', '%%')}",  # sbatch reads %j and its like as patterns
    ]
    if resources.memory_mb:
        options.append(f"--mem={resources.memory_mb}M")
    if resources.gpus:
        options.append(f"--gres=gpu:{resources.gpus}")
    if order.nice:
        options.append(f"--nice={order.nice}")
    if order.account:
        options.append(f"--account={order.account}")
    if order.qos:
        options.append(f"--qos={order.qos}")
    return options + _placement(order, now)


def _placement(order: PilotOrder, now: float) -> list[str]:
    """Return the options that say where and until when a pilot may run."""
    options = []
    if order.time_min is not None:
        options.append(f"--time-min={_clock(order.time_min)}")
    if order.exclude:
        options.append(f"--exclude={NodeSet.fromlist(order.exclude, resolver=RESOLVER_NOGROUP)}")
    if order.node:
        options.append(f"--nodelist={order.node}")
    if order.end_by is not None:
        # Relative, so that no time zone of sbatch's environment can shift it. Slurm takes a batch job out of the queue
        # once it could no longer end by then.
        options.append(f"--deadline=now+{max(1, math.floor(order.end_by - now))}")
    return options


def batch_script(order: PilotOrder) -> str:
    """Return the batch script: the pilot as one srun step.

    At a preemption Slurm tells the steps at once and the batch shell only when the grace time is over. `exec` keeps the
    pilot's exit code. --export=ALL hands the script's (small) environment on; --cpus-per-task because srun has not
    inherited it from sbatch since 22.05, --mpi=none because a pilot needs no PMI server.
    """
    step = ["srun", "--ntasks=1", f"--cpus-per-task={order.resources.cpus}", "--export=ALL", "--mpi=none"]
    if order.resources.gpus:
        step.append(f"--gres=gpu:{order.resources.gpus}")
    return f"#!/bin/bash\nexec {shlex.join([*step, *order.command])}\n"


def batch_job_id(order_name: str, answer: CommandResult) -> str:
    """Return the id in the output of `sbatch --parsable` (`123` or `123;cluster`).

    Raises `SchedulerUnavailable` where there is none: sbatch said that it succeeded, so the batch job may exist.
    """
    last = answer.stdout.strip().rpartition("\n")[2]
    if not (match := re.fullmatch(r"(\d+)(;.*)?", last.strip())):
        raise without_id(answer, order_name)
    return match[1]


def judge_submission(order_name: str, answer: CommandResult) -> None:
    """Raise what an unsuccessful sbatch deserves."""
    judge_failure(answer, order_name, no_contact=_NO_CONTACT, full=_FULL)


def checked_ids(batch_job_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids. Raises `ValueError` for what is none: it could be an option of a command."""
    for batch_job_id in batch_job_ids:
        if not re.fullmatch(r"\d+", batch_job_id):
            raise ValueError(f"{batch_job_id!r} is not the id of a Slurm batch job")
    return tuple(batch_job_ids)


def _clock(walltime: timedelta) -> str:
    seconds = max(1, math.ceil(walltime.total_seconds()))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class PilotExecutor(PilotSubmission, SlurmJobExecutor):
    """PSI/J's Slurm executor for pilots.

    Parameters
    ----------
    work_dir: where batch scripts lie for the moment of their submission; only this process reads it.
    run: runs a command with a time limit and the environment that a pilot may have; `SchedulerUnavailable` when it
        does not answer.
    """

    _NAME_ = "slurm-pilots"
    _VERSION_ = Version("1.0.0")
    LAUNCHER = "srun"

    def __init__(self, *, work_dir: Path, run: Callable[[Sequence[str]], CommandResult]) -> None:
        self._run = run
        super().__init__(config=SlurmExecutorConfig(work_directory=work_dir))

    def cancel_pilots(self, batch_job_ids: Sequence[str]) -> None:
        """Cancel batch jobs, submitted by this process or by an earlier one. Raises `SchedulerUnavailable`.

        One scancel for all, which PSI/J has no word for.
        """
        self._run_command(["scancel", *checked_ids(batch_job_ids)])

    # ---- PSI/J's hooks ---------------------------------------------------------------------------------------------

    def generate_submit_script(self, job: Job, context: dict[str, object], submit_file: IO[str]) -> None:
        """Write the batch script."""
        submit_file.write(batch_script(order_of(job)))

    def get_submit_command(self, job: Job, submit_file_path: Path) -> list[str]:
        """Return sbatch's command line."""
        return ["sbatch", "--parsable", *sbatch_arguments(order_of(job), time.time()), str(submit_file_path.absolute())]

    def get_cancel_command(self, native_id: str) -> list[str]:
        """Return scancel's command line."""
        return ["scancel", native_id]

    def _run_command(self, cmd: list[str]) -> str:
        """Run sbatch or scancel with a time limit, which PSI/J has none of, and judge the answer."""
        answer = self._run(cmd)
        if cmd[0] == "sbatch":
            name = next(option.partition("=")[2] for option in cmd if option.startswith("--job-name="))
            judge_submission(name, answer)
            return batch_job_id(name, answer)
        answer.expect_done(_OVER)
        return answer.stdout
