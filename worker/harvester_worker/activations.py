"""Activations on this pilot: their states, their deadline, and the room that they take.

    WAITING ─started─▶ RUNNING ─asked─▶ ASKED        any but WAITING ─killed─▶ KILLED ─died─▶ GONE
                         └─cancelled─▶ STOPPING       each ─ended─▶ GONE

A KILLED activation is reported already, but it has its CPUs and devices until its process is really gone.
"""

from enum import StrEnum

from harvester.domain.functions import FunctionVersion
from harvester.domain.invocations import ActivationEnd
from harvester.domain.lifecycle import Lifecycle
from harvester.domain.resources import Resources
from harvester.domain.wire import Lease
from harvester_worker.effects import Key


class ActivationState(StrEnum):
    """Where an activation on this pilot is."""

    WAITING = "waiting"  # leased, no room yet
    RUNNING = "running"
    ASKED = "asked"  # to hand its state over
    STOPPING = "stopping"  # cancelled, interrupted softly
    KILLED = "killed"  # reported; its process is not yet seen dead
    GONE = "gone"


class ActivationEvent(StrEnum):
    """What can happen to an activation on this pilot."""

    STARTED = "started"
    ASKED = "asked"
    CANCELLED = "cancelled"
    KILLED = "killed"
    ENDED = "ended"  # by itself, given back before it began, or died


_S, _E = ActivationState, ActivationEvent

ACTIVATION: Lifecycle[ActivationState, ActivationEvent] = Lifecycle(
    "activation",
    _S.WAITING,
    {
        (_S.WAITING, _E.STARTED): _S.RUNNING,
        (_S.WAITING, _E.ENDED): _S.GONE,
        (_S.RUNNING, _E.ASKED): _S.ASKED,
        (_S.RUNNING, _E.CANCELLED): _S.STOPPING,
        (_S.RUNNING, _E.KILLED): _S.KILLED,
        (_S.RUNNING, _E.ENDED): _S.GONE,
        (_S.ASKED, _E.ASKED): _S.ASKED,  # a drain that became more urgent
        (_S.ASKED, _E.CANCELLED): _S.STOPPING,
        (_S.ASKED, _E.KILLED): _S.KILLED,
        (_S.ASKED, _E.ENDED): _S.GONE,
        (_S.STOPPING, _E.KILLED): _S.KILLED,
        (_S.STOPPING, _E.ENDED): _S.GONE,
        (_S.KILLED, _E.ENDED): _S.GONE,
    },
)


class Verdict(StrEnum):
    """How an activation is reported that is killed at its deadline."""

    EVICTED = ActivationEnd.EVICTED.value
    CANCELLED = ActivationEnd.CANCELLED.value
    WALLTIME = "walltime"  # it ran longer than its function declared: a failure


class Activation:
    """One lease and what became of it here."""

    __slots__ = ("deadline", "function", "gpus", "has_checkpointed", "key", "lease", "seq", "started_at", "state",
                 "verdict")  # fmt: skip

    def __init__(self, lease: Lease, function: FunctionVersion) -> None:
        self.key: Key = (lease.invocation_id, lease.fence)
        self.lease = lease
        self.function = function
        self.state = ACTIVATION.initial
        self.gpus: tuple[str, ...] = ()
        self.seq = 0  # of its newest checkpoint
        self.has_checkpointed = lease.checkpoint is not None
        self.started_at = 0.0
        self.deadline: float | None = None
        self.verdict = Verdict.EVICTED

    @property
    def is_resumable(self) -> bool:
        """Whether it can be expected to reach a checkpoint."""
        return self.function.checkpoints or self.has_checkpointed

    def advance(self, event: ActivationEvent) -> None:
        """Move to the state that follows. Raises `IllegalTransition`."""
        self.state = ACTIVATION.advance(self.state, event)

    def limit(self, deadline: float, verdict: Verdict) -> None:
        """Be killed at `deadline` with this verdict, unless an earlier one is set."""
        if self.deadline is None or deadline < self.deadline:
            self.deadline, self.verdict = deadline, verdict


class Room:
    """What is free of the pilot's capacity, and which devices."""

    def __init__(self, capacity: Resources, gpus: tuple[str, ...]) -> None:
        self.capacity = capacity
        self.cpus, self.memory_mb = capacity.cpus, capacity.memory_mb
        self.gpus = list(gpus)  # free ones, in their order

    def take(self, wanted: Resources) -> tuple[str, ...]:
        """Take what an activation needs and return its devices; the caller knows that it fits."""
        self.cpus -= wanted.cpus
        self.memory_mb -= wanted.memory_mb
        mine, self.gpus = tuple(self.gpus[: wanted.gpus]), self.gpus[wanted.gpus :]
        return mine

    def give_back(self, wanted: Resources, gpus: tuple[str, ...]) -> None:
        """Take back what an activation had."""
        self.cpus += wanted.cpus
        self.memory_mb += wanted.memory_mb
        if gpus:
            self.gpus = sorted({*self.gpus, *gpus})

    @property
    def free(self) -> Resources:
        """What is free now."""
        return Resources(cpus=self.cpus, gpus=len(self.gpus), memory_mb=self.memory_mb)
