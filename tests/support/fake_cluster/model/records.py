"""The records of the cluster model: nodes, queues, what somebody wants of them, and batch jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Phase(StrEnum):
    """Where a batch job is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDED = "ended"


class End(StrEnum):
    """How a batch job ended, or why it was told to end."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAILED = "node failed"
    NEVER_STARTED = "cancelled before it started"


@dataclass(frozen=True)
class Amount:
    """CPUs, GPUs and memory of one node, or of one batch job on one node."""

    cpus: int = 0
    gpus: int = 0
    memory_mb: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cpus + other.cpus, self.gpus + other.gpus, self.memory_mb + other.memory_mb)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.cpus - other.cpus, self.gpus - other.gpus, self.memory_mb - other.memory_mb)

    def holds(self, other: Amount) -> bool:
        """Return whether `other` fits in."""
        return self.cpus >= other.cpus and self.gpus >= other.gpus and self.memory_mb >= other.memory_mb


@dataclass
class FakeNode:
    """One node."""

    name: str
    total: Amount
    queues: tuple[str, ...]
    is_down: bool = False
    drained: str = ""  # why; empty while it is in service
    used: Amount = Amount()
    batch_jobs: set[int] = field(default_factory=set)

    @property
    def free(self) -> Amount:
        """What nobody has."""
        return self.total - self.used

    @property
    def is_in_service(self) -> bool:
        """Whether batch jobs may be started on it."""
        return not self.is_down and not self.drained


@dataclass(frozen=True)
class FakeQueue:
    """A partition of Slurm, a queue of PBS."""

    name: str
    tier: int = 1  # the higher goes first; Slurm's PriorityTier, PBS's Priority
    is_preemptible: bool = False  # whoever is in a queue of a higher tier evicts from it
    grace_s: float = 60.0  # from the first signal of an eviction to the kill (PBS: kill_delay, of every end)
    max_time_s: float | None = None
    is_default: bool = False


@dataclass(frozen=True)
class FakeReservation:
    """Nodes that somebody has for a time."""

    name: str
    nodes: tuple[str, ...]
    start_at: float
    end_at: float


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a submission asks for."""

    queue: str
    name: str = "prime"
    user: str = "alice"
    nodes: int = 1
    each: Amount = Amount(cpus=1)
    limit_s: float | None = 3600.0
    least_s: float | None = None  # the limit may be cut to this, so that it fits before a planned start
    priority: int = 0
    is_held: bool = False
    is_rerunnable: bool = True
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    end_by: float | None = None  # it leaves the queue once it could no longer end by then
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()  # of the submitting command, as PBS shows them
    output: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()


@dataclass
class Manners:
    """How the process of a batch job behaves where none is really started."""

    lasts_s: float | None = None  # it ends by itself after this; None: it stays until it is told
    leaves_s: float | None = 0.5  # from SIGTERM to its exit; None: it ignores SIGTERM
    exit_code: int = 0


@dataclass
class FakeBatchJob:
    """One batch job."""

    number: int
    wish: Wish
    submitted_at: float
    manners: Manners
    phase: Phase = Phase.PENDING
    is_held: bool = False
    limit_s: float = 0.0  # of this run; 0 before it starts
    started_at: float | None = None
    told_at: float | None = None  # when it got SIGTERM
    told_for: End | None = None  # why
    is_put_back: bool = False  # it goes back into the queue when its processes have ended
    kill_at: float | None = None
    preempt_at: float | None = None
    suspended_at: float | None = None
    gone_at: float | None = None  # its processes have ended; the nodes are freed a moment later
    ended_at: float | None = None
    end: End | None = None
    exit_code: int | None = None
    killed_by: int = 0  # the signal that ended it, where one did
    runs: int = 0
    came_back_from: End | None = None  # why it was put back into the queue, until it runs again
    nodes: tuple[str, ...] = ()
    plan_at: float | None = None  # the expected start, where the scheduler has planned one
    plan_nodes: tuple[str, ...] = ()
    waits: str = ""  # "resources", "priority" or "never"; empty before the scheduler has looked

    @property
    def end_at(self) -> float | None:
        """When its limit is reached."""
        if self.started_at is None or not self.limit_s:
            return None
        return self.started_at + self.limit_s

    @property
    def is_leaving(self) -> bool:
        """Whether it runs and was told to end."""
        return self.phase is Phase.RUNNING and self.told_at is not None

    @property
    def has_ended(self) -> bool:
        """Whether it is over for good."""
        return self.phase is Phase.ENDED


class Refused(Exception):
    """The scheduler does not take it, in words that the flavour makes its own message of."""

    def __init__(self, why: Refusal, of: str = "") -> None:
        super().__init__(f"{why.value} {of}".strip())
        self.why, self.of = why, of


class Refusal(StrEnum):
    """Why a submission, or a word about a batch job, is refused."""

    NO_SUCH_QUEUE = "no such queue"
    TOO_LARGE = "no node is large enough"
    OVER_LIMIT = "longer than the queue's limit"
    UNKNOWN = "unknown batch job"
    FINISHED = "it is over"
    NOT_PENDING = "it does not wait any more"
    QUEUE_CLOSED = "submissions are closed"
