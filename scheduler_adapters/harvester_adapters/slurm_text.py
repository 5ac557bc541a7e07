"""Slurm's text, read: from what squeue and scontrol print to the records of `harvester.domain.cluster`.

Pure: text in, records out. Owns the format that squeue is asked for, so that question and answer cannot drift apart. A
text that is not understood raises `SchedulerUnavailable` naming the place: a misparse must never look like a cluster
without pilots. A state that is not known is UNKNOWN, never an end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from harvester.domain.cluster import BatchJob, BatchState, Node, NodeState, Partition, Reservation
from harvester.domain.ports import SchedulerUnavailable
from harvester.domain.resources import Resources

_FIELDS = (
    "JobID", "Partition", "UserName", "State", "Reason", "SubmitTime", "StartTime", "EndTime", "PreemptTime",
    "NumNodes", "NumCPUs", "tres-alloc", "tres-per-node", "tres-per-job", "NodeList", "SchedNodes", "Name",
)  # fmt: skip

_S = BatchState
_BATCH_STATES = {
    "PENDING": _S.PENDING, "REQUEUED": _S.PENDING, "REQUEUE_HOLD": _S.PENDING, "REQUEUE_FED": _S.PENDING,
    "RESV_DEL_HOLD": _S.PENDING, "SPECIAL_EXIT": _S.PENDING,
    # Its nodes are its own already: they boot, or a prolog runs.
    "CONFIGURING": _S.RUNNING, "RUNNING": _S.RUNNING, "RESIZING": _S.RUNNING, "SIGNALING": _S.RUNNING,
    "COMPLETING": _S.COMPLETING, "STAGE_OUT": _S.COMPLETING,
    "SUSPENDED": _S.SUSPENDED, "STOPPED": _S.SUSPENDED,
    "COMPLETED": _S.COMPLETED, "PREEMPTED": _S.PREEMPTED,
    "CANCELLED": _S.CANCELLED, "REVOKED": _S.CANCELLED,
    "TIMEOUT": _S.TIMEOUT, "DEADLINE": _S.TIMEOUT,
    "NODE_FAIL": _S.NODE_FAIL, "BOOT_FAIL": _S.NODE_FAIL, "LAUNCH_FAILED": _S.FAILED,
    "FAILED": _S.FAILED, "OUT_OF_MEMORY": _S.FAILED,
}  # fmt: skip

_N = NodeState
# The first flag found decides; otherwise the base state does. PLANNED (backfill has an eye on it) changes nothing:
# such a node is idle until the planned start. A powered-down node would have to be woken, which wins no idle time.
_NODE_FLAGS = (
    ({"DOWN", "NOT_RESPONDING", "FAIL", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN", "POWERING_UP", "POWER_UP",
      "REBOOT_ISSUED", "INVALID_REG", "INVAL"}, _N.DOWN),
    ({"DRAIN", "DRAINED", "DRAINING", "REBOOT_REQUESTED", "BLOCKED"}, _N.DRAINED),
    ({"RESERVED", "MAINTENANCE", "MAINT"}, _N.RESERVED),
    ({"COMPLETING"}, _N.ALLOCATED),  # not free yet, whatever the base state says
)  # fmt: skip
_NODE_BASES = {"IDLE": _N.IDLE, "MIXED": _N.MIXED, "ALLOCATED": _N.ALLOCATED}
_USABLE = {_N.IDLE, _N.MIXED, _N.ALLOCATED}

_NOTHING = {"", "(null)", "N/A", "NONE", "None", "Unknown", "n/a"}
_SIZES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}


def _malformed(what: str, line: str) -> SchedulerUnavailable:
    shown = line if len(line) <= 300 else line[:297] + "..."
    return SchedulerUnavailable(f"{what} is not understood, so the whole answer is not believed: {shown!r}")


# ---- batch jobs ----------------------------------------------------------------------------------------------------


def squeue_arguments(nonce: str) -> tuple[str, ...]:
    """Return the arguments for squeue whose output `batch_jobs` reads.

    Parameters
    ----------
    nonce: letters, new for every call. A batch job's name may hold anything, line breaks and control characters
        included (Slurm 22.05 prints them as they are), so no fixed delimiter is safe from a user; a fresh one is.

    The header is asked for on purpose: without it an empty answer could be an empty queue or no answer at all.
    """
    # `Field:0SUFFIX`: width 0 prints the field whole, without it Slurm cuts at 20 characters.
    columns = [f"{field}:0\x1f{nonce}" for field in _FIELDS[:-1]] + [f"{_FIELDS[-1]}:0\x1e{nonce}"]
    return ("--all", "--states=all", "--noconvert", "--Format=" + ",".join(columns))


def batch_jobs(text: str, nonce: str) -> tuple[BatchJob, ...]:
    """Return the batch jobs in the output of squeue, called with `squeue_arguments(nonce)` and TZ=UTC."""
    *records, rest = text.split(f"\x1e{nonce}")
    rows = [record.removeprefix("\n").split(f"\x1f{nonce}") for record in records]
    if not rows or rows[0][0] != "JOBID" or rest.strip():
        raise _malformed("squeue's answer (cut off, or in another format)", rest or text)
    for row in rows:
        if len(row) != len(_FIELDS):
            raise _malformed(f"a row of squeue with {len(row)} fields instead of {len(_FIELDS)}", "|".join(row))
    return tuple(_batch_job(dict(zip(_FIELDS, row, strict=True))) for row in rows[1:])


def _batch_job(field: dict[str, str]) -> BatchJob:
    try:
        if not field["JobID"].isdecimal():
            raise ValueError("JobID")  # noqa: TRY301 - one message for every field, below
        state = _BATCH_STATES.get(field["State"], BatchState.UNKNOWN)
        preempt_at = instant(field["PreemptTime"])
        # A pilot that leaves within the grace time ends COMPLETED on 22.05 and PREEMPTED on 24.11; the time of the
        # preemption is told by both.
        if preempt_at is not None and state in {BatchState.COMPLETED, BatchState.FAILED}:
            state = BatchState.PREEMPTED
        node_count = int(field["NumNodes"].partition("-")[0])
        return BatchJob(
            batch_job_id=field["JobID"],
            name=field["Name"],
            user=field["UserName"],
            partition=field["Partition"],
            state=state,
            reason="" if field["Reason"] in _NOTHING else field["Reason"],
            nodes=node_names(field["NodeList"]) or node_names(field["SchedNodes"]),
            requested=_requested(field, node_count),
            node_count=node_count,
            submitted_at=instant(field["SubmitTime"]),
            start_at=instant(field["StartTime"]),
            end_at=instant(field["EndTime"]),
            preempt_at=preempt_at,
        )
    except ValueError as error:
        raise _malformed("a row of squeue", "|".join(field.values())) from error


def _requested(field: dict[str, str], node_count: int) -> Resources:
    given = tres(field["tres-alloc"])
    # GPUs are in tres-alloc only where the site has AccountingStorageTRES=gres/gpu.
    gpus = given.gpus or gpu_count(field["tres-per-node"]) * node_count or gpu_count(field["tres-per-job"])
    return Resources(cpus=given.cpus or int(field["NumCPUs"]), gpus=gpus, memory_mb=given.memory_mb)


# ---- nodes and partitions ------------------------------------------------------------------------------------------


def nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes in the output of `scontrol --details --oneliner show node`."""
    return tuple(_node(line, words) for line, words in _lines(text, "NodeName"))


def _node(line: str, words: dict[str, str]) -> Node:
    try:
        state = node_state(words["State"])
        total = Resources(
            cpus=int(words.get("CPUEfctv", words["CPUTot"])),
            gpus=gpu_count(words["Gres"]),
            memory_mb=int(words["RealMemory"]),
        )
        # GresUsed counts always, AllocTRES only where the site has AccountingStorageTRES=gres/gpu.
        gpus_used = gpu_count(words.get("GresUsed", "")) or tres(words.get("AllocTRES", "")).gpus
        free = total - Resources(cpus=int(words["CPUAlloc"]), gpus=gpus_used, memory_mb=int(words["AllocMem"]))
        partitions = tuple(name for name in words.get("Partitions", "").split(",") if name not in _NOTHING)
    except (KeyError, ValueError) as error:
        raise _malformed("a node of scontrol", line) from error
    nothing = Resources(cpus=0)
    return Node(
        name=words["NodeName"],
        state=state,
        partitions=partitions,
        total=total,
        free=free if state in _USABLE else nothing,
    )


def node_state(word: str) -> NodeState:
    """Return what Slurm's state of a node (`IDLE`, `MIXED+PLANNED`, `DOWN*+DRAIN`) says of its use to us."""
    base, *flags = re.split(r"\+", word.upper())
    found = {re.sub(r"[^A-Z_]", "", part) for part in (base, *flags)}
    if "*" in word:  # older versions: does not respond
        found.add("NOT_RESPONDING")
    for names, state in _NODE_FLAGS:
        if found & names:
            return state
    return _NODE_BASES.get(re.sub(r"[^A-Z_]", "", base), NodeState.UNKNOWN)


def partitions(text: str) -> tuple[Partition, ...]:
    """Return the partitions in the output of `scontrol --oneliner show partition`."""
    return tuple(_partition(line, words) for line, words in _lines(text, "PartitionName"))


def _partition(line: str, words: dict[str, str]) -> Partition:
    try:
        return Partition(
            name=words["PartitionName"],
            is_up=words["State"] == "UP",
            max_time=duration(words["MaxTime"]),
            grace_time=timedelta(seconds=int(words["GraceTime"])),
            is_preemptible=bool(set(words["PreemptMode"].split(",")) & {"CANCEL", "REQUEUE", "SUSPEND"}),
        )
    except (KeyError, ValueError) as error:
        raise _malformed("a partition of scontrol", line) from error


def reservations(text: str) -> tuple[Reservation, ...]:
    """Return the reservations in the output of `scontrol --oneliner --all show reservation`, called with TZ=UTC.

    One of licenses or burst buffers only has no nodes, and is left out.
    """
    if text.strip() in {"", "No reservations in the system"}:
        return ()
    found = (_reservation(line, words) for line, words in _lines(text, "ReservationName"))
    return tuple(reservation for reservation in found if reservation.nodes)


def _reservation(line: str, words: dict[str, str]) -> Reservation:
    try:
        start_at = instant(words["StartTime"])
        if start_at is None:
            raise ValueError("StartTime")  # noqa: TRY301 - one message for every field, below
        return Reservation(
            name=words["ReservationName"],
            nodes=node_names(words["Nodes"]),
            start_at=start_at,
            end_at=instant(words["EndTime"]),
        )
    except (KeyError, ValueError) as error:
        raise _malformed("a reservation of scontrol", line) from error


def cuts_time_min(version: str) -> bool:
    """Tell whether backfill of a Slurm version gives a batch job with --time-min the largest walltime that fits.

    From 20.11 to 25.05.4 it gave exactly the minimum, whatever the room.
    """
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return [*numbers, 0, 0, 0][:3] >= [25, 5, 5]


def _lines(text: str, first: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each line of scontrol with its `key=value` words; free text comes last and never replaces a word."""
    lines = [line for line in text.split("\n") if line.strip()]  # splitlines() would split at more than line ends
    if not lines:
        raise SchedulerUnavailable(f"scontrol showed no {first} at all, which cannot be; the answer is not believed")
    for line in lines:
        if not line.startswith(f"{first}="):
            raise _malformed("a line of scontrol", line)
        words: dict[str, str] = {}
        for word in line.split():
            key, _, value = word.partition("=")
            words.setdefault(key, value)
        yield line, words


# ---- words ---------------------------------------------------------------------------------------------------------


def instant(word: str) -> float | None:
    """Return Unix seconds for Slurm's `2026-11-22T01:04:03` in UTC; None for N/A and its like."""
    if word in _NOTHING:
        return None
    return datetime.fromisoformat(word).replace(tzinfo=UTC).timestamp()


def duration(word: str) -> timedelta | None:
    """Return a limit such as `2-00:00:00`, `02:00:00` or `30:00`; None for UNLIMITED."""
    if word in {"UNLIMITED", "INFINITE"}:
        return None
    days, _, clock = word.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return timedelta(days=int(days or 0), seconds=seconds)


def tres(word: str) -> Resources:
    """Return the resources in `cpu=4,mem=2000M,node=1,billing=4,gres/gpu=2`; 0 for what is not in it."""
    cpus = gpus = memory_mb = 0
    for item in word.split(","):
        key, _, value = item.partition("=")
        if key == "cpu":
            cpus = int(value)
        elif key == "mem":
            memory_mb = _megabytes(value)
        elif key == "gres/gpu":
            gpus = int(value)
    return Resources(cpus=cpus, gpus=gpus, memory_mb=memory_mb)


def gpu_count(word: str) -> int:
    """Return the GPUs in `gpu:2`, `gpu:a100:2(S:0-1)`, `gres/gpu:1`, `gres:gpu:1`, `gpu:2(IDX:0-1)`, `(null)`."""
    bare = re.sub(r"\([^)]*\)", "", word)  # socket and index lists hold commas
    return sum(_gpus(item) for item in bare.split(",") if item)


def _gpus(item: str) -> int:
    parts = re.sub(r"^gres[:/]", "", item).split(":")
    if parts[0] != "gpu":
        return 0
    if len(parts) > 1 and parts[-1].isdecimal():
        return int(parts[-1])
    if parts[-1] and not parts[-1][0].isdecimal():  # `gpu` or `gpu:a100` asks for one
        return 1
    raise ValueError(item)


def _megabytes(word: str) -> int:
    factor = _SIZES.get(word[-1:], 0)
    return round(float(word[:-1]) * factor) if factor else int(word)


@lru_cache(maxsize=4096)
def node_names(word: str) -> tuple[str, ...]:
    """Return the nodes of a list such as `n[1-3,7],gpu01`. Raises `ValueError`."""
    if word in _NOTHING:
        return ()
    try:
        return tuple(NodeSet(word, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise ValueError(word) from error
