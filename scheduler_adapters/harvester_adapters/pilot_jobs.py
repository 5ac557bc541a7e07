"""Pilots as PSI/J's jobs: what every batch executor of PSI/J needs to carry one.

Of PSI/J the adapters take the way of a submission. Its own idea of a batch job's state is switched off here, because
it takes a preempted or a missing batch job for a failed or completed one and has no time limit: snapshots tell the
states. Knows no scheduler.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from psij import Job, JobAttributes, JobSpec
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor

from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable


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
