"""LSF: bsub's options, and what bjobs says, by PSI/J's LSF executor.

Reads bjobs' JSON itself: PSI/J 0.9.11 fails on a batch job that has a reason for its end, and loses all others with it.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, ClassVar

from packaging.version import Version
from psij import Job
from psij.executors.batch.lsf import LsfJobExecutor

from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester_adapters.psij.batch import BatchPilots, hint, minutes
from harvester_adapters.scheduler_command import CommandResult

_STATES = {
    "PEND": BatchState.PENDING,
    "PROV": BatchState.PENDING,
    "PSUSP": BatchState.PENDING,
    "WAIT": BatchState.PENDING,
    "RUN": BatchState.RUNNING,
    "USUSP": BatchState.SUSPENDED,
    "SSUSP": BatchState.SUSPENDED,
    "DONE": BatchState.COMPLETED,
    "EXIT": BatchState.FAILED,
}
"""UNKWN and ZOMBI are missing: LSF has lost sight of the host then, and nothing is known."""

_NONE = re.compile(r"no (unfinished |matching )?job", re.IGNORECASE)
_FIELDS = "JOBID STAT JOB_NAME EXIT_REASON"


class LsfPilots(BatchPilots, LsfJobExecutor):
    """PSI/J's LSF executor for pilots."""

    _NAME_ = "lsf-pilots"
    _VERSION_ = Version("1.0.0")
    ID_VARIABLE: ClassVar = "LSB_JOBID"
    OVER: ClassVar = re.compile(r"no matching job|already finished|is not found", re.IGNORECASE)

    def submit_program(self) -> list[str]:
        """Return bsub."""
        return ["bsub"]

    def account(self, name: str) -> list[str]:
        """Return the options that name a project."""
        return ["-P", name]

    def options(self, order: PilotOrder) -> list[str]:
        """Return bsub's options: all slots on one host, and never started a second time by itself."""
        resources = order.resources
        found = ["-J", order.name, "-q", order.partition, "-n", str(resources.cpus), "-R", "span[hosts=1]"]
        found += ["-W", f"{minutes(order) // 60}:{minutes(order) % 60:02}", "-rn", "-o", "/dev/null", "-e", "/dev/null"]
        if resources.memory_mb:
            found += ["-M", f"{resources.memory_mb}MB"]
        if resources.gpus:
            found += ["-gpu", f"num={resources.gpus}"]
        return found

    def get_submit_command(self, job: Job, submit_file_path: Path) -> list[str]:
        """Return the command line; what follows bsub's options is a shell's to read."""
        *words, script = super().get_submit_command(job, submit_file_path)
        return [*words, shlex.quote(script)]

    def id_in(self, out: str) -> str:
        """Return the id in `Job <7> is submitted to queue <q>.`"""
        return LsfJobExecutor.job_id_from_submit_output(self, out)

    def get_status_command(self, native_ids: Any) -> list[str]:  # noqa: ANN401 - as PSI/J has it
        """Return the question for batch jobs, ended ones too."""
        return ["bjobs", "-json", "-a", "-o", _FIELDS, *native_ids]

    def read_states(self, answer: CommandResult) -> tuple[BatchJob, ...]:
        """Return what is said of batch jobs; raises anything where it cannot be read."""
        return _batch_jobs(answer)

    def listed(self) -> tuple[BatchJob, ...]:
        """Return our batch jobs that have not ended. Raises `SchedulerUnavailable`."""
        question = ["bjobs", "-json", "-o", _FIELDS, "-J", "hv-*"]
        answer = self._commands.answer(question, self._commands.give_up_at())
        try:
            return tuple(batch for batch in _batch_jobs(answer) if not batch.state.is_ended)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            words = f"bjobs answered in words that cannot be read ({error!r}): {answer.words[:200]}"
            raise SchedulerUnavailable(words) from error


def _batch_jobs(answer: CommandResult) -> tuple[BatchJob, ...]:
    """Return the batch jobs in the JSON of bjobs, which goes with any exit code."""
    if not answer.stdout.strip() and (_NONE.search(answer.words) or not (answer.exit_code or answer.words)):
        return ()
    if not answer.stdout.strip():
        answer.expect_success()
    records = json.loads(answer.stdout, strict=False)["RECORDS"]
    return tuple(
        hint(
            str(record["JOBID"]),
            _STATES.get(record["STAT"], BatchState.UNKNOWN),
            name=record.get("JOB_NAME", ""),
            reason=record.get("EXIT_REASON", ""),
        )
        for record in records
        if "ERROR" not in record
    )
