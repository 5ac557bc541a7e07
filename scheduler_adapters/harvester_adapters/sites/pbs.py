"""What a PBS tells of its site: asked with commands that change nothing.

Owns the commands. What they print is read by `pbs_findings`. PBS has no way to judge a submission without making it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.fitness.site_facts import HearsBy, SiteFacts
from harvester_adapters.pbs.adapter import asking
from harvester_adapters.pbs.jobs import QSTAT
from harvester_adapters.pbs.partitions import QSTAT_QUEUES
from harvester_adapters.pbs.site import LIST_SCHED, LIST_SERVER
from harvester_adapters.scheduler_command import own_name, run
from harvester_adapters.sites import pbs_findings


class PbsSite:
    """A `SiteTeller` for PBS.

    Parameters
    ----------
    source: what the adapter reads its snapshots from.
    max_pilots: how many pilots there may be at a time, to compare limits with.
    is_strict: pilots are to use windows with a known end alone.
    timeout: for each command.
    """

    def __init__(
        self, *, source: str, max_pilots: int, is_strict: bool, timeout: timedelta = timedelta(seconds=10)
    ) -> None:
        self._source = source
        self._max_pilots = max_pilots
        self._is_strict = is_strict
        self._timeout = timeout

    def site(self) -> SiteFacts:
        """Ask the server, the scheduler and the queues about themselves. Raises `SchedulerUnavailable`."""
        user = own_name()
        server = pbs_findings.server_of(self._ask(LIST_SERVER))
        scheds = pbs_findings.scheds_of(self._ask(LIST_SCHED))
        queues = pbs_findings.queues_of(self._ask(QSTAT_QUEUES))
        batch_jobs = self._ask(QSTAT)
        return SiteFacts(
            source=self._source,
            hears_by=HearsBy.SESSION_LEADER,
            hides_batch_jobs=pbs_findings.hides_batch_jobs(server, user),
            findings=(
                *pbs_findings.of_the_server(server, is_root=os.geteuid() == 0, is_strict=self._is_strict),
                *pbs_findings.of_the_scheduler(scheds),
                *pbs_findings.of_the_queues(server, queues, user, self._max_pilots),
                *pbs_findings.of_the_gpus(batch_jobs),
                *pbs_findings.not_to_be_seen(),
            ),
        )

    def rehearse(self, order: PilotOrder) -> None:
        """Judge nothing: PBS tells only at a submission; see `site`."""

    def _ask(self, argv: Sequence[str]) -> str:
        return run(argv, timeout=self._timeout, environment=asking()).expect_success()
