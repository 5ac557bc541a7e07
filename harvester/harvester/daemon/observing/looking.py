"""Looking: the daemon's eyes. It asks the scheduler, within its budget, and backs off while nobody answers.

Owns when it was looked and what it cost. What a look means is the daemon's; when one is due is `domain.looks`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from msgspec.structs import replace

from harvester.domain.cluster.ports import SchedulerAdapter, SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester.domain.supervision.backoff import ANSWERS, CLEAR, URGENT
from harvester.domain.supervision.looks import Facts, Look, LookSettings, LookState, Sight, sight, wanted
from harvester.store.records import PilotRecord

log = logging.getLogger(__name__)


class Looking:
    """Looks at the cluster.

    Parameters
    ----------
    clock: returns Unix seconds.
    """

    def __init__(self, settings: LookSettings, adapter: SchedulerAdapter, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._adapter = adapter
        self._clock = clock
        self._answers = CLEAR
        self._pace = LookState()
        self._seen = Sight()
        self._counted = 0
        self._sent: list[tuple[float, int]] = []  # commands of the last minute: when, and how many
        self.trouble = ""  # why nothing is answered; empty while it is
        self._seen_at = 0.0  # when something was answered last; 0 before the first answer

    @property
    def looked_at(self) -> float:
        """When it last looked; 0 before the first look."""
        return self._pace.looked_at or 0.0

    def alive_at(self, now: float) -> float:
        """Return when it could last have taken a node back: where nobody else does, only a daemon that sees can."""
        return now if self._settings.glance is None else min(now, self._seen_at or now)

    def again_at(self, now: float, is_contended: bool) -> float | None:
        """Return when to see whether the nodes that pilots have left are free, and the prime job runs."""
        glance = self._settings.glance
        return None if glance is None or not is_contended else now + max(2.0, glance.total_seconds())

    def due(self, facts: Facts, now: float) -> Look | None:
        """Return the look to take now; None while none is due, or the scheduler is left alone."""
        self._count(now)
        self.trouble = "" if self.allows(now) else self._answers.reason
        return None if self.trouble else wanted(self._pace, facts, self._settings, now)

    def allows(self, now: float) -> bool:
        """Return whether the scheduler may be asked: after it has not answered, it is left alone for a while."""
        return self._answers.allows(now)

    def full(self, pilots: Collection[PilotRecord], facts: Facts) -> ClusterSnapshot | None:
        """Look at nodes and batch jobs; ask what became of those of `pilots` that are not there any more.

        None where the scheduler does not answer: that proves nothing.
        """
        before = self._pace
        # First, so that a defect in what follows cannot have us look again at every tick.
        self._pace = before.looked(facts, self._clock(), due_at=None)
        try:
            snapshot = self._adapter.snapshot()
            known = {batch.batch_job_id for batch in snapshot.batch_jobs}
            gone = [pilot.batch_job_id for pilot in pilots if pilot.batch_job_id and pilot.batch_job_id not in known]
            if gone:
                snapshot = replace(snapshot, batch_jobs=(*snapshot.batch_jobs, *self._adapter.ended(gone)))
        except SchedulerUnavailable as error:
            self._pace = before
            self.unanswered(error)
            return None
        if self._answers.failures:
            log.warning("daemon.observe: the scheduler answers again after %d failures", self._answers.failures)
        self._answers = CLEAR
        self._seen_at = self._clock()
        if before.looked_at is None:
            # What the start costs is not saved for: what becomes of the first pilots is told soon, or why they fail.
            self._count(self._seen_at)
            self._pace = replace(self._pace, bucket=None)
        return snapshot

    def glance(self, ours: Collection[str]) -> bool:
        """Look at what pends and runs; tell whether a full look is needed. `ours`: names of our batch jobs."""
        self._pace = self._pace.glanced(self._clock())
        try:
            seen = sight(self._adapter.glance(), ours)
        except SchedulerUnavailable as error:
            self.unanswered(error)
            return False
        self._seen_at = self._clock()
        return seen.asks_for_a_look(self._seen)

    def ended(self, batch_job_ids: Iterable[str]) -> tuple[BatchJob, ...]:
        """Ask what became of batch jobs."""
        try:
            return self._adapter.ended(list(batch_job_ids))
        except SchedulerUnavailable as error:
            self.unanswered(error)
            return ()

    def expect(self, snapshot: ClusterSnapshot, *, ours: Collection[str], due: Iterable[float | None]) -> None:
        """Remember what a full look showed, and when the next one is wanted: by the first of `due`."""
        self._seen = sight(snapshot.batch_jobs, ours)
        self._pace = replace(self._pace, due_at=min((at for at in due if at is not None), default=None))

    def unanswered(self, error: SchedulerUnavailable) -> None:
        """Back off."""
        # By the clock, not by the tick's beginning: the look may have lasted for its whole timeout.
        ladder = ANSWERS if self._settings.glance is None else URGENT
        self._answers = self._answers.failed(ladder, f"the scheduler does not answer: {error}", self._clock())
        log.warning("daemon.observe: the scheduler does not answer: %s", error)
        self.trouble = self._answers.reason

    def per_minute(self, now: float) -> int:
        """Return how many commands were sent to the scheduler within the last minute."""
        self._count(now)
        return sum(count for _, count in self._sent)

    def _count(self, now: float) -> None:
        total = self._adapter.commands
        fresh, self._counted = total - self._counted, total
        self._pace = self._pace.spent(fresh, now, self._settings)
        if fresh:
            self._sent.append((now, fresh))
        self._sent = [(at, count) for at, count in self._sent if now - at < 60]
