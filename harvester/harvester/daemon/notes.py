"""The cluster's note, made from a look. What is in it is `domain.protocol.daemon_notes`'s."""

from __future__ import annotations

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
from harvester.domain.protocol.daemon_notes import BatchJobNote, ClusterNote, NodeNote, PartitionNote


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
