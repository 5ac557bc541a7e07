"""Pilots through an executor of PSI/J that runs no commands, as Flux's, which calls Flux's own Python package.

Owns its time limits: such a call cannot be killed, so it is left behind in its thread and counts as unanswered. While
many are left behind nothing more is asked, so that nothing is done later that was given up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import TypeVar

from psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, ResourceSpecV1

from harvester.domain.cluster.ports import (
    PilotOrder,
    SchedulerAbsent,
    SchedulerError,
    SchedulerUnavailable,
    SubmissionRejected,
    SubmissionUnsent,
)
from harvester.domain.cluster.snapshot import BatchJob
from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.psij.batch import hint, state_of
from harvester_adapters.psij.carrier import PsijSite
from harvester_adapters.psij.environment import exported, values

log = logging.getLogger(__name__)
T = TypeVar("T")
_MOST_CALLS = 4  # at a time, those that are not answered among them


def flux_pilots(site: PsijSite, commands: SchedulerCommands) -> DirectPilots:
    """Return what carries pilots through Flux. Raises `SchedulerAbsent` where Flux's Python package is missing."""
    try:
        import flux  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - of the Flux that runs here, not of PyPI
    except ImportError as error:
        words = f"PSI/J reaches Flux by Flux's own Python package, which this Python has not ({error})"
        raise SchedulerAbsent(f"{words}; run harvester with the Python that Flux was built for") from error
    environment = values(exported(("FLUX_",), site.export))
    make = partial(JobExecutor.get_instance, "flux")
    return DirectPilots("flux", make, environment=environment, timeout=commands.timeout)


class _Unknown(SchedulerError):
    """The executor says that it does not know a batch job."""


class _NotAsked(SchedulerUnavailable):
    """Too many calls are not answered, so this one was not made."""


class DirectPilots:
    """Carries pilots through an executor that runs no commands.

    Parameters
    ----------
    name: PSI/J's name for the executor.
    make: makes it; it is kept for good.
    environment: all that a pilot gets; the executor hands on nothing.
    timeout: for one call.
    """

    def __init__(
        self, name: str, make: Callable[[], JobExecutor], *, environment: Mapping[str, str], timeout: timedelta
    ) -> None:
        self._name = name
        self._environment = dict(environment)
        self._timeout = timeout
        self._free = threading.BoundedSemaphore(_MOST_CALLS)
        self._executor = self._in_time(make, "its start")
        self._jobs: dict[str, Job] = {}  # that this process has submitted or asked about

    def submit_pilot(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises as `SchedulerAdapter.submit` does."""
        job = self._job(order)
        try:
            self._in_time(lambda: self._executor.submit(job), f"the submission of {order.name}", SubmissionRejected)
        except _NotAsked as error:
            raise SubmissionUnsent(str(error)) from error
        # The id comes by a callback, with the word that the batch job is in the queue.
        known = [JobState.QUEUED, JobState.ACTIVE, JobState.COMPLETED, JobState.FAILED, JobState.CANCELED]
        status = job.wait(timeout=self._timeout, target_states=known)
        if status is None:
            raise SchedulerUnavailable(f"{self._name} told no id of {order.name} in time; it may exist")
        if job.native_id is None:
            raise SubmissionRejected(f"{self._name} refused {order.name}: {status.message or status.state}")
        batch_job_id = str(job.native_id)
        self._jobs[batch_job_id] = job
        return batch_job_id

    def cancel_pilots(self, batch_job_ids: Sequence[str]) -> None:
        """Cancel batch jobs. Raises `SchedulerUnavailable`."""
        for batch_job_id in batch_job_ids:
            job = self._known(batch_job_id)
            if job is not None and not job.status.final:
                self._in_time(partial(self._executor.cancel, job), f"the cancellation of {batch_job_id}")

    def hints(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what PSI/J has heard of batch jobs."""
        asked = {batch_job_id: self._known(batch_job_id) for batch_job_id in batch_job_ids}
        self._jobs = {batch_job_id: job for batch_job_id, job in asked.items() if job is not None}
        return tuple(hint(batch_job_id, state_of(job.status.state)) for batch_job_id, job in self._jobs.items())

    def listed(self) -> tuple[BatchJob, ...]:
        """Return nothing: PSI/J lists ids without names."""
        return ()

    def _job(self, order: PilotOrder) -> Job:
        resources = order.resources
        return Job(
            JobSpec(
                # The executor has no word for an environment, or hands on the daemon's own.
                executable="/usr/bin/env",
                arguments=["-i", *(f"{name}={value}" for name, value in self._environment.items()), *order.command],
                directory=order.output.parent,
                stdout_path=order.output,
                stderr_path=order.output,
                resources=ResourceSpecV1(
                    process_count=1, cpu_cores_per_process=resources.cpus, gpu_cores_per_process=resources.gpus
                ),
                attributes=JobAttributes(duration=order.walltime, queue_name=order.partition),
            )
        )

    def _known(self, batch_job_id: str) -> Job | None:
        """Return the job of an id; one of an earlier process is attached. None where that is refused."""
        found = self._jobs.get(batch_job_id)
        if found is not None:
            return found
        job = Job()
        try:
            self._in_time(lambda: self._executor.attach(job, batch_job_id), f"the word on {batch_job_id}", _Unknown)
        except _Unknown as error:
            log.info("psij.attach batch_job=%s: %s", batch_job_id, error)
            return None
        self._jobs[batch_job_id] = job
        return job

    def _in_time(self, call: Callable[[], T], what: str, failure: type[SchedulerError] = SchedulerUnavailable) -> T:
        """Return what a call returns. Raises `SchedulerUnavailable` where it takes too long, else `failure`."""
        give_up_at = time.monotonic() + self._timeout.total_seconds()
        if not self._free.acquire(timeout=self._timeout.total_seconds()):
            raise _NotAsked(f"{self._name}: {what} was not tried: {_MOST_CALLS} calls before it are not answered yet")
        answer: Future[T] = Future()
        # A daemon: Python waits at its end for the threads of an executor, however long they hang.
        threading.Thread(target=self._perform, args=(call, answer), name=f"psij-{self._name}", daemon=True).start()
        try:
            return answer.result(max(0.0, give_up_at - time.monotonic()))
        except TimeoutError as error:
            raise SchedulerUnavailable(f"{self._name}: {what} was not answered in time") from error
        except Exception as error:  # whatever the executor's package raises
            raise failure(f"{self._name}: {what} failed: {error}") from error

    def _perform(self, call: Callable[[], T], answer: Future[T]) -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is waited for
            answer.set_exception(error)
        finally:
            self._free.release()
