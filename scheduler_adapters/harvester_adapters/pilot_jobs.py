"""Pilots as PSI/J's jobs: what every batch executor of PSI/J needs to carry one, and what a submission's answer proves.

Of PSI/J the adapters take the way of a submission. Its own idea of a batch job's state is switched off here, because
it takes a preempted or a missing batch job for a failed or completed one and has no time limit: snapshots tell the
states. Knows no scheduler.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from psij import Job, JobAttributes, JobSpec
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor

from harvester.domain.cluster.ports import (
    LimitReached,
    PilotOrder,
    SchedulerUnavailable,
    SubmissionRejected,
    SubmissionUnsent,
)
from harvester_adapters.scheduler_command import CommandResult

_NEVER = re.compile(r"(?!)")
_SHOWN = 300  # characters of an answer


class PilotJob(Job):
    """A PSI/J job that carries its order, which says more than a JobSpec can."""

    def __init__(self, order: PilotOrder, *, launcher: str) -> None:
        super().__init__(
            JobSpec(
                name=order.name,
                executable=order.command[0],
                arguments=list(order.command[1:]),
                inherit_environment=False,
                launcher=launcher,
                attributes=JobAttributes(duration=order.walltime, queue_name=order.partition),
            )
        )
        self.order = order


def order_of(job: Job) -> PilotOrder:
    """Return the order that a job carries."""
    if not isinstance(job, PilotJob):
        raise TypeError(f"{job} was not made by submit_pilot")
    return job.order


def judge_failure(
    answer: CommandResult,
    name: str,
    *,
    no_contact: re.Pattern[str],
    unsent: re.Pattern[str] = _NEVER,
    full: re.Pattern[str] = _NEVER,
) -> None:
    """Raise what a submit command that has failed deserves; do nothing where it has succeeded.

    Parameters
    ----------
    name: the pilot's.
    no_contact: the scheduler's words for "no answer" as against "no". The batch job may exist nevertheless.
    unsent: of these, the words after which it surely does not: nothing has reached the scheduler.
    full: words of a refusal that ends when another batch job of ours does.
    """
    if not answer.exit_code:
        return
    command, words = answer.argv[0], answer.words
    shown = words[:_SHOWN] or f"nothing, exit code {answer.exit_code}"
    if answer.exit_code > 0 and no_contact.search(words) and unsent.search(words):
        raise SubmissionUnsent(f"{command} reached no scheduler, so {name} was not submitted: {shown}")
    if answer.exit_code < 0 or no_contact.search(words):
        raise SchedulerUnavailable(f"{command} reached no scheduler for {name} (it may exist): {shown}")
    kind = LimitReached if full.search(words) else SubmissionRejected
    raise kind(f"{command} refused {name}: {shown}")


def without_id(answer: CommandResult, name: str) -> SchedulerUnavailable:
    """Return the error for a submit command that says that it succeeded, and tells no id that can be read."""
    said = answer.stdout.strip()[:_SHOWN]
    return SchedulerUnavailable(f"{answer.argv[0]} submitted {name} but told no id: {said!r}; look for it by its name")


class _NoPolling:
    """In the place of PSI/J's polling thread: nothing is polled, nothing is remembered."""

    def register_job(self, job: Job) -> None:
        """Do nothing."""


class PilotSubmission(BatchSchedulerExecutor):
    """What executors for pilots have in common; a scheduler's own executor of PSI/J comes after it among the bases."""

    LAUNCHER = "single"  # PSI/J's name for what starts the pilot within the batch job

    def submit_pilot(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises as `SchedulerAdapter.submit` does."""
        job = PilotJob(order, launcher=self.LAUNCHER)
        try:
            self.submit(job)
        except OSError as error:
            raise SchedulerUnavailable(f"no batch script can be written in {self.work_directory}: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                (Path(self.work_directory) / f"{job.id}.job").unlink()  # the scheduler has it by now
        return str(job.native_id)

    def _start_queue_poll_thread(self) -> Any:  # noqa: ANN401 - PSI/J's type is the thread that we replace
        return _NoPolling()

    def _create_script_context(self, job: Job) -> dict[str, object]:
        # PSI/J would deploy its launcher scripts here; the nodes may not see this folder, and need none.
        return {}

    def job_id_from_submit_output(self, out: str) -> str:
        """Return the batch job id, which `_run_command` has found already."""
        return out
