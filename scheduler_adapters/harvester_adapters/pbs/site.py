"""What a PBS's server and scheduler are set to, as far as it matters to pilots: `qmgr -c 'list …'`, one call each."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from harvester_adapters.asking import malformed
from harvester_adapters.pbs.records import PbsRecord, blocks
from harvester_adapters.pbs.words import duration, whole

LIST_SERVER = ("qmgr", "-c", "list server")
LIST_SCHED = ("qmgr", "-c", "list sched")


class PbsServer(msgspec.Struct, frozen=True, kw_only=True):
    """The server."""

    version: str
    default_queue: str
    max_walltime: timedelta | None  # of all queues
    shows_others: bool  # whether everybody sees everybody's batch jobs
    privileged: frozenset[str] = frozenset()  # operators and managers, who see them whatever the setting


class PbsSched(msgspec.Struct, frozen=True, kw_only=True):
    """One scheduler; most sites have the default one only."""

    name: str
    partitions: tuple[str, ...]  # of PBS's meaning: which queues and nodes it schedules
    preempt_order: str
    preempt_prio: str
    preempt_queue_prio: int


def server(text: str) -> PbsServer:
    """Return the server in the answer to `LIST_SERVER`."""
    found = blocks(text, "Server")
    if not found:
        raise malformed("qmgr's answer about the server", text)
    get = found[0].get
    try:
        return PbsServer(
            version=get("pbs_version") or "of unknown version",
            default_queue=get("default_queue"),
            max_walltime=duration(get("resources_max.walltime")),
            shows_others=get("query_other_jobs") == "True",
            privileged=frozenset(
                word.strip().partition("@")[0] for word in f"{get('operators')},{get('managers')},root".split(",")
            ),
        )
    except ValueError as error:
        raise malformed("qmgr's answer about the server", f"{error}") from error


def scheds(text: str) -> tuple[PbsSched, ...]:
    """Return the schedulers in the answer to `LIST_SCHED`; there is at least one."""
    found = blocks(text, "Sched")
    if not found:
        raise malformed("qmgr's answer about the scheduler", text)
    try:
        return tuple(_sched(record) for record in found)
    except ValueError as error:
        raise malformed("qmgr's answer about the scheduler", f"{error}") from error


def _sched(record: PbsRecord) -> PbsSched:
    return PbsSched(
        name=record.name,
        partitions=tuple(word.strip() for word in record.get("partition").split(",") if word.strip()),
        preempt_order=record.get("preempt_order") or "SCR",  # PBS's defaults
        preempt_prio=record.get("preempt_prio") or "express_queue, normal_jobs",
        preempt_queue_prio=whole(record.get("preempt_queue_prio") or "150"),
    )


def sched_of(partition: str, found: tuple[PbsSched, ...]) -> PbsSched:
    """Return the scheduler of a queue's `partition`, by default the default one."""
    for each in found:
        if partition and partition in each.partitions:
            return each
    return next((each for each in found if each.name == "default"), found[0])


def soft_limits(record: PbsRecord) -> dict[str, str]:
    """Return the soft limits on running batch jobs and their resources that a queue has."""
    names = ("max_run_soft", "max_run_res_soft.")
    return {key: value for key, value in record.attributes.items() if key.startswith(names)}
