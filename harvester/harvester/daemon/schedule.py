"""The daemon's schedule: APScheduler's, with intervals that go by the monotonic clock.

Owns the thread in which all of the daemon's work is done, so that nothing in the daemon is locked. Knows nothing of
that work. APScheduler runs a job when the wall clock has reached its next run: set back an hour, it would run nothing
for an hour. So the job store here keeps how long it is until the next run, and not when that is.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.debug import DebugExecutor
from apscheduler.job import Job
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

# It logs two lines for each run at INFO: the daemon ticks up to ten times a second.
logging.getLogger("apscheduler").setLevel(logging.WARNING)

_JITTER = 0.1  # of the interval, either way: harvesters of one site must not ask the controller in the same moment


class SteadyJobStore(MemoryJobStore):  # type: ignore[misc]  # APScheduler 3 has no types
    """Jobs that are due by the monotonic clock, wherever the wall clock has been set meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._due_at: dict[str, float] = {}  # monotonic seconds, by job
        self._now, self._at = datetime.now(UTC), time.monotonic()  # the two clocks when jobs were last asked for

    def add_job(self, job: Job) -> None:
        """Keep a new job."""
        super().add_job(job)
        self._now, self._at = datetime.now(UTC), time.monotonic()
        self._expect(job)

    def update_job(self, job: Job) -> None:
        """Keep a job whose next run has changed."""
        super().update_job(job)
        self._expect(job)

    def remove_job(self, job_id: str) -> None:
        """Drop a job."""
        super().remove_job(job_id)
        del self._due_at[job_id]

    def get_due_jobs(self, now: datetime) -> list[Job]:
        """Return the jobs to run, each with `now` as its time: the scheduler runs nothing that is later than that."""
        self._now, self._at = now, time.monotonic()
        due = [job for job in self.get_all_jobs() if self._due_at[job.id] <= self._at]
        for job in due:
            job.next_run_time = now
        return due

    def get_next_run_time(self) -> datetime | None:
        """Return when the next job is due, by the wall clock as it is now."""
        left_s = min(self._due_at.values(), default=math.inf) - time.monotonic()
        return None if math.isinf(left_s) else datetime.now(UTC) + timedelta(seconds=max(0.0, left_s))

    def _expect(self, job: Job) -> None:
        # The trigger has added the interval to the time that the scheduler knows, and the clock may be another by now.
        left_s = math.inf if job.next_run_time is None else (job.next_run_time - self._now).total_seconds()
        self._due_at[job.id] = self._at + left_s


class DaemonSchedule:
    """Runs calls at intervals, one at a time, in one thread.

    A call that takes longer than its interval is followed by the next at once. What a call raises is logged.
    """

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            jobstores={"default": SteadyJobStore()},
            executors={"default": DebugExecutor()},  # in the scheduler's own thread
            job_defaults={"coalesce": True, "misfire_grace_time": None},
            timezone=UTC,
        )

    def every(self, interval: timedelta, call: Callable[[], object]) -> None:
        """Have `call` run at the start, and then at an interval."""
        seconds = interval.total_seconds()
        self._scheduler.add_job(
            call,
            "interval",
            seconds=seconds * (1 - _JITTER),
            jitter=seconds * 2 * _JITTER,
            next_run_time=datetime.now(UTC),
        )

    def start(self) -> None:
        """Start the thread."""
        self._scheduler.start()

    def stop(self) -> None:
        """Finish the call that runs, then run no more."""
        self._scheduler.shutdown()
