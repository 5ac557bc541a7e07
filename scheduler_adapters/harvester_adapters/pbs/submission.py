"""Pilots into and out of PBS, through PSI/J: one long-lived executor that submits and cancels.

Owns qsub's and qdel's command lines, and the judgement of what they answer.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

import msgspec
from packaging.version import Version
from psij import Job
from psij.executors.batch.pbs import PBSJobExecutor
from psij.executors.batch.pbs_base import PBSExecutorConfig

from harvester.domain.cluster.ports import PilotOrder, SubmissionRejected
from harvester_adapters.pbs.launch import command_line
from harvester_adapters.pbs.words import checked_ids, plain_id
from harvester_adapters.pilot_jobs import PilotSubmission, judge_failure, order_of, without_id
from harvester_adapters.scheduler_command import CommandResult

# What qsub, qdel and their like are run with; PBS's own variables say where the server is. None of it reaches a pilot.
COMMANDS_NEED = ("HOME", "LOGNAME", "PATH", "USER", "PBS_CONF_FILE", "PBS_DEFAULT", "PBS_EXEC", "PBS_SERVER")
# What a pilot gets of the daemon's environment. PBS starts it with PATH=/bin:/usr/bin and without LANG.
EXPORTED = ("LANG", "PATH")

_NAME = re.compile(r"[A-Za-z0-9_+.-]{1,230}")
_LOWEST = -1024  # of qsub -p

# Words for "no answer" as against "no". With `qsub -f` nothing is submitted after such an answer, but who knows.
_NO_CONTACT = re.compile(
    r"cannot connect to server|connection (refused|timed out|reset)|no route to host|unknown host|"
    r"errno ?= ?150(10|30|31|33)|resource temporarily unavailable|response timed out|time(d)? ?out|"
    r"end of file|premature end|broken pipe|server (is )?(busy|shutting|not ready)|pbs_iff|communication|"
    r"authentication|no permission to connect|couldn't connect",
    re.IGNORECASE,
)
# Refusals that end when another batch job of ours does.
_FULL = re.compile(r"would exceed .*\blimit|limit .*reached", re.IGNORECASE)
_OVER = re.compile(r"unknown job id|job has finished|invalid (for )?state|request invalid for state", re.IGNORECASE)


class PbsSubmitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all pilots of a site are submitted with, beside what their orders say."""

    project: str = ""
    place: str = ""  # of `-l place=`: "excl", "scatter:excl"; empty: what the queue gives
    extra_select: str = ""  # added to the chunk: "Qlist=harvest:scratch=10gb"


def qsub_arguments(
    order: PilotOrder, *, options: PbsSubmitOptions, is_rerunnable: bool, environment: Mapping[str, str]
) -> list[str]:
    """Return qsub's arguments for a pilot.

    Parameters
    ----------
    is_rerunnable: PBS may put it back into the queue; where that is its only way to preempt, it must be allowed to.
    environment: what the pilot gets beyond PBS's own variables.
    """
    if not _NAME.fullmatch(order.name):
        raise SubmissionRejected(f"PBS refuses the name {order.name!r}: letters, digits and _-+. only, 230 at most")
    arguments = [
        # In the foreground: without it a helper of qsub submits later what was given up.
        "-f",
        "-N", order.name,
        "-q", order.partition,
        "-l", f"select={_chunk(order, options)}",
        *_walltime(order),
        # No output through PBS: the pilot writes its own (launch). `localhost` is the node's own to every mom, which
        # copies there by itself; to the host that submitted it would go by scp, and could hold the node for a minute.
        "-o", "localhost:/dev/null", "-e", "localhost:/dev/null",
        "-r", "y" if is_rerunnable else "n",
        "-c", "n",  # checkpointed it would wake up later elsewhere, with leases that are gone
        "-m", "n",
    ]  # fmt: skip
    if options.place:
        arguments += ["-l", f"place={options.place}"]
    if order.nice:
        arguments += ["-p", str(max(_LOWEST, -order.nice))]
    if order.account:
        arguments += ["-A", order.account]
    if options.project:
        arguments += ["-P", options.project]
    return [*arguments, "--", *command_line(order, environment)]


def _chunk(order: PilotOrder, options: PbsSubmitOptions) -> str:
    resources = order.resources
    parts = ["1", f"ncpus={resources.cpus}"]
    if resources.gpus:
        parts.append(f"ngpus={resources.gpus}")
    if resources.memory_mb:
        parts.append(f"mem={resources.memory_mb}mb")
    if order.node:
        parts.append(f"host={order.node}")
    if options.extra_select:
        parts.append(options.extra_select)
    return ":".join(parts)


def _walltime(order: PilotOrder) -> list[str]:
    if order.time_min is None:
        return ["-l", f"walltime={_seconds(order.walltime)}"]
    least, most = _seconds(order.time_min), _seconds(order.walltime)
    return ["-l", f"min_walltime={min(least, most)}", "-l", f"max_walltime={most}"]


def _seconds(length: timedelta) -> int:
    return max(1, math.ceil(length.total_seconds()))


def judge_submission(order_name: str, answer: CommandResult) -> str:
    """Return the batch job id, or raise what an unsuccessful qsub deserves."""
    judge_failure(answer, order_name, no_contact=_NO_CONTACT, full=_FULL)
    last = answer.stdout.strip().rpartition("\n")[2]
    try:
        return plain_id(last)
    except ValueError:
        raise without_id(answer, order_name) from None


def judge_change(answer: CommandResult) -> None:
    """Raise `SchedulerUnavailable` unless a qdel, qhold or qrls was done for every batch job that is not over."""
    answer.expect_done(_OVER)


class PbsPilotExecutor(PilotSubmission, PBSJobExecutor):
    """PSI/J's PBS executor for pilots.

    Parameters
    ----------
    work_dir: PSI/J writes an empty file there for each submission, which is removed at once.
    run: runs a command with a time limit; `SchedulerUnavailable` when it does not answer.
    options: what all pilots are submitted with.
    is_rerunnable: returns whether pilots in a queue may be put back into it.
    exported: the variables of this process's environment that a pilot gets.
    """

    _NAME_ = "pbs-pilots"
    _VERSION_ = Version("1.0.0")

    def __init__(
        self,
        *,
        work_dir: Path,
        run: Callable[[Sequence[str]], CommandResult],
        options: PbsSubmitOptions,
        is_rerunnable: Callable[[str], bool],
        exported: Sequence[str] = EXPORTED,
    ) -> None:
        self._run = run
        self._options = options
        self._is_rerunnable = is_rerunnable
        self._exported = tuple(exported)
        super().__init__(config=PBSExecutorConfig(work_directory=work_dir))

    def cancel_pilots(self, batch_job_ids: Sequence[str]) -> None:
        """Delete batch jobs, submitted by this process or by an earlier one. Raises `SchedulerUnavailable`.

        One qdel for all, which PSI/J has no word for. It asks with SIGTERM, and again if it is repeated.
        """
        self._run_command(["qdel", *checked_ids(tuple(batch_job_ids))])

    # ---- PSI/J's hooks ---------------------------------------------------------------------------------------------

    def generate_submit_script(self, job: Job, context: dict[str, object], submit_file: IO[str]) -> None:
        """Write nothing: the pilot's command is on qsub's command line."""

    def get_submit_command(self, job: Job, submit_file_path: Path) -> list[str]:
        """Return qsub's command line."""
        order = order_of(job)
        arguments = qsub_arguments(
            order,
            options=self._options,
            is_rerunnable=self._is_rerunnable(order.partition),
            environment={name: os.environ[name] for name in self._exported if name in os.environ},
        )
        return ["qsub", *arguments]

    def get_cancel_command(self, native_id: str) -> list[str]:
        """Return qdel's command line."""
        return ["qdel", native_id]

    def _run_command(self, cmd: list[str]) -> str:
        """Run qsub or qdel with a time limit, which PSI/J has none of, and judge the answer."""
        answer = self._run(cmd)
        if cmd[0] == "qsub":
            return judge_submission(cmd[cmd.index("-N") + 1], answer)
        judge_change(answer)
        return answer.stdout
