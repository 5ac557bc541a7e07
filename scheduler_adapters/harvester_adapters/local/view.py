"""How the embedded `local` scheduler looks from outside: its state as a `ClusterSnapshot`.

Owns the translation, and the forecast of when waiting prime batch jobs start. Pure; changes nothing.
"""

from __future__ import annotations

from harvester.domain.cluster.snapshot import (
    BatchJob,
    BatchState,
    ClusterSnapshot,
    Node,
    NodeState,
    Partition,
    WaitsFor,
)
from harvester.domain.model.resources import Resources
from harvester_adapters.local.rules import NOTHING, free_on
from harvester_adapters.local.state import HARVEST, PRIME, BatchKind, Cluster, EmulatedNode, LocalBatchJob


def snapshot(cluster: Cluster, user: str, now: float) -> ClusterSnapshot:
    """Return what one look at the cluster shows; `user` is the owner of the pilots."""
    plan = forecast(cluster, now)
    return ClusterSnapshot(
        taken_at=now,
        scheduler="local",
        nodes=tuple(_node(node, cluster) for node in cluster.nodes),
        batch_jobs=tuple(_batch_job(job, cluster, user, plan) for job in cluster.batch_jobs.values()),
        partitions=(
            Partition(name=PRIME),
            Partition(name=HARVEST, grace_time=cluster.grace, is_preemptible=True),
        ),
    )


def forecast(cluster: Cluster, now: float) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Return `{batch job id: (expected start, nodes)}` of the waiting prime batch jobs, as backfill would plan them."""
    free_at = {node.name: now for node in cluster.nodes}
    waiting = [
        job for job in cluster.batch_jobs.values() if job.state is BatchState.PENDING and job.kind is BatchKind.PRIME
    ]
    for job in cluster.live(BatchKind.PRIME):
        free_at.update((name, max(now, job.end_at or now)) for name in job.nodes)
    plan: dict[str, tuple[float, tuple[str, ...]]] = {}
    for job in waiting:
        nodes = job.nodes or tuple(sorted(free_at, key=lambda name: free_at[name])[: job.node_count])
        kills = [pilot.kill_at or now for pilot in cluster.live(BatchKind.PILOT) if {*pilot.nodes} & {*job.nodes}]
        start = max([free_at[name] for name in nodes] + kills)
        plan[job.batch_job_id] = start, nodes
        free_at.update((name, start + job.walltime.total_seconds()) for name in nodes)
    return plan


def _node(node: EmulatedNode, cluster: Cluster) -> Node:
    free = free_on(node, cluster)
    busy = any(node.name in job.nodes for job in cluster.live())
    claimed = any(node.name in job.nodes for job in cluster.batch_jobs.values() if job.state is BatchState.PENDING)
    if not busy:
        state = NodeState.RESERVED if claimed else NodeState.IDLE
    else:
        state = NodeState.MIXED if free.cpus > 0 else NodeState.ALLOCATED
    return Node(name=node.name, state=state, partitions=(PRIME, HARVEST), total=node.total, free=free)


def _batch_job(
    job: LocalBatchJob, cluster: Cluster, user: str, plan: dict[str, tuple[float, tuple[str, ...]]]
) -> BatchJob:
    is_prime = job.kind is BatchKind.PRIME
    start_at, nodes = plan.get(job.batch_job_id, (job.started_at, job.nodes))
    return BatchJob(
        batch_job_id=job.batch_job_id,
        name=job.name,
        user="prime" if is_prime else user,
        partition=job.partition,
        state=job.state,
        reason=job.reason,
        nodes=nodes,
        requested=_whole(nodes, cluster) if is_prime else job.resources,
        each=max(node.total for node in cluster.nodes) if is_prime else job.resources,
        is_exclusive=is_prime,
        waits_for=WaitsFor.OTHER if job.is_held else WaitsFor.NODES,
        is_held=job.is_held,
        limit=job.walltime,
        node_count=job.node_count,
        submitted_at=job.submitted_at,
        start_at=start_at,
        end_at=job.end_at,
        preempt_at=job.leave_at if job.leaving is BatchState.PREEMPTED else None,
    )


def _whole(names: tuple[str, ...], cluster: Cluster) -> Resources:
    return sum((node.total for node in cluster.nodes if node.name in names), NOTHING)
