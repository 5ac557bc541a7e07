"""What carries pilots into and out of a scheduler through PSI/J, as the adapter sees it, and what a site says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchJob


class PsijSite(msgspec.Struct, frozen=True, kw_only=True):
    """What a site says of a scheduler that is reached through PSI/J."""

    executor: str  # a name in `KINDS`
    work_dir: Path  # where scripts lie for a moment; made when missing
    options: tuple[str, ...] = ()  # of the submit command, passed on as they are
    export: tuple[str, ...] = ()  # more variables of this process's environment that reach the pilots


class PilotCarrier(Protocol):
    """What an executor does for the adapter. Everything may raise `SchedulerUnavailable`."""

    def submit_pilot(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id; raises as `SchedulerAdapter.submit` does."""
        ...

    def cancel_pilots(self, batch_job_ids: Sequence[str]) -> None:
        """Ask for the end of batch jobs; those that are over are no error."""
        ...

    def hints(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what is said of batch jobs; of those that it says nothing of, nothing is known."""
        ...

    def listed(self) -> tuple[BatchJob, ...]:
        """Return our batch jobs that have not ended, with their names; nothing where it cannot."""
        ...
