"""Activations: their states on this pilot, their deadlines, and the capacity that they take.

    WAITING ─started─▶ RUNNING ─asked─▶ ASKED        any that runs ─killed─▶ KILLED ─died─▶ GONE
       └─queued─▶ QUEUED ─started─▶ RUNNING           each ─ended─▶ GONE
                     └─taken back─▶ WAITING           any that runs ─taken back─▶ WAITING, if its slot died of another
    RUNNING, ASKED ─cancelled─▶ STOPPING

A QUEUED activation is at a slot already, behind a RUNNING one that is about to end, and takes no room of its own.
A KILLED activation is reported already, but it has its CPUs and devices until its process is really gone.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import assert_never

import msgspec

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.lifecycle import Lifecycle, LifecycleWord
from harvester.domain.model.resources import Resources
from harvester.domain.payload.calls import CallsError, count_calls
from harvester.domain.protocol.wire import Lease
from harvester_worker.core.effects import Key, Start, tenant_of


class ActivationState(LifecycleWord):
    """Where an activation on this pilot is."""

    WAITING = "waiting"  # leased, no room yet
    QUEUED = "queued"  # at a slot, behind another
    RUNNING = "running"
    ASKED = "asked"  # to hand its state over
    STOPPING = "stopping"  # cancelled, interrupted softly
    KILLED = "killed"  # reported; its process is not yet seen dead
    GONE = "gone"


class ActivationEvent(LifecycleWord):
    """What can happen to an activation on this pilot."""

    QUEUED = "queued"
    TAKEN_BACK = "taken back"
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
        (_S.WAITING, _E.QUEUED): _S.QUEUED,
        (_S.WAITING, _E.ENDED): _S.GONE,
        (_S.QUEUED, _E.STARTED): _S.RUNNING,
        (_S.QUEUED, _E.TAKEN_BACK): _S.WAITING,
        (_S.QUEUED, _E.ENDED): _S.GONE,
        (_S.RUNNING, _E.TAKEN_BACK): _S.WAITING,
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


class DeadlineVerdict(StrEnum):
    """How an activation is reported that is killed at its deadline."""

    EVICTED = ActivationEnd.EVICTED.value
    CANCELLED = ActivationEnd.CANCELLED.value
    WALLTIME = "walltime"  # it ran longer than its function declared: a failure


class Wish(StrEnum):
    """What the gateway wants of a QUEUED activation; whether it has begun is known only a moment later."""

    CANCEL = "cancel"
    RECALL = "recall"
    ABANDON = "abandon"


def unbegun_end(wish: Wish | None) -> ActivationEnd | None:
    """Return how an activation is given back that a slot has not begun; None where the gateway has forgotten it."""
    match wish:
        case Wish.ABANDON:
            return None
        case Wish.CANCEL:
            return ActivationEnd.CANCELLED
        case Wish.RECALL | None:
            return ActivationEnd.UNSTARTED
        case _:
            assert_never(wish)


class Activation:
    """One lease and what became of it here."""

    __slots__ = ("deadline", "expected_s", "function", "has_checkpointed", "is_suspect", "key", "lane", "lease", "seq",
                 "started_at", "state", "tenant", "verdict", "wish")  # fmt: skip

    def __init__(self, lease: Lease, function: FunctionVersion) -> None:
        self.key: Key = (lease.invocation_id, lease.fence)
        self.tenant = tenant_of(lease)
        self.lease = lease
        self.function = function
        self.state: ActivationState = ACTIVATION.initial
        self.lane: SlotLane | None = None  # since it is at a slot
        self.seq = 0  # of its newest checkpoint
        self.has_checkpointed = lease.checkpoint is not None
        self.is_suspect = False  # a slot died before it had told this one's end
        self.started_at = 0.0
        self.expected_s = 0.0
        self.deadline: float | None = None
        self.verdict = DeadlineVerdict.EVICTED
        self.wish: Wish | None = None

    @property
    def at(self) -> SlotLane:
        """The slot that it is at."""
        if self.lane is None:
            raise LookupError(f"activation {self.key} is not at a slot")
        return self.lane

    @property
    def is_resumable(self) -> bool:
        """Whether it can be expected to reach a checkpoint."""
        return self.function.checkpoints or self.has_checkpointed or self.lease.encoding is Encoding.CALLS

    @property
    def pace_key(self) -> str:
        """The name under which its duration is recorded and expected."""
        lease = self.lease
        return lease.function_id if lease.encoding is not Encoding.CALLS else f"{lease.function_id} calls"

    @property
    def walltime_s(self) -> float | None:
        """How long it may run: what its function declares, for each of its calls."""
        declared, lease = self.function.walltime_s, self.lease
        if declared is None or lease.encoding is not Encoding.CALLS:
            return declared
        if not isinstance(lease.arguments, bytes):
            return None  # the number of calls is in a file: the slot will tell it
        try:
            return declared * max(1, count_calls(lease.arguments))
        except CallsError:
            return declared  # it will fail

    def start(self, leave_in_s: float, *, behind: Key | None = None) -> Start:
        """Return the effect that starts it at its slot, or queues it there."""
        return Start(lease=self.lease, function=self.function, gpus=self.at.gpus, leave_in_s=leave_in_s, behind=behind)

    def advance(self, event: ActivationEvent) -> None:
        """Move to the state that follows. Raises `IllegalTransition`."""
        self.state = ACTIVATION.advance(self.state, event)

    def limit(self, deadline: float, verdict: DeadlineVerdict) -> None:
        """Have it killed at `deadline` with this verdict, unless an earlier deadline is set."""
        if self.deadline is None or deadline < self.deadline:
            self.deadline, self.verdict = deadline, verdict


class SlotLane:
    """What one slot takes of the capacity, the activation that runs in it, and those that are queued behind it."""

    __slots__ = ("at_work", "expected_s", "gpus", "head", "is_closed", "is_lent", "queue", "resources", "stalls_at",
                 "tenant")  # fmt: skip

    def __init__(self, head: Activation, gpus: tuple[str, ...]) -> None:
        self.head = head
        self.queue: deque[Activation] = deque()
        self.resources = head.lease.resources
        self.tenant = head.tenant
        self.gpus = gpus
        self.expected_s = head.expected_s  # until the last of them is over
        self.at_work: Activation | None = None  # the one of the queue that keeps the slot from telling the head's end
        self.is_closed = False  # nothing more is queued behind this head
        self.is_lent = False  # the head waits for others, and its CPUs are free meanwhile
        self.stalls_at = 0.0  # by then the head should be over


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a slot process: which activations it had, in order, and how far it had come."""

    keys: tuple[Key, ...]  # whose end was not told
    begun: frozenset[Key]  # of these, those that had begun
    blamed: Key | None  # of these, the one that it was at


class FreeCapacity:
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
