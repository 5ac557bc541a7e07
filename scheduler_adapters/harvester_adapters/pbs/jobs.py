"""PBS's batch jobs: what `qstat -f` tells of each.

Pure: text in, records out. A text that is not understood raises `SchedulerUnavailable` naming the place: a misparse
must never look like a cluster without pilots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from harvester.domain.cluster.snapshot import BatchJob, BatchState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.asking import malformed
from harvester_adapters.oddities import each
from harvester_adapters.pbs.records import DELIMITER, PbsRecord, dsv, unescaped
from harvester_adapters.pbs.states import batch_state, is_preempted, limit_in, waits_for
from harvester_adapters.pbs.words import (
    chunks,
    duration,
    instant,
    plain_id,
    reservation_id,
    resources,
    shown,
    vnodes,
    whole,
)

QSTAT = ("qstat", "-f", "-F", "dsv", "-D", DELIMITER)
"""Asks for everybody's batch jobs that have not ended; arrays as one each."""

_PROVISIONING = "71"
_STALE_S = 60.0  # the scheduler's next turn may be late
_QUEUED = re.compile(r"Queued:(\d{1,9})")
_RESOURCES = ("select", "place", "ncpus", "ngpus", "mem", "nodect")
_SCATTERED = frozenset({"scatter", "vscatter"})
# What a chunk asks for and a node has an amount of; other resources of a chunk must match the node's.
_AMOUNTS = frozenset({"ncpus", "ngpus", "mem", "vmem", "mpiprocs", "ompthreads", "nchunk"})
_SIZE_OR_NUMBER = re.compile(r"-?[\d.]+([kmgtp]?[bw])?", re.IGNORECASE)


def by_id(batch_job_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the command that asks for batch jobs of whatever state by their ids."""
    return ("qstat", "-x", *QSTAT[1:], *batch_job_ids)


def batch_jobs(
    text: str, host_of: Mapping[str, str] | None = None, *, now: float = 0.0, odd: list[str] | None = None
) -> tuple[BatchJob, ...]:
    """Return the batch jobs in the answer to `QSTAT` or `by_id`.

    Parameters
    ----------
    host_of: the host of each vnode; a vnode that is not in it is a host of its own.
    now: when it was asked (Unix seconds): a planned start that has long passed is no plan any more.
    odd: what could not be read is added to it. Of such a batch job only who it is is told: it never looks ended.
    """
    hosts = host_of or {}
    errors = [] if odd is None else odd
    return each(dsv(text, "Job Id"), lambda record: _batch_job(record, hosts, now), _unread, errors)


def _unread(record: PbsRecord) -> BatchJob | None:
    """Return what is certain of a batch job that cannot be read whole: that it is there."""
    get = record.get
    try:
        batch_job_id = plain_id(record.name)
    except ValueError:
        return None
    user, queue = get("Job_Owner").partition("@")[0], get("queue").partition("@")[0]
    return BatchJob(
        batch_job_id=batch_job_id, name=get("Job_Name"), user=user, partition=queue, state=BatchState.UNKNOWN
    )


def _batch_job(record: PbsRecord, hosts: Mapping[str, str], now: float) -> BatchJob:
    get = record.get
    try:
        comment = unescaped(get("comment"))
        words = (get("job_state"), get("substate"), get("Exit_status"), comment)
        if not words[0]:
            raise ValueError("job_state")  # noqa: TRY301 - one message for every field, below
        state = _array_state(get("array_state_count")) if words[0] == "B" else batch_state(*words)
        is_pending = state is BatchState.PENDING
        limit = duration(get("Resource_List.walltime") or get("Resource_List.max_walltime"))
        started_at, where = _planned(record, now) if is_pending else (instant(get("stime")), get("exec_vnode"))
        return BatchJob(
            batch_job_id=plain_id(record.name),
            name=get("Job_Name"),
            user=get("Job_Owner").partition("@")[0],
            partition=get("queue").partition("@")[0],
            state=state,
            reason=_reason(state, get("Exit_status"), comment),
            nodes=tuple(dict.fromkeys(hosts.get(name, name) for name in vnodes(where))),
            limit=limit,
            submitted_at=instant(get("qtime") or get("ctime")),
            start_at=started_at,
            end_at=_end_at(started_at, limit) if state is BatchState.RUNNING else None,
            preempt_at=instant(get("mtime")) if is_preempted(*words) else None,
            is_booting=words[1] == _PROVISIONING,
            reservation=reservation_id(get("reserve_ID")) if get("reserve_ID") else "",
            **_wants(record, words[0], comment, hosts),
        )
    except ValueError as error:
        raise malformed("a batch job of qstat", f"{record.name}: {error}") from error


def _array_state(counts: str) -> BatchState:
    """Return the state of an array: it pends as long as one of its elements does."""
    return BatchState.PENDING if _queued(counts) else BatchState.RUNNING


def _queued(counts: str) -> int:
    found = _QUEUED.search(counts)
    return int(found[1]) if found else 0


def _planned(record: PbsRecord, now: float) -> tuple[float | None, str]:
    """Return when and where a batch job is planned to start, as far as the scheduler has planned it.

    The plan stays on it after it has lost its place: `topjob` tells, but operators only. So for others a plan is one
    until its time has passed.
    """
    start_at = instant(record.get("estimated.start_time"))
    is_top = record.get("topjob")
    if record.get("job_state") != "Q" or start_at is None or is_top == "False":
        return None, ""
    if is_top != "True" and start_at < now - _STALE_S:
        return None, ""
    return start_at, record.get("estimated.exec_vnode")


def _end_at(started_at: float | None, limit: timedelta | None) -> float | None:
    return None if started_at is None or limit is None else started_at + limit.total_seconds()


def _reason(state: BatchState, exit_status: str, comment: str) -> str:
    if state.is_ended and exit_status:
        return f"Exit_status {shown(exit_status)}" + (f": {shown(comment)}" if comment else "")
    return shown(comment)


def _wants(record: PbsRecord, letter: str, comment: str, hosts: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that say what a batch job asks for, and when it could start."""
    get = record.get
    found = _asked(tuple([get(f"Resource_List.{name}") for name in _RESOURCES])).copy()
    if found["required_nodes"]:
        found["required_nodes"] = tuple(dict.fromkeys(hosts.get(name, name) for name in found["required_nodes"]))
    if letter in {"Q", "H", "W", "T", "B"}:
        found["held_by_limit"] = limit_in(comment) if letter == "Q" else ""
        found["waits_for"] = WaitsFor.NODES if letter == "B" else waits_for(letter, comment)
        found["is_held"] = letter == "H" and "u" in get("Hold_Types")
        found["elements"] = max(1, _queued(get("array_state_count")))
    return found


@lru_cache(maxsize=4096)  # most batch jobs ask for what many others ask for
def _asked(words: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that say what is asked for, out of the values of `_RESOURCES`."""
    select, place, ncpus, ngpus, mem, nodect = words
    places = place.split(":")
    requested = resources({"ncpus": ncpus or "0", "ngpus": ngpus or "0", "mem": mem or "0"})
    asked = chunks(select)
    of_each = [resources({"ncpus": "1"} | values) for _, values in asked]
    return {
        "requested": requested,
        "each": requested if "pack" in places or not of_each else _least(of_each),
        "is_exclusive": not {"excl", "exclhost"}.isdisjoint(places),
        # Without `scatter` chunks may share a node: how many nodes that takes, their size tells.
        "node_count": whole(nodect or "1") if not _SCATTERED.isdisjoint(places) else 1,
        "features": _features(asked),
        "required_nodes": tuple(values[name] for _, values in asked for name in ("host", "vnode") if name in values),
    }


def _least(of_each: list[Resources]) -> Resources:
    return Resources(
        cpus=min(one.cpus for one in of_each),
        gpus=min(one.gpus for one in of_each),
        memory_mb=min(one.memory_mb for one in of_each),
    )


def _features(asked: tuple[tuple[int, dict[str, str]], ...]) -> str:
    """Return what every chunk wants a node to match, as `color=red&feat=True`."""
    if not asked:
        return ""
    wanted = [
        {
            f"{name}={value}"
            for name, value in values.items()
            if name not in _AMOUNTS | {"host", "vnode"} and value != "False" and not _SIZE_OR_NUMBER.fullmatch(value)
        }
        for _, values in asked
    ]
    return "&".join(sorted(set.intersection(*wanted)))
