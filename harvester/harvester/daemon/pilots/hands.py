"""Hands: what the daemon does to pilots' batch jobs: submit, hold, release, cancel.

Every cancellation is written into the store first: one that does not get through is repeated as an orphan's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from harvester.daemon.pilots.launcher import Launcher
from harvester.daemon.pilots.pauses import Pauses
from harvester.domain.cluster.ports import LimitReached, SchedulerAdapter, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.harvest.planning import CancelPilot, SubmitPilot
from harvester.domain.model.pilots import PilotEvent
from harvester.domain.supervision.backoff import LIMITS, SUBMISSIONS
from harvester.domain.supervision.reconcile import CancelOrphan
from harvester.store.records import PilotRecord
from harvester.store.store import Store
from harvester.store.writes.changes import PilotMoved

log = logging.getLogger(__name__)

Problem = Callable[[str, Exception], None]
"""Told what went wrong, for the log and the daemon's note."""


class PilotJobs:
    """Acts on batch jobs. Nothing here raises for a scheduler that does not answer: it is told as a problem.

    Parameters
    ----------
    unanswered: told of a submission that was not answered.
    """

    def __init__(
        self,
        store: Store,
        adapter: SchedulerAdapter,
        launcher: Launcher,
        pauses: Pauses,
        *,
        clock: Callable[[], float],
        problem: Problem,
        unanswered: Callable[[SchedulerUnavailable], None],
    ) -> None:
        self._store, self._adapter, self._launcher, self._pauses = store, adapter, launcher, pauses
        self._clock, self._problem, self._unanswered = clock, problem, unanswered
        self._unsent: dict[str, None] = {}  # batch jobs to be cancelled, in order

    def submit(self, order: SubmitPilot, snapshot: ClusterSnapshot) -> PilotRecord | None:
        """Submit a pilot; None where that failed. Raises `StoreError`."""
        now = self._clock()
        try:
            record = self._launcher.launch(order, snapshot, now)
        except SubmissionRejected as error:
            ladder = LIMITS if isinstance(error, LimitReached) else SUBMISSIONS
            reason = f"the scheduler refused it: {error}"
            self._pauses.failed(order.shape, reason, planned_at=now, now=now, ladder=ladder)
            self._problem(f"a pilot of shape {order.shape} was refused", error)
        except SchedulerUnavailable as error:
            self._unanswered(error)
            self._problem("the scheduler does not answer", error)
        except OSError as error:
            self._pauses.failed(order.shape, f"its folder could not be made: {error}", planned_at=now, now=now)
            self._problem(f"the folder of a pilot of shape {order.shape} could not be made", error)
        else:
            log.info(
                "daemon.submit pilot=%s batch_job=%s length_min=%g: %s",
                record.name, record.batch_job_id, record.walltime_s / 60, order.why,
            )  # fmt: skip
            return record
        return None

    def dismiss(self, cancels: Sequence[tuple[CancelPilot, str]]) -> None:
        """Cancel pilots, each with its batch job's id, all in one command. Raises `StoreError`."""
        for cancel, _ in cancels:
            log.info("daemon.cancel pilot=%s: %s", cancel.pilot_id, cancel.why)
            self._store.move_pilot(
                PilotMoved(pilot_id=cancel.pilot_id, event=PilotEvent.CANCELLED, at=self._clock(), reason=cancel.why)
            )
        self.cancel([batch_job_id for _, batch_job_id in cancels])

    def cancel(self, batch_job_ids: Sequence[str]) -> None:
        """Ask the scheduler to end batch jobs. Those without an id were never answered: they are orphans, if at all."""
        self._unsent.update(dict.fromkeys(batch_job_id for batch_job_id in batch_job_ids if batch_job_id))
        self.cancel_again()

    def cancel_again(self) -> None:
        """Repeat the cancellations that did not get through: a prime job may wait for those pilots."""
        if self._ask(list(self._unsent), self._adapter.cancel, "could not be cancelled; it is tried again"):
            self._unsent.clear()

    @property
    def unsent(self) -> int:
        """How many batch jobs are to be cancelled still."""
        return len(self._unsent)

    def cancel_orphan(self, orphan: CancelOrphan) -> None:
        """Cancel a batch job that serves no live pilot."""
        log.warning("daemon.cancel batch_job=%s: %s", orphan.batch_job_id, orphan.reason)
        self._ask([orphan.batch_job_id], self._adapter.cancel, "could not be cancelled")

    def hold(self, batch_job_ids: Sequence[str]) -> None:
        """Keep pending batch jobs from being started."""
        self._ask(batch_job_ids, self._adapter.hold, "could not be held")

    def release(self, batch_job_ids: Sequence[str]) -> None:
        """Let held batch jobs be started again."""
        self._ask(batch_job_ids, self._adapter.release, "could not be released; it is tried again")

    def _ask(self, batch_job_ids: Sequence[str], verb: Callable[..., None], failure: str) -> bool:
        """Run one command for batch jobs; return whether the scheduler answered."""
        if not batch_job_ids:
            return True
        try:
            verb(*batch_job_ids)
        except SchedulerUnavailable as error:
            self._problem(f"batch job {', '.join(batch_job_ids)} {failure}", error)
            return False
        return True
