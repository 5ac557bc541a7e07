"""Pilots through one of PSI/J's batch executors: the script, the judgement of answers, and hints about states.

Owns what those executors have in common. Options are on the command line and not in the script: bsub reads those in a
script only where a site has switched that on. The script stays in the pilot's folder, because some of these schedulers
run it from where it is. Of PSI/J's reading of states nothing is believed but what it says of a batch job that it names.
"""

from __future__ import annotations

import logging
import math
import re
import shlex
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from psij import Job, JobState, SubmitException
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutorConfig

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.pilot_jobs import PilotSubmission, judge_failure, order_of, without_id
from harvester_adapters.psij.carrier import PsijSite
from harvester_adapters.scheduler_command import CommandResult

log = logging.getLogger(__name__)

# Words for "no answer" as against "no". The batch job may exist nevertheless.
_NO_CONTACT = re.compile(
    r"cannot connect|can't connect|connection|communication|time[- ]?out|timed out|not respond|unreachable|no route"
    r"|try (again )?later|please wait|is down|library call|temporar|no permission to .* server|protocol",
    re.IGNORECASE,
)
# Of these, those after which it surely does not exist: it never reached the scheduler.
_UNSENT = re.compile(
    r"cannot connect|can't connect|connection refused|no route|job not submitted|pbsconf", re.IGNORECASE
)
_STATES = {
    JobState.NEW: BatchState.UNKNOWN,
    JobState.QUEUED: BatchState.PENDING,
    JobState.ACTIVE: BatchState.RUNNING,
    JobState.COMPLETED: BatchState.COMPLETED,
    JobState.FAILED: BatchState.FAILED,
    JobState.CANCELED: BatchState.CANCELLED,
}


def hint(batch_job_id: str, state: BatchState, *, name: str = "", reason: str = "") -> BatchJob:
    """Return what little is known of a batch job of ours."""
    return BatchJob(batch_job_id=batch_job_id, name=name, user="", partition="", state=state, reason=reason)


def state_of(state: JobState) -> BatchState:
    """Return PSI/J's word as ours."""
    return _STATES.get(state, BatchState.UNKNOWN)


def minutes(order: PilotOrder) -> int:
    """Return a pilot's walltime in whole minutes, rounded up: PSI/J cuts the seconds off, and the pilot counts them."""
    return max(1, math.ceil(order.walltime.total_seconds() / 60))


def clock(order: PilotOrder) -> str:
    """Return a pilot's walltime as hours, minutes and seconds."""
    return f"{minutes(order) // 60}:{minutes(order) % 60:02}:00"


def batch_script(order: PilotOrder, id_variable: str) -> str:
    """Return the script; `exec` makes the pilot the process that the scheduler started.

    The pilot tells its batch job's id: where the answer to a submission was lost, nobody else may know it.
    """
    return (
        "#!/bin/bash\n"
        f'export HARVESTER_BATCH_JOB_ID="${{{id_variable}:-}}"\n'
        f"cd {shlex.quote(str(order.output.parent))} && exec >>{shlex.quote(str(order.output))} 2>&1 </dev/null\n"
        f"exec {shlex.join(order.command)}\n"
    )


class BatchPilots(PilotSubmission):
    """What carries pilots through a batch executor; PSI/J's own class comes after it among the bases."""

    ID: ClassVar = re.compile(r"\d+")  # what a whole id looks like
    ID_VARIABLE: ClassVar[str]  # in which a batch job finds its own
    OVER: ClassVar = re.compile(r"unknown job|no matching job|already (finish|exit|complet)|not found", re.IGNORECASE)

    def __init__(self, site: PsijSite, commands: SchedulerCommands) -> None:
        self._site = site
        self._commands = commands
        self._order: PilotOrder | None = None  # that is being submitted
        self._is_readable = True  # whether the last answer about states could be read
        super().__init__(url=None, config=BatchSchedulerExecutorConfig(work_directory=site.work_dir))

    @abstractmethod
    def options(self, order: PilotOrder) -> list[str]:
        """Return the options of the submit command."""

    def submit_pilot(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises as `SchedulerAdapter.submit` does."""
        self._order = order
        try:
            return super().submit_pilot(order)
        finally:
            self._order = None

    def cancel_pilots(self, batch_job_ids: Sequence[str]) -> None:
        """Cancel batch jobs, in one command. Raises `SchedulerUnavailable`."""
        first, *others = self._checked(batch_job_ids)
        self._commands.act([*self.get_cancel_command(first), *others]).expect_done(self.OVER)

    def hints(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what the scheduler says of batch jobs. Raises `SchedulerUnavailable`."""
        question = self.get_status_command(self._checked(batch_job_ids))
        answer = self._commands.answer(question, self._commands.give_up_at())
        try:
            found = self.read_states(answer)
        except Exception as error:  # noqa: BLE001 - PSI/J's readers assert and index; whatever it is, nothing is known
            if self._is_readable:
                log.warning(
                    "psij.hints: the answer of %s cannot be read (%s: %s)", question[0], type(error).__name__, error
                )
            self._is_readable = False
            return ()
        self._is_readable = True
        return found

    def listed(self) -> tuple[BatchJob, ...]:
        """Return nothing: most of these cannot list batch jobs with whole names."""
        return ()

    def read_states(self, answer: CommandResult) -> tuple[BatchJob, ...]:
        """Return the batch jobs in the answer to `get_status_command`; raises anything where it cannot be read."""
        found = self.parse_status_output(answer.exit_code, answer.stdout)
        return tuple(hint(batch_job_id, state_of(status.state)) for batch_job_id, status in found.items())

    def _checked(self, batch_job_ids: Sequence[str]) -> list[str]:
        for batch_job_id in batch_job_ids:
            if not self.ID.fullmatch(batch_job_id):  # it could be an option of a command
                raise ValueError(f"{batch_job_id!r} is not the id of a batch job of {self._site.executor}")
        return list(batch_job_ids)

    # ---- PSI/J's hooks

    def generate_submit_script(self, job: Job, context: dict[str, object], submit_file: IO[str]) -> None:
        """Write the batch script."""
        submit_file.write(batch_script(order_of(job), self.ID_VARIABLE))

    def get_submit_command(self, job: Job, submit_file_path: Path) -> list[str]:
        """Return the command line, with the script where it stays as long as the pilot's folder."""
        order = order_of(job)
        script = order.output.parent / "pilot.sh"
        script.write_bytes(submit_file_path.read_bytes())
        script.chmod(0o700)
        account = self.account(order.account) if order.account else []
        return [*self.submit_program(), *self.options(order), *account, *self._site.options, str(script)]

    def submit_program(self) -> list[str]:
        """Return the submit command without its options."""
        return ["qsub"]

    def account(self, name: str) -> list[str]:
        """Return the options that name an account."""
        return ["-A", name]

    def _run_command(self, cmd: list[str]) -> str:
        """Run the submit command with a time limit, which PSI/J has none of, and return the batch job id."""
        answer = self._commands.act(cmd)
        name = self._order.name if self._order is not None else "a pilot"
        judge_failure(answer, name, no_contact=_NO_CONTACT, unsent=_UNSENT)
        try:
            found = self.id_in(answer.stdout)
        except (SubmitException, IndexError):
            found = ""
        if not self.ID.fullmatch(found):
            raise without_id(answer, name)
        return found

    @abstractmethod
    def id_in(self, out: str) -> str:
        """Return the batch job id that the submit command has printed."""
