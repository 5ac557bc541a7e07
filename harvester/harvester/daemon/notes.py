"""The daemon's notes: what the gateway shows of the cluster and of the daemon. JSON in the store, one of each.

Seconds since 1970 in `_at`, seconds in `_s`. Other people's batch jobs are counted, never named.
"""

from __future__ import annotations

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
from harvester.domain.cluster.survival import GapFigures
from harvester.domain.cluster.windows import WindowGroup
from harvester.domain.model.resources import Resources

CLUSTER_NOTE = "cluster"
DAEMON_NOTE = "daemon"


class NodeNote(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    name: str
    state: str
    partitions: tuple[str, ...]
    total: Resources
    free: Resources


class PartitionNote(msgspec.Struct, frozen=True, kw_only=True):
    """One partition."""

    name: str
    is_up: bool
    max_time_s: float | None
    grace_time_s: float
    is_preemptible: bool


class BatchJobNote(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job of ours."""

    batch_job_id: str
    name: str
    state: str
    reason: str
    nodes: tuple[str, ...]
    start_at: float | None
    end_at: float | None


class ClusterNote(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the cluster."""

    scheduler: str
    taken_at: float
    nodes: tuple[NodeNote, ...]
    partitions: tuple[PartitionNote, ...]
    batch_jobs: tuple[BatchJobNote, ...]
    others_pending: int
    others_running: int


class DaemonNote(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon is."""

    last_tick_at: float  # when it last listened
    tick_s: float  # how often it listens
    took_s: float  # the last tick
    paused: bool
    reason: str  # why it is paused, and how to resume; empty while it is not
    errors: tuple[str, ...]  # of the last tick, in words
    notes: tuple[str, ...]  # why no more pilots are submitted
    windows: tuple[WindowGroup, ...] = ()  # where pilots could go, as of the last good look
    gaps: GapFigures | None = None  # how gaps end on this cluster, as learned
    mode: str = ""  # how pilots are kept harmless now
    delayed: int = 0  # prime jobs that were seen to wait for pilots since the daemon started; not told in preemptible
    worst_delay_s: float = 0.0
    alive_at: float = 0.0  # when it could last have taken a node back; if long ago, pilots leave by themselves
    said_at: float = 0.0  # of the newest word of an admin that it has heard
    looked_at: float = 0.0  # the last full look at the scheduler
    look_cause: str = ""  # why it was taken
    commands_per_minute: int = 0  # sent to the scheduler within the last minute, of every kind


def cluster_note(snapshot: ClusterSnapshot, mark: str) -> ClusterNote:
    """Return the note on one look; `mark` is how the names of our batch jobs begin."""
    ours = tuple(batch for batch in snapshot.batch_jobs if batch.name.startswith(mark))
    others = [batch.state for batch in snapshot.batch_jobs if not batch.name.startswith(mark)]
    return ClusterNote(
        scheduler=snapshot.scheduler,
        taken_at=snapshot.taken_at,
        nodes=tuple(
            NodeNote(name=node.name, state=node.state, partitions=node.partitions, total=node.total, free=node.free)
            for node in snapshot.nodes
        ),
        partitions=tuple(
            PartitionNote(
                name=part.name,
                is_up=part.is_up,
                max_time_s=None if part.max_time is None else part.max_time.total_seconds(),
                grace_time_s=part.grace_time.total_seconds(),
                is_preemptible=part.is_preemptible,
            )
            for part in snapshot.partitions
        ),
        batch_jobs=tuple(_batch_job(batch) for batch in ours if not batch.state.is_ended),
        others_pending=others.count(BatchState.PENDING),
        others_running=others.count(BatchState.RUNNING),
    )


def _batch_job(batch: BatchJob) -> BatchJobNote:
    return BatchJobNote(
        batch_job_id=batch.batch_job_id,
        name=batch.name,
        state=batch.state,
        reason=batch.reason,
        nodes=batch.nodes,
        start_at=batch.start_at,
        end_at=batch.end_at,
    )
