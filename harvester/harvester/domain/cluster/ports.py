"""The port to a scheduler: what the daemon asks of Slurm, PBS or the embedded local one.

Owns the protocol, the order for a pilot, and the errors whose type says who must act. An adapter observes, submits and
cancels; it decides nothing and remembers nothing that the scheduler could tell it again.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester.domain.model.resources import Resources


class SchedulerError(Exception):
    """Something between us and the scheduler went wrong."""


class SchedulerUnavailable(SchedulerError):
    """The scheduler did not answer, or not in words that we know. Try again later; conclude nothing from it."""


class SchedulerAbsent(SchedulerUnavailable):
    """There is no such command here, so nobody was asked. It may be a disk that is not mounted yet."""


class SubmissionUnsent(SchedulerUnavailable):
    """The submission did not reach the scheduler, so there is no batch job. Try again later."""


class SubmissionRejected(SchedulerError):
    """The scheduler answered, and the answer was no. Back off: the same order will be refused again."""


class LimitReached(SubmissionRejected):
    """No more for now: as many as our user, account or QOS may submit are submitted, or no node has a place for it.

    One more may be submitted when one of them has ended.
    """


class PilotOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One pilot to be submitted as one batch job on one node."""

    pilot_id: str
    name: str  # unique, so that a submission whose answer was lost is found again by its name
    partition: str
    resources: Resources
    walltime: timedelta
    command: tuple[str, ...]  # argv of the worker; holds no secret
    output: Path  # where stdout and stderr of the batch job go; its folder exists
    nice: int = 0
    account: str = ""
    qos: str = ""
    time_min: timedelta | None = None  # the scheduler may cut the walltime to this; an adapter may leave it out
    exclude: tuple[str, ...] = ()  # nodes that it must not run on
    node: str = ""  # the only node that it may run on; empty: any
    end_by: float | None = None  # Unix seconds: it is not started any more where it could end later


class AdapterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the adapter of another package is made with. A `ValueError` from it refuses its `options`."""

    folder: Path  # for what it keeps; made when it is needed
    timeout: timedelta  # for one look, one submission, one cancellation
    options: Mapping[str, Any] = {}  # the table `[scheduler.options]` of the configuration, unchecked


class SchedulerAdapter(Protocol):
    """What we ask of a scheduler. All verbs block, none for longer than its own timeout; call them from a thread."""

    @property
    def commands(self) -> int:
        """How many commands have been sent to the scheduler so far, of every kind."""
        ...

    def snapshot(self) -> ClusterSnapshot:
        """Look at the nodes and at the batch jobs that have not ended. Raises `SchedulerUnavailable`."""
        ...

    def glance(self) -> tuple[BatchJob, ...]:
        """Return everybody's batch jobs that have not ended: the cheapest look, one command.

        Only id, name, state and what a pending one waits for need be told. Raises `SchedulerUnavailable`.
        """
        ...

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        """Return what became of batch jobs that a snapshot does not show; those that are forgotten are missing.

        Raises `SchedulerUnavailable`.
        """
        ...

    def submit(self, order: PilotOrder) -> str:
        """Submit a pilot and return its batch job id.

        Raises `SubmissionRejected` when the scheduler refuses, `SchedulerAbsent` or `SubmissionUnsent` when it surely
        has not heard of it, and `SchedulerUnavailable` when nobody knows whether the batch job exists now: look for its
        name in later snapshots before anything is resubmitted.
        """
        ...

    def cancel(self, *batch_job_ids: str) -> None:
        """Ask the scheduler to end batch jobs, in one command; those that are over already are no error.

        Raises `SchedulerUnavailable`.
        """
        ...

    def hold(self, *batch_job_ids: str) -> None:
        """Keep pending batch jobs from being started, in one command; what is not pending any more is no error.

        Raises `SchedulerUnavailable`.
        """
        ...

    def release(self, *batch_job_ids: str) -> None:
        """Let held batch jobs be started again, in one command. Raises `SchedulerUnavailable`."""
        ...

    def close(self) -> None:
        """Let go of threads and files. Pilots stay as they are."""
        ...


def knowledge_of(adapter: SchedulerAdapter) -> Knowledge:
    """Return what an adapter can tell, before it has looked: its attribute `knowledge`, or else everything.

    An adapter that knows less than everything has that attribute, and says the same in each of its snapshots.
    """
    found = getattr(adapter, "knowledge", EVERYTHING)
    return found if isinstance(found, Knowledge) else EVERYTHING
