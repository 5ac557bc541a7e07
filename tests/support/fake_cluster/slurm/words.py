"""Slurm's words for what the model holds: states, reasons, times, sizes, lists of nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import Amount, End, FakeBatchJob, FakeNode, Phase

ENDS = {
    End.COMPLETED: "COMPLETED",
    End.FAILED: "FAILED",
    End.CANCELLED: "CANCELLED",
    End.TIMEOUT: "TIMEOUT",
    End.PREEMPTED: "PREEMPTED",
    End.NODE_FAILED: "NODE_FAIL",
    End.NEVER_STARTED: "CANCELLED",
}
_END_REASONS = {End.TIMEOUT: "TimeLimit", End.NODE_FAILED: "NodeDown", End.FAILED: "NonZeroExitCode"}


def instant(at: float | None) -> str:
    """Return an instant as commands print it with TZ=UTC."""
    return "N/A" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def clock(seconds: float | None) -> str:
    """Return a limit: `2-00:00:00`, `1:30:00`, `14:00`, `UNLIMITED`."""
    if seconds is None:
        return "UNLIMITED"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds(text: str) -> float:
    """Return the seconds of a time that an option gives: `H:M:S`, `M:S`, `M`, with days before a dash."""
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        parts = [*parts, 0, 0][:3]
    elif len(parts) == 1:
        parts = [0, parts[0], 0]
    elif len(parts) == 2:
        parts = [0, *parts]
    return int(days or 0) * 86400 + parts[0] * 3600 + parts[1] * 60 + parts[2]


def tres(each: Amount, nodes: int) -> str:
    """Return what a batch job is given in all."""
    text = f"cpu={each.cpus * nodes},mem={each.memory_mb * nodes}M,node={nodes},billing={each.cpus * nodes}"
    return text + (f",gres/gpu={each.gpus * nodes}" if each.gpus else "")


def names(nodes: Iterable[str]) -> str:
    """Return a list of nodes."""
    return ",".join(nodes)


def state(batch: FakeBatchJob, version: tuple[int, ...]) -> str:
    """Return the state of a batch job."""
    match batch.phase:
        case Phase.PENDING:
            return "PENDING"
        case Phase.SUSPENDED:
            return "SUSPENDED"
        case Phase.RUNNING:
            # Within the grace time of a preemption it is RUNNING, and PreemptTime tells.
            is_over = batch.gone_at is not None or batch.told_for not in {None, End.PREEMPTED}
            return "COMPLETING" if is_over and batch.told_for is not End.NODE_FAILED else "RUNNING"
        case Phase.ENDED:
            return _ended(batch, version)


def _ended(batch: FakeBatchJob, version: tuple[int, ...]) -> str:
    if batch.end is End.TIMEOUT and not batch.runs:
        return "DEADLINE"
    if batch.end is End.PREEMPTED and version < (24, 11) and not batch.killed_by:
        return "COMPLETED"  # where it has left within the grace time
    return ENDS[batch.end or End.COMPLETED]


def reason(batch: FakeBatchJob) -> str:
    """Return why it waits, or how it ended."""
    if batch.has_ended:
        return _END_REASONS.get(batch.end or End.COMPLETED, "None")
    if batch.phase is not Phase.PENDING:
        return "None"
    if batch.is_held:
        return "JobHeldUser"
    return {"resources": "Resources", "priority": "Priority"}.get(batch.waits, "None")


def planned_nodes(cluster: FakeCluster) -> frozenset[str]:
    """Return the nodes that backfill has planned for somebody."""
    planned = (batch.plan_nodes for batch in cluster.pending.values() if batch.plan_at is not None)
    return frozenset(name for names in planned for name in names)


def node_state(node: FakeNode, cluster: FakeCluster, planned: Collection[str]) -> str:
    """Return the state of a node, with its flags."""
    if node.is_down:
        base = "DOWN*"
    elif not node.batch_jobs:
        base = "IDLE"
    else:
        base = "ALLOCATED" if node.used.cpus >= node.total.cpus else "MIXED"
    flags = ["DRAIN"] if node.drained else []
    if any(node.name in each.nodes and each.start_at <= cluster.now < each.end_at for each in cluster.reservations):
        flags.append("RESERVED")
    if node.name in planned:
        flags.append("PLANNED")
    return "+".join([base, *flags])
