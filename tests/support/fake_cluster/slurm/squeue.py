"""squeue of the fake Slurm: `--Format` and `--format` with any fields, in any order, with any delimiter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from support.fake_cluster.answers import Answer, Call, complained
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import FakeBatchJob, Phase
from support.fake_cluster.slurm import words

Version = tuple[int, ...]
Column = Callable[[FakeBatchJob, Version], str]


def _gpus(batch: FakeBatchJob) -> str:
    return f"gres:gpu:{batch.wish.each.gpus}" if batch.wish.each.gpus else "N/A"


def _end(batch: FakeBatchJob) -> float | None:
    return batch.ended_at if batch.has_ended else batch.kill_at or batch.end_at


def _start(batch: FakeBatchJob) -> float | None:
    return batch.plan_at if batch.phase is Phase.PENDING else batch.started_at


def _priority(batch: FakeBatchJob) -> str:
    is_held = batch.phase is Phase.PENDING and batch.is_held
    return "0" if is_held else str(4_294_900_000 + batch.wish.priority - batch.number)


# By the name in lower case: the header, and the column.
COLUMNS: dict[str, tuple[str, Column]] = {
    "jobid": ("JOBID", lambda batch, _: str(batch.number)),
    "jobarrayid": ("JOBID", lambda batch, _: str(batch.number)),
    "arraytaskid": ("ARRAY_TASK_ID", lambda *_: "N/A"),
    "arrayjobid": ("ARRAY_JOB_ID", lambda batch, _: str(batch.number)),
    "hetjobid": ("HET_JOB_ID", lambda *_: "N/A"),
    "hetjoboffset": ("HET_JOB_OFFSET", lambda *_: "N/A"),
    "partition": ("PARTITION", lambda batch, _: batch.wish.queue),
    "username": ("USER", lambda batch, _: batch.wish.user),
    "account": ("ACCOUNT", lambda *_: "(null)"),
    "qos": ("QOS", lambda *_: "normal"),
    "state": ("STATE", words.state),
    "reason": ("REASON", lambda batch, _: words.reason(batch)),
    "submittime": ("SUBMIT_TIME", lambda batch, _: words.instant(batch.submitted_at)),
    "eligibletime": ("ELIGIBLE_TIME", lambda batch, _: words.instant(batch.submitted_at)),
    "starttime": ("START_TIME", lambda batch, _: words.instant(_start(batch))),
    "endtime": ("END_TIME", lambda batch, _: words.instant(_end(batch))),
    "preempttime": ("PREEMPT_TIME", lambda batch, _: words.instant(batch.preempt_at)),
    "numnodes": ("NODES", lambda batch, _: str(batch.wish.nodes)),
    "numcpus": ("CPUS", lambda batch, _: str(batch.wish.nodes * batch.wish.each.cpus)),
    "numtasks": ("TASKS", lambda batch, _: str(batch.wish.nodes)),
    "mincpus": ("MIN_CPUS", lambda batch, _: str(batch.wish.each.cpus)),
    "minmemory": ("MIN_MEMORY", lambda batch, _: f"{batch.wish.each.memory_mb}M"),
    "tres-alloc": ("TRES_ALLOC", lambda batch, _: words.tres(batch.wish.each, batch.wish.nodes)),
    "tres-per-node": ("TRES_PER_NODE", lambda batch, _: _gpus(batch)),
    "tres-per-job": ("TRES_PER_JOB", lambda *_: "N/A"),
    "tres-per-task": ("TRES_PER_TASK", lambda *_: "N/A"),
    "tres-per-socket": ("TRES_PER_SOCKET", lambda *_: "N/A"),
    "licenses": ("LICENSES", lambda *_: "(null)"),
    "dependency": ("DEPENDENCY", lambda *_: "(null)"),
    "threads": ("THREADS_PER_CORE", lambda *_: "*"),
    "oversubscribe": ("OVER_SUBSCRIBE", lambda _, version: "OK" if version < (26,) else "YES"),
    "prioritylong": ("PRIORITY", lambda batch, _: _priority(batch)),
    "timelimit": ("TIME_LIMIT", lambda batch, _: words.clock(batch.limit_s or batch.wish.limit_s)),
    "feature": ("FEATURES", lambda *_: "(null)"),
    "reqnodes": ("REQ_NODES", lambda batch, _: words.names(batch.wish.required)),
    "reservation": ("RESERVATION", lambda *_: "(null)"),
    "schednodes": ("SCHEDNODES", lambda batch, _: words.names(batch.plan_nodes) or "(null)"),
    "nodelist": ("NODELIST", lambda batch, _: words.names(batch.nodes)),
    "name": ("NAME", lambda batch, _: batch.wish.name),
}
# What came later than with 22.05. A version that does not know a column prints it empty, complains, and succeeds.
_LATER: dict[str, tuple[Version, str, Column]] = {
    "excnodes": ((24, 5), "EXC_NODES", lambda batch, _: words.names(batch.wish.excluded)),
    "exclusive": ((26,), "EXCLUSIVE", lambda *_: "NO"),
}
_LETTERS = {
    "A": "jobid", "i": "jobid", "j": "name", "P": "partition", "u": "username", "T": "state", "r": "reason",
    "S": "starttime", "e": "endtime", "N": "nodelist", "D": "numnodes", "C": "numcpus", "l": "timelimit",
    "x": "excnodes",
}  # fmt: skip


def squeue(cluster: FakeCluster, call: Call, version: Version) -> Answer:
    """Return what squeue prints."""
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in call.arguments)
    batches = list(cluster.batch_jobs.values())
    if asked := options.get("jobs") or options.get("j"):
        numbers = {int(word) for word in asked.split(",")}
        batches = [batch for batch in batches if batch.number in numbers]
        if not batches and len(numbers) == 1:
            return complained("slurm_load_jobs error: Invalid job id specified\n")
    states = options.get("states", "").upper()
    if states and states != "ALL":
        batches = [batch for batch in batches if words.state(batch, version) in states.split(",")]
    elif not states:
        batches = [batch for batch in batches if not batch.has_ended]
    if user := options.get("user"):
        batches = [batch for batch in batches if batch.wish.user in user.split(",")]
    if "format" in options:
        return _table(batches, *_letters(options["format"]), version, {*options})
    return _table(batches, *_fields(options.get("Format", "jobid:10,name:20,state:10")), version, {*options})


def _fields(text: str) -> tuple[list[str], list[str]]:
    """Return the names of the columns and what follows each, of `Field:0SUFFIX,Field:0SUFFIX`."""
    found = [re.fullmatch(r"([\w-]+)(?::(\d*)(.*))?", part, re.DOTALL) for part in text.split(",")]
    return [each[1].lower() for each in found if each], [each[3] or " " for each in found if each]


def _letters(text: str) -> tuple[list[str], list[str]]:
    """Return the same of `%ASUFFIX%xSUFFIX`."""
    _, *parts = re.split(r"%\.?\d*([a-zA-Z])", text)
    return [_LETTERS[letter] for letter in parts[::2]], parts[1::2]


def _table(
    batches: Iterable[FakeBatchJob], fields: list[str], suffixes: list[str], version: Version, options: set[str]
) -> Answer:
    columns, unknown = [], []
    for field, suffix in zip(fields, suffixes, strict=True):
        since, header, column = _LATER.get(field, ((), *COLUMNS.get(field, ("", None))))
        if column is None or (version < since and "format" not in options):
            unknown.append(f"squeue: error: Invalid job format specification: {field}\n")
            header, column = "", lambda *_: ""
        columns.append((header, column, suffix))
    lines = [] if {"noheader", "h"} & options else ["".join(header + suffix for header, _, suffix in columns)]
    lines += ["".join(column(batch, version) + suffix for _, column, suffix in columns) for batch in batches]
    out = "".join(line + "\n" for line in lines)
    return Answer(stdout=out.encode(errors="surrogateescape"), stderr="".join(unknown).encode())
