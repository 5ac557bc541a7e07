"""What an adapter may tell of its site beyond a look: the optional port behind `harvester check` and `init`.

An adapter without it is checked with what every snapshot shows.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.fitness.findings import Finding


class HearsBy(StrEnum):
    """What a pilot must be so that it hears at once that it has to leave."""

    STEP = "a step of its batch job"  # Slurm signals the steps first
    SESSION_LEADER = "the leader of its session"  # PBS: the batch job ends when its session is empty
    PROCESS = "a process"  # whatever it is


class SiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler told of its site."""

    source: str  # what snapshots are read from: "squeue and scontrol"
    hears_by: HearsBy = HearsBy.PROCESS
    clock_offset_s: float | None = None  # the controller's clock minus ours; None: it does not tell its time
    hides_batch_jobs: bool = False  # those of other users
    qos: tuple[str, ...] = ()  # where QOSs decide who is evicted: those of the user that others evict
    cycle: timedelta | None = None  # from one look of the scheduler at its queue to the next; None: it does not tell
    findings: tuple[Finding, ...] = ()  # in this scheduler's own words


@runtime_checkable
class SiteTeller(Protocol):
    """What tells of a site. Both verbs block, none for longer than its own timeout."""

    def site(self) -> SiteFacts:
        """Ask the scheduler about itself. Raises `SchedulerUnavailable`."""
        ...

    def rehearse(self, order: PilotOrder) -> str | None:
        """Let the scheduler judge a submission without making it, and return its words; None where it cannot.

        Raises `SubmissionRejected` where it would refuse, `SchedulerUnavailable` where it does not answer.
        """
        ...
