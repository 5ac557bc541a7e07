"""The records of the embedded `local` scheduler: its nodes, its batch jobs, what it is told and what it orders.

Owns the shape of the emulated cluster's state, which is also what is kept on disk. Holds no rule (`rules`), and
knows no process and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

import msgspec

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchState
from harvester.domain.model.resources import Resources

PRIME, HARVEST = "prime", "harvest"


class BatchKind(StrEnum):
    """Whose batch job it is."""

    PILOT = "pilot"  # ours: a real process
    PRIME = "prime"  # anybody else's: emulated, it only holds nodes


class EmulatedNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node that does not exist."""

    name: str
    total: Resources


class LocalBatchJob(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job, pending, running, or ended a moment ago."""

    batch_job_id: str
    kind: BatchKind
    name: str
    node_count: int = 1
    resources: Resources = Resources()  # of a pilot; a prime batch job takes whole nodes
    walltime: timedelta
    nice: int = 0
    only_on: str = ""  # the one node that a pilot may have; empty: any
    exclude: tuple[str, ...] = ()  # nodes that it may not have
    end_by: float | None = None  # it is not started any more where it could end later
    command: tuple[str, ...] = ()
    output: str = ""
    submitted_at: float
    state: BatchState = BatchState.PENDING
    nodes: tuple[str, ...] = ()  # its allocation; of a pending prime batch job, what it has claimed
    gpu_ids: tuple[int, ...] = ()
    started_at: float | None = None
    ended_at: float | None = None
    leaving: BatchState | None = None  # told to leave; the end that it will come to
    leave_at: float | None = None  # when it was told
    kill_at: float | None = None  # when it is killed if it is still there
    is_killed: bool = False
    is_held: bool = False  # pending, and not to be started until it is released
    exit_code: int | None = None  # negative: the signal that ended it
    reason: str = ""

    @property
    def is_live(self) -> bool:
        """Whether it holds its nodes."""
        return self.state in {BatchState.RUNNING, BatchState.COMPLETING}

    @property
    def partition(self) -> str:
        """The partition it is in."""
        return PRIME if self.kind is BatchKind.PRIME else HARVEST

    @property
    def end_at(self) -> float | None:
        """When its walltime is over; None before its start."""
        return None if self.started_at is None else self.started_at + self.walltime.total_seconds()


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The whole emulated cluster at one moment. Batch jobs are in the order of their submission."""

    nodes: tuple[EmulatedNode, ...]
    grace: timedelta  # notice of an eviction
    kill_wait: timedelta = timedelta(seconds=30)  # from TERM to KILL at a cancel and at the walltime, as Slurm's
    keep_ended: timedelta = timedelta(seconds=300)  # an ended batch job stays visible, as with Slurm's MinJobAge
    next_id: int = 1
    batch_jobs: dict[str, LocalBatchJob] = {}

    @property
    def shape(self) -> str:
        """How many nodes it has, and of which kind, in words."""
        return f"{len(self.nodes)} nodes of {self.nodes[0].total}"

    def live(self, kind: BatchKind | None = None) -> Iterator[LocalBatchJob]:
        """Yield the batch jobs that hold nodes, of one kind if asked."""
        return (job for job in self.batch_jobs.values() if job.is_live and kind in {None, job.kind})


# ---- stimuli -------------------------------------------------------------------------------------------------------


class PilotRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon wants a pilot."""

    order: PilotOrder


class SubmitPrime(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants whole nodes for a time."""

    batch_job_id: str
    name: str
    nodes: int
    duration: timedelta


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants a batch job to end."""

    batch_job_id: str


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants a pending batch job held, or released."""

    batch_job_id: str
    is_held: bool


class Exited(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot's processes are all gone."""

    batch_job_id: str
    exit_code: int


class Vanished(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot's processes are gone, and nobody has recorded how; or they never came to be."""

    batch_job_id: str
    reason: str


class TakeUp(msgspec.Struct, frozen=True, kw_only=True):
    """A new scheduler process has taken up this state: what the old one ordered last may not have happened."""


class KillNow(msgspec.Struct, frozen=True, kw_only=True):
    """Patience is over: kill every pilot that is left."""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Time has passed."""


Stimulus = PilotRequest | SubmitPrime | CancelRequest | Hold | Exited | Vanished | TakeUp | KillNow | Tick


# ---- effects -------------------------------------------------------------------------------------------------------


class StartProcesses(msgspec.Struct, frozen=True, kw_only=True):
    """Start the processes of a pilot."""

    batch_job: LocalBatchJob


class Terminate(msgspec.Struct, frozen=True, kw_only=True):
    """Send SIGTERM to all processes of a pilot."""

    batch_job_id: str


class KillProcesses(msgspec.Struct, frozen=True, kw_only=True):
    """Send SIGKILL to all processes of a pilot."""

    batch_job_id: str


class ForgetBatchJob(msgspec.Struct, frozen=True, kw_only=True):
    """Remove what is left of a batch job that ended long ago."""

    batch_job_id: str


Effect = StartProcesses | Terminate | KillProcesses | ForgetBatchJob
