"""PBS's execution queues as partitions: what `qstat -Q` tells, which nodes each may use, and who is evicted from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, Partition, WaitsFor
from harvester_adapters.asking import malformed
from harvester_adapters.pbs.nodes import Vnode
from harvester_adapters.pbs.preemption import KILL_DELAY, PbsQueue, level, not_preempted, why_not_over
from harvester_adapters.pbs.records import DELIMITER, PbsRecord, dsv
from harvester_adapters.pbs.site import PbsSched, PbsServer, sched_of, soft_limits
from harvester_adapters.pbs.words import duration

QSTAT_QUEUES = ("qstat", "-Q", "-f", "-F", "dsv", "-D", DELIMITER)

_AMOUNTS = frozenset({"ncpus", "ngpus", "mem", "vmem", "mpiprocs", "ompthreads"})
_TIER = 10_000  # above every Priority (at most 1023): a higher level goes first, whatever the queues' Priority


class QueueList(msgspec.Struct, frozen=True, kw_only=True):
    """The queues of a server."""

    execution: tuple[PbsQueue, ...]
    routing: frozenset[str] = frozenset()


def queue_list(text: str, user: str) -> QueueList:
    """Return the queues in the answer to `QSTAT_QUEUES`.

    Parameters
    ----------
    user: who submits pilots.
    """
    found = dsv(text, "Queue")
    if not found:
        raise malformed("qstat's answer about queues (there is none at all)", text)
    return QueueList(
        execution=tuple(_queue(record, user) for record in found if record.get("queue_type") != "Route"),
        routing=frozenset(record.name for record in found if record.get("queue_type") == "Route"),
    )


def _queue(record: PbsRecord, user: str) -> PbsQueue:
    get = record.get
    try:
        return PbsQueue(
            name=record.name,
            priority=_signed(get("Priority") or "0"),
            is_open=get("enabled") == "True" and get("started") == "True",
            max_walltime=duration(get("resources_max.walltime")),
            kill_delay=duration(get("kill_delay")) or KILL_DELAY,
            targets=record.attributes.get("resources_default.preempt_targets"),
            soft_limits=soft_limits(record),
            properties={
                key.partition(".")[2]: value
                for key, value in record.attributes.items()
                if key.startswith("default_chunk.") and key.partition(".")[2] not in _AMOUNTS and not value.isdecimal()
            },
            refuses=_refuses(record, user),
            sched_partition=get("partition"),
        )
    except ValueError as error:
        raise malformed("a queue of qstat", f"{record.name}: {error}") from error


def _refuses(record: PbsRecord, user: str) -> str:
    """Return why a queue takes no batch jobs of `user`, as far as that can be told. Of groups it cannot."""
    if record.get("from_route_only") == "True":
        return "it takes batch jobs from routing queues only (from_route_only)"
    if record.get("acl_user_enable") == "True":
        entries = [word.strip() for word in record.get("acl_users").split(",")]
        names = {word.lstrip("+").partition("@")[0] for word in entries if not word.startswith("-")}
        if not {user, "*"} & names:
            return f"user {user} is not in its acl_users"
    return ""


def _signed(word: str) -> int:
    if len(word) > 9:
        raise ValueError(word)
    return int(word)


def partitions_of(found: Sequence[PbsQueue], vnodes: Iterable[Vnode]) -> Callable[[Vnode], tuple[str, ...]]:
    """Return what tells the queues whose batch jobs a vnode takes.

    A vnode with a `queue` takes that one's only, and a queue that vnodes name uses no others. Queues may also be bound
    to vnodes by a resource of their default_chunk.
    """
    bound = {vnode.queue for vnode in vnodes if vnode.queue}

    def of(vnode: Vnode) -> tuple[str, ...]:
        return tuple(
            queue.name
            for queue in found
            if (vnode.queue == queue.name or (not vnode.queue and queue.name not in bound))
            and all(value in vnode.properties.get(key, "").split(",") for key, value in queue.properties.items())
        )

    return of


def partitions(
    found: QueueList,
    vnodes: Sequence[Vnode],
    server: PbsServer,
    scheds: tuple[PbsSched, ...],
    user: str,
    *,
    reserved: Collection[str] = (),
) -> tuple[Partition, ...]:
    """Return the execution queues.

    Parameters
    ----------
    user: whose pilots are or are not evicted.
    reserved: names of queues that belong to reservations: they come and go, and nobody is evicted from them.
    """
    queues = [queue for queue in found.execution if queue.name not in reserved]
    of = partitions_of(queues, vnodes)
    shared: dict[str, set[str]] = {queue.name: set() for queue in queues}
    for names in {of(vnode) for vnode in vnodes}:
        for name in names:
            shared[name].update(names)
    return tuple(
        _partition(queue, [other for other in queues if other.name in shared[queue.name]], server, scheds, user)
        for queue in queues
    )


def _partition(
    queue: PbsQueue, others: list[PbsQueue], server: PbsServer, scheds: tuple[PbsSched, ...], user: str
) -> Partition:
    sched = sched_of(queue.sched_partition, scheds)
    why_not = not_preempted(queue, others, sched, user)
    return Partition(
        name=queue.name,
        is_up=queue.is_open,
        max_time=_shorter(queue.max_walltime, server.max_walltime),
        grace_time=queue.kill_delay,
        is_preemptible=not why_not,
        why_not=why_not,
        refuses=queue.refuses,
        is_default=queue.name == server.default_queue,
        priority_tier=level(queue, sched, is_over=not why_not_over(queue, user)) * _TIER + queue.priority,
    )


def _shorter(first: timedelta | None, second: timedelta | None) -> timedelta | None:
    known = [limit for limit in (first, second) if limit is not None]
    return min(known) if known else None


def settled(batch_jobs: Iterable[BatchJob], found: QueueList) -> tuple[BatchJob, ...]:
    """Return the batch jobs, with those in routing queues waiting for something else than nodes: they have none yet."""
    return tuple(
        msgspec.structs.replace(batch, waits_for=WaitsFor.OTHER)
        if batch.state is BatchState.PENDING and batch.partition in found.routing
        else batch
        for batch in batch_jobs
    )
