"""Contention: which prime jobs would start sooner if our pilots were not there, and which nodes they would take.

Pure. The scheduler's own plan is made with our pilots in the picture: it may have a prime job wait for somebody else's
end although it would start at once without us. So this is a plan of our own over the snapshot with the pilots taken
away. In doubt a batch job wants every node that it could use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Partition, WaitsFor
from harvester.domain.cluster.windows import NodeClaim, put
from harvester.domain.contention.list_plan import ListPlan, Placed
from harvester.domain.contention.node_requests import is_plain
from harvester.domain.contention.node_time import node_times


class PlannedStart(msgspec.Struct, frozen=True, kw_only=True):
    """When and where a pending prime job would start without our pilots."""

    batch_job_id: str
    at: float  # Unix seconds; `now` where it would start at once
    nodes: tuple[str, ...]
    is_certain: bool = True  # False: we do not understand all of what it asks for, so `nodes` is all that it could use
    in_the_way: tuple[str, ...] = ()  # those of the nodes that our pilots must leave for that


class Contention(msgspec.Struct, frozen=True, kw_only=True):
    """What prime jobs want of the nodes, as if our pilots were not there."""

    starts: tuple[PlannedStart, ...] = ()
    claims: dict[
        str, NodeClaim
    ] = {}  # by node: the first start on it, or reservation; nodes that nobody wants are missing
    wanted: dict[str, NodeClaim] = {}  # the same, of nodes with pilots that are in the way: beside others they may stay


def contention(
    snapshot: ClusterSnapshot,
    now: float,
    *,
    ours: Collection[str] = (),
    going: Collection[str] = (),
    doubted: Collection[str] = (),
    disbelieved: Collection[str] = (),
) -> Contention:
    """Return what pending prime jobs would take of the nodes without our pilots.

    Parameters
    ----------
    ours: ids or names of the batch jobs that are our pilots.
    going: those of them that were told to leave already: their nodes come before those of others.
    doubted: ids of prime jobs that did not start where our plan had it: they may want any node that they could use.
    disbelieved: ids of prime jobs that do not start although their nodes have been left to them: they want nothing.
    """
    queue = [
        batch
        for batch in snapshot.batch_jobs
        if batch.state is BatchState.PENDING
        and batch.batch_job_id not in ours
        and batch.name not in ours
        and batch.batch_job_id not in disbelieved
    ]
    if not queue and not snapshot.reservations:
        return Contention()
    plan = ListPlan(node_times(snapshot, now, ours, going), _open_partitions(snapshot, queue), now)
    starts: list[PlannedStart] = []
    for batch in sorted(queue, key=_Turn(snapshot, now)):
        starts.extend(_starts(plan, batch, now, is_doubted=batch.batch_job_id in doubted))
    claims: dict[str, NodeClaim] = {}
    wanted: dict[str, NodeClaim] = {}
    for start in starts:
        claim = NodeClaim(start.at, _why(start))
        put(claims, start.nodes, claim)
        put(wanted, start.in_the_way, claim)
    for names, claim in _told(snapshot, queue, now):
        put(claims, names, claim)
        put(wanted, names, claim)
    return Contention(starts=tuple(starts), claims=claims, wanted=wanted)


def _starts(plan: ListPlan, batch: BatchJob, now: float, *, is_doubted: bool) -> Iterator[PlannedStart]:
    if batch.waits_for is WaitsFor.OTHER:
        # One that waits for its begin time wants nodes from then on; other waits have no end that anybody could tell.
        if batch.start_at is not None and batch.start_at > now and not batch.nodes:
            placed = plan.place_from(batch, batch.start_at)
            if placed is not None:
                yield _start(batch, placed)
    elif batch.waits_for is WaitsFor.UNKNOWN or is_doubted or plan.is_out_of_work or not is_plain(batch.features):
        yield from _all_of_it(plan, batch, now)
    else:
        for placed in plan.place(batch):
            yield _start(batch, placed)


def _start(batch: BatchJob, placed: Placed) -> PlannedStart:
    return PlannedStart(
        batch_job_id=batch.batch_job_id,
        at=placed.at,
        nodes=tuple(node.name for node in placed.nodes),
        in_the_way=tuple(node.name for node in placed.in_the_way),
    )


def _all_of_it(plan: ListPlan, batch: BatchJob, now: float) -> Iterator[PlannedStart]:
    """Yield a start on all nodes that `batch` could use, where it might start at all."""
    nodes = plan.could_use(batch)
    if nodes:
        yield PlannedStart(
            batch_job_id=batch.batch_job_id,
            at=now,
            nodes=tuple(node.name for node in nodes),
            is_certain=False,
            in_the_way=tuple(node.name for node in nodes if node.pilots),
        )


def _why(start: PlannedStart) -> str:
    if start.is_certain:
        return f"batch job {start.batch_job_id} would start on it"
    return f"batch job {start.batch_job_id} may want it; we cannot tell which nodes it waits for"


def _told(
    snapshot: ClusterSnapshot, queue: Iterable[BatchJob], now: float
) -> Iterator[tuple[Collection[str], NodeClaim]]:
    """Yield what the scheduler itself says: planned starts on named nodes, and reservations."""
    for batch in queue:
        if batch.start_at is None or not batch.nodes:
            continue
        if batch.waits_for is not WaitsFor.OTHER or batch.start_at > now:
            yield batch.nodes, NodeClaim(batch.start_at, f"batch job {batch.batch_job_id} is planned on it")
    for reservation in snapshot.reservations:
        if reservation.end_at is None or reservation.end_at > now:
            yield reservation.nodes, NodeClaim(reservation.start_at, f"reservation {reservation.name}")


def _open_partitions(snapshot: ClusterSnapshot, queue: Iterable[BatchJob]) -> list[Partition]:
    """Return the partitions that are up, and those that the scheduler did not tell of: in doubt they are up too."""
    told = {partition.name for partition in snapshot.partitions}
    untold = dict.fromkeys(name for batch in queue for name in batch.partitions if name not in told)
    return [*(partition for partition in snapshot.partitions if partition.is_up), *(Partition(name=n) for n in untold)]


class _Turn:
    """The order in which the scheduler looks at its queue: by tier, priority, and age."""

    def __init__(self, snapshot: ClusterSnapshot, now: float) -> None:
        self._tiers = {partition.name: partition.priority_tier for partition in snapshot.partitions}
        self._now = now

    def __call__(self, batch: BatchJob) -> tuple[int, int, float, int, str]:
        tier = max(self._tiers.get(name, 1) for name in batch.partitions)
        submitted = self._now if batch.submitted_at is None else batch.submitted_at
        return (-tier, -batch.priority, submitted, len(batch.batch_job_id), batch.batch_job_id)
