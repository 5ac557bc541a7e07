"""The cluster as a scheduler describes it: nodes, batch jobs, partitions, at one moment.

Owns the words for what the scheduler says. What we believe of our pilots is `pilots.PilotState`. Adapters fill these
records; planner, reconciler and simulator read them.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import msgspec

from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.model.resources import Resources


class BatchState(StrEnum):
    """What the scheduler says of a batch job, in the words that all schedulers share."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETING = "completing"  # told to end, or cleaning up: its nodes are not free yet
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    NODE_FAIL = "node failed"
    FAILED = "failed"
    OUT_OF_MEMORY = "out of memory"
    DEADLINE = "past its deadline"  # it was not started in time, or still ran then
    UNKNOWN = "unknown"  # a word that we do not know; never taken for an end

    @property
    def is_ended(self) -> bool:
        """Whether the batch job is over for good."""
        return self in _ENDED


_ENDED = frozenset(
    {
        BatchState.COMPLETED,
        BatchState.PREEMPTED,
        BatchState.CANCELLED,
        BatchState.TIMEOUT,
        BatchState.NODE_FAIL,
        BatchState.FAILED,
        BatchState.OUT_OF_MEMORY,
        BatchState.DEADLINE,
    }
)


class WaitsFor(StrEnum):
    """What a pending batch job waits for."""

    NODES = "nodes"  # it would start if enough nodes were free: now, or as soon as the scheduler looks
    OTHER = "something else"  # a dependency, a hold, its begin time, a limit: free nodes would not start it
    UNKNOWN = "a reason that we do not know"


class NodeState(StrEnum):
    """Whether a node can take batch jobs."""

    IDLE = "idle"
    MIXED = "mixed"  # partly allocated
    ALLOCATED = "allocated"
    RESERVED = "reserved"
    DRAINED = "drained"
    DOWN = "down"
    UNKNOWN = "unknown"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    name: str
    state: NodeState
    partitions: tuple[str, ...]
    total: Resources
    free: Resources
    features: tuple[str, ...] = ()
    leaving: str = ""  # why nobody should be on it any longer: "it is being drained"; empty while it is in service
    gpu_types: tuple[str, ...] = ()  # "a100:2", "1g.10gb:7"; empty where the site names no types
    is_asleep: bool = False  # powered down to save energy: a batch job would wake it, and pilots must not


class BatchJob(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job of anybody's, pending, running, or ended a moment ago."""

    batch_job_id: str
    name: str
    user: str
    partition: str
    state: BatchState
    reason: str = ""  # the scheduler's word for why it waits or how it ended
    nodes: tuple[str, ...] = ()  # its allocation; while pending, the nodes that backfill planned
    requested: Resources = Resources()  # in all, over its nodes
    each: Resources = Resources(cpus=0)  # at least on each of its nodes; `requested` may want more of them in all
    is_exclusive: bool = False  # it shares its nodes with nobody
    node_count: int = 1  # while pending: at least, as far as the scheduler tells; of an array, one element's
    elements: int = 1  # pending array elements that this one stands for
    waits_for: WaitsFor = WaitsFor.NODES  # while pending
    held_by_limit: str = ""  # the limit of its user, account or QOS that it waits for, in the scheduler's word
    is_held: bool = False  # its own user holds it
    priority: int = 0  # the higher goes first
    limit: timedelta | None = None  # its walltime; None: unlimited, or not told
    features: str = ""  # what its nodes must have, in the scheduler's own notation
    required_nodes: tuple[str, ...] = ()  # all of these must be among its nodes
    excluded_nodes: tuple[str, ...] = ()
    reservation: str = ""  # it runs in this reservation only
    submitted_at: float | None = None
    start_at: float | None = None  # while pending: the expected start, where the scheduler has planned one
    end_at: float | None = None  # by its limit
    preempt_at: float | None = None  # when the scheduler asked it to leave; None while nobody has
    is_booting: bool = False  # it has its nodes, and they are booting or being prepared: nothing of it runs yet

    @property
    def partitions(self) -> tuple[str, ...]:
        """The partitions that it may start in; several while it is pending and its user named several."""
        return tuple(self.partition.split(","))


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition or queue."""

    name: str
    is_up: bool = True
    max_time: timedelta | None = None  # None: unlimited
    grace_time: timedelta = timedelta(0)
    is_preemptible: bool = False  # whoever wants its nodes evicts pilots from them, and they are gone then
    why_not: str = ""  # why it is not preemptible, in words that end a sentence; empty where it is
    is_default: bool = False
    priority_tier: int = 1  # partitions of a higher tier go first on the nodes that they share
    refuses: str = ""  # why it takes no pilots of ours, in words that end a sentence; empty where it may take them
    gives_whole_nodes: bool = False  # nobody else's batch job shares a node with one of it
    most: Resources | None = None  # that a batch job in it may take of one node; 0 CPUs or memory: no limit on these
    exempt_time: timedelta = timedelta(0)  # a batch job is not evicted before it has run for so long


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that somebody has for a time: maintenance, a course. Pilots keep out of it."""

    name: str
    nodes: tuple[str, ...]
    start_at: float
    end_at: float | None = None  # None: until it is taken back
    is_floating: bool = False  # its start moves on with the clock: it bounds what starts, and never begins


class ClusterSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one look at the scheduler showed."""

    taken_at: float
    scheduler: str  # "slurm 22.05.8", "local"
    nodes: tuple[Node, ...]
    batch_jobs: tuple[BatchJob, ...]
    partitions: tuple[Partition, ...]
    reservations: tuple[Reservation, ...] = ()
    grain: timedelta = timedelta(seconds=1)  # walltimes are rounded up to multiples of this (Slurm: whole minutes)
    hidden: str = ""  # what we are not shown, in words that end a sentence: "other users' batch jobs (…)"
    cuts_time_min: bool = False  # a pilot with a least walltime gets the largest that fits (Slurm from 25.05.5)
    knowledge: Knowledge = EVERYTHING  # what a look of this adapter contains; `nodes` is empty where it knows none

    def partition(self, name: str) -> Partition | None:
        """Return the partition called `name`, if there is one."""
        return next((partition for partition in self.partitions if partition.name == name), None)
