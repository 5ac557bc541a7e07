"""A scheduler adapter whose times are those of the daemon's clock, even after the machine's clock was set."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from harvester.domain.cluster.ports import PilotOrder, SchedulerAdapter
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester.domain.steady import Clock, Steady, jumped

log = logging.getLogger(__name__)


class Jumps:
    """Tells once of each jump of the machine's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.words: tuple[str, ...] = ()  # a sentence while the clocks are apart

    def look(self) -> None:
        """See whether the two clocks agree."""
        ahead_s = self._clock.ahead_s if isinstance(self._clock, Steady) else 0.0
        words = tuple(filter(None, (jumped(ahead_s),)))
        if words != self.words:
            log.warning("daemon.clock: %s", *(words or ("the machine's clock and ours agree again",)))
            self.words = words


class ByOurClock:
    """An adapter for which the wall clock and ours agree."""

    def __init__(self, adapter: SchedulerAdapter, clock: Steady) -> None:
        self._adapter, self._clock = adapter, clock
        self.cancel, self.hold, self.release, self.close = adapter.cancel, adapter.hold, adapter.release, adapter.close

    @property
    def commands(self) -> int:
        """As the adapter's."""
        return self._adapter.commands

    def snapshot(self) -> ClusterSnapshot:
        """As the adapter's, by our clock."""
        return shifted(self._adapter.snapshot(), -self._clock.ahead_s)

    def glance(self) -> tuple[BatchJob, ...]:
        """As the adapter's, by our clock."""
        by_s = -self._clock.ahead_s
        return tuple(_shifted_job(batch, by_s) for batch in self._adapter.glance())

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """As the adapter's, by our clock."""
        by_s = -self._clock.ahead_s
        return tuple(_shifted_job(batch, by_s) for batch in self._adapter.ended(batch_job_ids))

    def submit(self, order: PilotOrder) -> str:
        """As the adapter's; the order's instant is by our clock."""
        return self._adapter.submit(replace(order, end_by=_later(order.end_by, self._clock.ahead_s)))


def shifted(snapshot: ClusterSnapshot, by_s: float) -> ClusterSnapshot:
    """Return `snapshot` with every instant later by `by_s` seconds."""
    if not by_s:
        return snapshot
    return replace(
        snapshot,
        taken_at=snapshot.taken_at + by_s,
        batch_jobs=tuple(_shifted_job(batch, by_s) for batch in snapshot.batch_jobs),
        reservations=tuple(
            replace(each, start_at=each.start_at + by_s, end_at=_later(each.end_at, by_s))
            for each in snapshot.reservations
        ),
    )


def _shifted_job(batch: BatchJob, by_s: float) -> BatchJob:
    if not by_s:
        return batch
    return replace(
        batch,
        submitted_at=_later(batch.submitted_at, by_s),
        start_at=_later(batch.start_at, by_s),
        end_at=_later(batch.end_at, by_s),
        preempt_at=_later(batch.preempt_at, by_s),
    )


def _later(at: float | None, by_s: float) -> float | None:
    return None if at is None else at + by_s
