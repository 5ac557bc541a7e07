"""Backfill windows: which nodes, or parts of nodes, are free from when until when, and why they end.

Pure and deterministic. Reads what the scheduler says (`snapshot`); knows neither policies nor what we believe of
pilots: whoever asks names the batch jobs that are its own. An end that nobody has planned is None: open, until somebody
comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Node, NodeState
from harvester.domain.model.resources import Resources

_TAKES_WORK = frozenset({NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED})
_HOLDS_NODES = frozenset({BatchState.RUNNING, BatchState.COMPLETING, BatchState.SUSPENDED})
_EVER = float("inf")
_NOBODY = "nobody is planned on it"
_ZERO = timedelta(0)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A node, or what is free of it, for a time."""

    node: str
    resources: Resources  # free in it
    from_at: float  # Unix seconds; now, or when whoever is there has reached the limit
    until_at: float | None  # when it is planned for somebody else; None: nobody knows
    why: str  # of its end, in words
    is_whole: bool = True  # the node as a whole
    partitions: tuple[str, ...] = ()

    def left(self, now: float) -> float:
        """Return the seconds that it lasts from `now` or its beginning on; infinite where nobody knows an end."""
        return _EVER if self.until_at is None else self.until_at - max(now, self.from_at)


class WindowGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Windows that differ by their node only: for people and notes, as thousands of nodes may be idle alike."""

    nodes: tuple[str, ...]
    resources: Resources  # free in each
    from_at: float
    until_at: float | None
    why: str
    is_whole: bool


class NodeClaim(NamedTuple):
    """The next that somebody else wants of a node."""

    at: float
    why: str


def compute(
    snapshot: ClusterSnapshot,
    now: float,
    *,
    ours: Collection[str] = (),
    horizon: timedelta = _ZERO,
    next_claims: Mapping[str, NodeClaim] | None = None,
) -> tuple[Window, ...]:
    """Return the windows that are open, and those that will open within `horizon`, in the order of the nodes.

    Parameters
    ----------
    now: Unix seconds.
    ours: ids or names of batch jobs whose plans end no window: our own pilots that wait.
    horizon: how far to look ahead. A window that is not open yet begins where a limit or a reservation ends.
    next_claims: what ends the windows, by node; None: what the scheduler has planned.
    """
    if next_claims is None:
        next_claims = claims(snapshot, now, ours=ours)
    taken: set[str] | None = None
    ends = _ends(snapshot, now, horizon) if horizon > _ZERO else {}
    whole = frozenset(partition.name for partition in snapshot.partitions if partition.gives_whole_nodes)
    found: list[Window] = []
    for node in snapshot.nodes:
        has_room = node.free.cpus > 0
        if not has_room and node.name not in ends:
            continue
        if node.state not in _TAKES_WORK:
            continue
        claim = next_claims.get(node.name)
        if claim is not None and claim.at <= now:
            continue
        # An idle node that a running batch job names has been taken since the nodes were asked.
        if node.state is NodeState.IDLE:
            taken = _taken(snapshot) if taken is None else taken
            if node.name in taken:
                continue
        if has_room:
            found.append(_window(node, node.free, now, claim, whole))
        if node.name in ends:
            found.extend(_later(node, ends[node.name], claim, whole))
    return tuple(found)


def claims(snapshot: ClusterSnapshot, now: float, *, ours: Collection[str] = ()) -> dict[str, NodeClaim]:
    """Return, by the node's name, what ends its window first as the scheduler tells; nodes without plans are missing.

    A claim of the past or of this moment means that the node is spoken for now.
    """
    found: dict[str, NodeClaim] = {}
    for batch in snapshot.batch_jobs:
        if batch.start_at is None or batch.state is not BatchState.PENDING or not batch.nodes:
            continue
        if batch.batch_job_id not in ours and batch.name not in ours:
            put(found, batch.nodes, NodeClaim(batch.start_at, f"batch job {batch.batch_job_id} is planned on it"))
    for reservation in snapshot.reservations:
        if reservation.end_at is None or reservation.end_at > now:
            put(found, reservation.nodes, NodeClaim(reservation.start_at, f"reservation {reservation.name}"))
    return found


def put(found: dict[str, NodeClaim], names: Iterable[str], claim: NodeClaim) -> None:
    """Note a claim on nodes; of two on the same one the earlier stays."""
    for name in names:
        before = found.get(name)
        if before is None or claim.at < before.at:
            found[name] = claim


def _taken(snapshot: ClusterSnapshot) -> set[str]:
    names: set[str] = set()
    for batch in snapshot.batch_jobs:
        if batch.nodes and batch.state in _HOLDS_NODES:
            names.update(batch.nodes)
    return names


def _window(
    node: Node, free: Resources, from_at: float, claim: NodeClaim | None, whole: frozenset[str] = frozenset()
) -> Window:
    """Return a window. `whole`: the partitions whose batch jobs share no node, so a part of one is of no use there."""
    is_whole = free == node.total
    return Window(
        node=node.name,
        resources=free,
        from_at=from_at,
        until_at=None if claim is None else claim.at,
        why=_NOBODY if claim is None else claim.why,
        is_whole=is_whole,
        partitions=node.partitions if is_whole else tuple(name for name in node.partitions if name not in whole),
    )


def grouped(windows: Iterable[Window]) -> tuple[WindowGroup, ...]:
    """Return `windows` with those together that differ by their node only, in the order of their first."""
    nodes: dict[tuple[Resources, float, float | None, str, bool], list[str]] = {}
    for window in windows:
        key = (window.resources, window.from_at, window.until_at, window.why, window.is_whole)
        nodes.setdefault(key, []).append(window.node)
    return tuple(
        WindowGroup(
            nodes=tuple(names), resources=resources, from_at=from_at, until_at=until_at, why=why, is_whole=is_whole
        )
        for (resources, from_at, until_at, why, is_whole), names in nodes.items()
    )


# ---- windows that are not open yet


def _ends(snapshot: ClusterSnapshot, now: float, horizon: timedelta) -> dict[str, list[tuple[float, Resources]]]:
    """Return, by node, when something becomes free within `horizon` by somebody's limit, and how much."""
    latest = now + horizon.total_seconds()
    found: dict[str, list[tuple[float, Resources]]] = {}
    for batch in snapshot.batch_jobs:
        if batch.end_at is None or batch.state not in _HOLDS_NODES or batch.end_at > latest:
            continue
        each = _on_one_node(batch)
        for name in batch.nodes:
            found.setdefault(name, []).append((max(now, batch.end_at), each))
    return found


def _on_one_node(batch: BatchJob) -> Resources:
    count = max(1, len(batch.nodes))
    wanted = batch.requested
    return Resources(cpus=wanted.cpus // count, gpus=wanted.gpus // count, memory_mb=wanted.memory_mb // count)


def _later(
    node: Node, ends: list[tuple[float, Resources]], claim: NodeClaim | None, whole: frozenset[str]
) -> Iterator[Window]:
    """Yield the windows that ends by limit add to a node, each with all that is free by then."""
    free = node.free
    for at, freed in sorted(ends):
        free = _at_most(free + freed, node.total)
        if free.cpus > 0 and (claim is None or claim.at > at):
            yield _window(node, free, at, claim, whole)


def _at_most(wanted: Resources, total: Resources) -> Resources:
    return Resources(
        cpus=min(wanted.cpus, total.cpus),
        gpus=min(wanted.gpus, total.gpus),
        memory_mb=min(wanted.memory_mb, total.memory_mb),
    )
