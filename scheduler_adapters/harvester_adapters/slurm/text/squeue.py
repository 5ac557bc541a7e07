"""Slurm's queue: what squeue is asked, and the batch jobs in its answer.

Pure: text in, records out. Question and answer are here together, so that they cannot drift apart. A text that is not
understood raises `SchedulerUnavailable` naming the place: a misparse must never look like a cluster without pilots. A
state that is not known is UNKNOWN, never an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.oddities import each
from harvester_adapters.slurm.text.reasons import limit_in, waits_for
from harvester_adapters.slurm.text.states import LEFT, batch_state, told_reason
from harvester_adapters.slurm.text.words import (
    NOTHING,
    duration,
    elements,
    gpu_count,
    instant,
    integer,
    malformed,
    megabytes,
    node_names,
    tres,
    tres_nodes,
)

# All are known to --Format from 22.05 on but two: ExcNodes came with 24.05, Exclusive with 26.05. For a field that it
# does not know squeue prints an empty column, a complaint on stderr, and succeeds.
_WANTS = (
    "JobID", "ArrayTaskID", "Partition", "UserName", "State", "Reason", "SubmitTime", "EligibleTime", "StartTime",
    "NumNodes", "NumCPUs", "MinCpus", "MinMemory", "tres-alloc", "tres-per-node", "tres-per-job", "tres-per-task",
    "OverSubscribe", "Exclusive", "PriorityLong", "TimeLimit", "Feature", "ReqNodes", "ExcNodes", "Reservation",
    "SchedNodes",
)  # fmt: skip
_LAST = "Name"  # users choose it, so it is nearest to the end
GLANCE = ("JobID", "Partition", "UserName", "State", "Reason", "PriorityLong", _LAST)
ALL = (*_WANTS, "EndTime", "PreemptTime", "NodeList", _LAST)

# USER, MCS and TOPO share a node with their like, of which a pilot is none. Up to 25.11 OverSubscribe=NO means that the
# nodes are the batch job's alone; from 26.05 on it is what everybody has, and Exclusive tells.
_SHARED = frozenset({"", "NO", "(null)", "N/A"})


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What squeue is asked.

    `nonce`: letters, new for every call. A batch job's name may hold anything, line breaks and control characters
    included (Slurm 22.05 prints them as they are), so no fixed delimiter is safe from a user; a fresh one is.
    """

    nonce: str
    fields: tuple[str, ...] = ALL
    options: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of squeue.

        The header is asked for on purpose: without it an empty answer could be an empty queue or no answer at all.
        """
        # `Field:0SUFFIX`: width 0 prints the field whole, without it Slurm cuts at 20 characters.
        columns = [f"{field}:0\x1f{self.nonce}" for field in self.fields[:-1]]
        columns.append(f"{self.fields[-1]}:0\x1e{self.nonce}")
        return ("--all", *self.options, "--noconvert", "--Format=" + ",".join(columns))


def not_ended(nonce: str) -> Question:
    """Ask for all that has not ended: squeue's default, whichever states a version has."""
    return Question(nonce=nonce)


def at_a_glance(nonce: str) -> Question:
    """Ask for all that has not ended, and for little of each."""
    return Question(nonce=nonce, fields=GLANCE)


def by_id(nonce: str, batch_job_ids: Sequence[str]) -> Question:
    """Ask for batch jobs of whatever state by their ids."""
    return Question(nonce=nonce, options=("--states=all", "--jobs=" + ",".join(batch_job_ids)))


def batch_jobs(text: str, question: Question, *, odd: list[str] | None = None) -> tuple[BatchJob, ...]:
    """Return the batch jobs in squeue's answer to `question`, given with TZ=UTC.

    Parameters
    ----------
    odd: what could not be read is added to it. Of such a batch job id, name, state and nodes are told, no more.
    """
    header, *rows = _rows(text, question)
    return read_rows(rows, header["Exclusive"], odd=odd)


def read_rows(
    rows: Iterable[dict[str, str]], exclusive: str = "", *, odd: list[str] | None = None
) -> tuple[BatchJob, ...]:
    """Return the batch jobs in rows with all fields.

    Parameters
    ----------
    exclusive: the header of that column, empty where this Slurm has none.
    odd: as of `batch_jobs`.
    """
    return each(rows, lambda row: _batch_job(row, exclusive), _unread, [] if odd is None else odd)


def _unread(field: dict[str, str]) -> BatchJob | None:
    """Return what is certain of a batch job that cannot be read whole: that it is there."""
    if not field["JobID"].isdecimal():
        return None
    try:
        nodes = node_names(field.get("NodeList", ""))
    except ValueError:
        nodes = ()
    return BatchJob(
        batch_job_id=field["JobID"],
        name=field["Name"],
        user=field["UserName"],
        partition=field["Partition"],
        state=batch_state(field["State"]),
        nodes=nodes,
        waits_for=WaitsFor.UNKNOWN,
    )


def glimpses(text: str, question: Question) -> tuple[BatchJob, ...]:
    """Return what a glance shows of the batch jobs: who they are, their state, and what they wait for."""
    _, *rows = _rows(text, question)
    return each(rows, _glimpse, _unread, [])


def _glimpse(field: dict[str, str]) -> BatchJob:
    try:
        return BatchJob(
            batch_job_id=field["JobID"],
            name=field["Name"],
            user=field["UserName"],
            partition=field["Partition"],
            state=batch_state(field["State"]),
            waits_for=waits_for(field["State"], field["Reason"], integer(field["PriorityLong"])),
        )
    except ValueError as error:
        raise malformed("a row of squeue", "|".join(field.values())) from error


def _rows(text: str, question: Question) -> list[dict[str, str]]:
    """Return the rows, the header first, by the names of the fields."""
    fields = question.fields
    *records, rest = text.split(f"\x1e{question.nonce}")
    rows = [record.removeprefix("\n").split(f"\x1f{question.nonce}") for record in records]
    if not rows or rows[0][0] != "JOBID" or rest.strip():
        raise malformed("squeue's answer (cut off, or in another format)", rest or text)
    for row in rows:
        if len(row) != len(fields):
            raise malformed(f"a row of squeue with {len(row)} fields instead of {len(fields)}", "|".join(row))
    return [dict(zip(fields, row, strict=True)) for row in rows]


def _batch_job(field: dict[str, str], exclusive: str) -> BatchJob:
    try:
        if not field["JobID"].isdecimal():
            raise ValueError("JobID")  # noqa: TRY301 - one message for every field, below
        state = batch_state(field["State"])
        preempt_at = instant(field.get("PreemptTime", ""))
        # A pilot that leaves within the grace time ends COMPLETED on 22.05 and PREEMPTED on 24.11; the time of the
        # preemption is told by both.
        if preempt_at is not None and state in LEFT:
            state = BatchState.PREEMPTED
        node_count = _node_count(field, is_pending=state is BatchState.PENDING)
        return BatchJob(
            batch_job_id=field["JobID"],
            name=field["Name"],
            user=field["UserName"],
            partition=field["Partition"],
            state=state,
            reason=told_reason(field["State"], field["Reason"]),
            nodes=node_names(field.get("NodeList", "")) or node_names(field["SchedNodes"]),
            requested=_requested(field, node_count),
            node_count=node_count,
            submitted_at=instant(field["SubmitTime"]),
            start_at=instant(field["StartTime"]),
            end_at=instant(field.get("EndTime", "")),
            preempt_at=preempt_at,
            is_booting=field["State"] == "CONFIGURING",
            **(_wants(field, node_count, exclusive) if state is BatchState.PENDING else {}),
        )
    except ValueError as error:
        raise malformed("a row of squeue", "|".join(field.values())) from error


def _wants(field: dict[str, str], node_count: int, exclusive: str) -> dict[str, Any]:
    """Return the fields of a pending batch job that say when and where it could start."""
    priority = integer(field["PriorityLong"])
    alone = field["Exclusive"] not in _SHARED if exclusive else field["OverSubscribe"] not in {"OK", "YES"}
    return {
        "each": _each(field, node_count),
        "is_exclusive": alone,
        "elements": elements(field["ArrayTaskID"]),
        "waits_for": waits_for(field["State"], _reason(field), priority),
        "held_by_limit": limit_in(field["Reason"]),
        "is_held": field["Reason"] == "JobHeldUser",
        "priority": priority,
        "limit": duration(field["TimeLimit"]),
        "features": "" if field["Feature"] in NOTHING else field["Feature"],
        "required_nodes": node_names(field["ReqNodes"]),
        "excluded_nodes": node_names(field["ExcNodes"]),
        "reservation": "" if field["Reservation"] in NOTHING else field["Reservation"],
    }


def _reason(field: dict[str, str]) -> str:
    """Return why it pends.

    Before the scheduler's first look there is no word, and a start is its --begin: it is eligible from then on, or
    nobody has looked when. Backfill, which has looked, may also plan a start before there is a word.
    """
    start_at, eligible_at = instant(field["StartTime"]), instant(field["EligibleTime"])
    submitted_at = instant(field["SubmitTime"]) or 0.0
    begins_at = start_at if eligible_at in {None, start_at} else None
    if field["Reason"] in NOTHING and begins_at is not None and begins_at > submitted_at:
        return "BeginTime"
    return field["Reason"]


def _node_count(field: dict[str, str], *, is_pending: bool) -> int:
    """Return how many nodes a batch job has or needs at least.

    While it pends, NumNodes is what it may have at most (`--nodes=2-4` shows 4), or Slurm's estimate where its user has
    named no number; the number that was named is in the TRES, where it is 1 if there was none.
    """
    shown = integer(field["NumNodes"].partition("-")[0])
    if not is_pending:
        return shown
    named = tres_nodes(field["tres-alloc"])
    if named > 1 or (field["tres-per-job"] in NOTHING and integer(field["NumCPUs"]) < shown):
        return max(1, min(shown, named)) if shown else named
    return shown


def _requested(field: dict[str, str], node_count: int) -> Resources:
    given = tres(field["tres-alloc"])
    # GPUs are in tres-alloc only where the site has AccountingStorageTRES=gres/gpu.
    gpus = given.gpus or gpu_count(field["tres-per-node"]) * node_count or gpu_count(field["tres-per-job"])
    return Resources(cpus=given.cpus or integer(field["NumCPUs"]), gpus=gpus, memory_mb=given.memory_mb)


def _each(field: dict[str, str], node_count: int) -> Resources:
    """Return what a pending batch job needs at least on each node.

    Only that: `--ntasks=4` shows as one node with four CPUs, and starts on four nodes with one free CPU each.
    """
    cpus = integer(field["MinCpus"])
    gpus = gpu_count(field["tres-per-node"]) or min(1, gpu_count(field["tres-per-task"]))
    return Resources(cpus=cpus, gpus=gpus, memory_mb=_memory_each(field, cpus, node_count))


def _memory_each(field: dict[str, str], cpus: int, node_count: int) -> int:
    """Return the memory that is needed at least on each node.

    MinMemory is per CPU or per node, and squeue does not say which: the total tells. 0 there is --mem=0, all memory of
    the nodes, and the total has it.
    """
    least, total = megabytes(field["MinMemory"]), tres(field["tres-alloc"]).memory_mb
    named = tres_nodes(field["tres-alloc"]) or node_count
    if least and total == least * named:
        return least
    if least and total == least * integer(field["NumCPUs"]):
        return least * cpus
    return max(least, total // named) if named and named == node_count else least
