"""The adapter to a scheduler that is reached through PSI/J alone: pilots in and out, and hints about them.

It sees no nodes and no prime jobs, and says so (`knowledge`). What it says of pilots' states are hints: PSI/J's way of
asking differs by executor and may fail. Decides nothing, and remembers nothing that the store does not know.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from harvester.domain.cluster.knowledge import Knowledge
from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot, Partition
from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.psij.carrier import PsijSite
from harvester_adapters.psij.environment import asking, exported
from harvester_adapters.psij.executors import KINDS

_WHOLE_MINUTES = timedelta(minutes=1)


class PsijAdapter:
    """The port `SchedulerAdapter` on one of PSI/J's executors. Raises `SchedulerAbsent` where that cannot be made.

    Parameters
    ----------
    queues: those that pilots are submitted to; nothing tells which others there are.
    preemptible: whether pilots are evicted from them, by the site's word.
    grace: between the signal to leave and the kill, by the site's word.
    timeout: how long a look, a submission or a cancellation may take before it is given up.
    """

    def __init__(
        self,
        site: PsijSite,
        *,
        queues: Sequence[str],
        preemptible: bool,
        grace: timedelta = timedelta(0),
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        kind = KINDS[site.executor]
        self.knowledge: Knowledge = kind.knowledge()
        self._title = f"{site.executor} through PSI/J"
        self._partitions = tuple(
            Partition(name=name, grace_time=grace, is_preemptible=preemptible) for name in dict.fromkeys(queues)
        )
        self._run = SchedulerCommands(
            timeout=timeout, asking=lambda: asking(kind.exports), exported=exported(kind.exports, site.export)
        )
        self._carrier = kind.make(site, self._run)

    @property
    def commands(self) -> int:
        """How many commands have been sent to the scheduler so far."""
        return self._run.count

    def snapshot(self) -> ClusterSnapshot:
        """Return our batch jobs where the executor can list them. Raises `SchedulerUnavailable`."""
        taken_at = time.time()
        return ClusterSnapshot(
            taken_at=taken_at,
            scheduler=self._title,
            nodes=(),
            batch_jobs=self._carrier.listed(),
            partitions=self._partitions,
            grain=_WHOLE_MINUTES,
            knowledge=self.knowledge,
        )

    def glance(self) -> tuple[BatchJob, ...]:
        """Return our batch jobs, as in a snapshot; no others are seen. Raises `SchedulerUnavailable`."""
        return self._carrier.listed()

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what is said of batch jobs that the last snapshot did not show, ended or not.

        Raises `SchedulerUnavailable`.
        """
        return self._carrier.hints(batch_job_ids) if batch_job_ids else ()

    def submit(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id. Raises `SubmissionRejected` or `SchedulerUnavailable`."""
        return self._carrier.submit_pilot(order)

    def cancel(self, *batch_job_ids: str) -> None:
        """Ask for the end of batch jobs; those that are over are no error. Raises `SchedulerUnavailable`."""
        if batch_job_ids:
            self._carrier.cancel_pilots(batch_job_ids)

    def hold(self, *batch_job_ids: str) -> None:
        """Do nothing: PSI/J has no word for it. A pilot that starts meanwhile is evicted as any other."""

    def release(self, *batch_job_ids: str) -> None:
        """Do nothing: nothing was held."""

    def close(self) -> None:
        """Nothing to let go."""
