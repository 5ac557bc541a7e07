"""`sacct --parsable2` dumps: a header that names the columns, `|` between them, one batch job a line.

Needs JobID, Submit, NNodes (or AllocNodes), and ElapsedRaw, Elapsed, or Start and End. Timelimit (or TimelimitRaw) is
the limit, where it is there. Steps (`123.batch`) are left out; so is what never ran or has not ended. Times are read as
they stand, without a zone: only their distances matter, but for the hour in which the clocks change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.jobs import JobTrace, PrimeJob, trace
from harvester.simulator.inputs.trace_file import Complaints, lines

COMMAND = "sacct -a -X --parsable2 -o JobID,Submit,Start,End,ElapsedRaw,Timelimit,NNodes,State,Partition"
_SPAN = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)(?:\.\d+)?")
_LONGEST_S = 366 * 86_400.0  # UNLIMITED, for a scheduler that must plan with something
_NOT_OVER = ("PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING")
_UNKNOWN = frozenset({"", "Unknown", "None", "N/A", "INVALID"})


def read(path: Path, *, strict: bool = False, partitions: frozenset[str] = frozenset()) -> JobTrace:
    """Read a dump, plain or .gz.

    Parameters
    ----------
    strict: refuse a malformed line instead of skipping it.
    partitions: keep only batch jobs of these; empty keeps all.

    Raises `SimulationError` where the file cannot be read, lacks a column, holds no batch job that ran, or `strict`
    finds a malformed line.
    """
    complaints = Complaints(str(path), strict=strict)
    jobs: list[PrimeJob] = []
    never_ran = 0
    columns: list[str] = []
    for number, line in lines(path):
        if not columns:
            columns = _columns(path, line)
            continue
        cells = line.split("|")
        if not line:
            continue
        if len(cells) != len(columns):
            complaints.add(number, f"{len(cells)} fields where the header names {len(columns)}")
            continue
        row = dict(zip(columns, cells, strict=True))
        if "." in row["jobid"] or (partitions and row.get("partition", "") not in partitions):
            continue
        try:
            job = _job(row, number)
        except ValueError as error:
            complaints.add(number, str(error))
            continue
        if job is None:
            never_ran += 1
        else:
            jobs.append(job)
    return trace(path.name, jobs, machine=0, never_ran=never_ran, skipped=complaints.result())


def _columns(path: Path, line: str) -> list[str]:
    columns = [word.strip().lower() for word in line.split("|")]
    if "jobid" not in columns and "jobidraw" in columns:
        columns[columns.index("jobidraw")] = "jobid"
    missing = [name for name in ("jobid", "submit") if name not in columns]
    if not {"nnodes", "allocnodes"} & set(columns):
        missing.append("nnodes")
    if not ({"elapsedraw", "elapsed"} & set(columns) or {"start", "end"} <= set(columns)):
        missing.append("elapsedraw")
    if missing:
        raise SimulationError(f"{path}, line 1: the header lacks {', '.join(missing)}; make the dump with: {COMMAND}")
    return columns


def _job(row: Mapping[str, str], number: int) -> PrimeJob | None:
    """Return the batch job of a row, None where it never ran or is not over. Raises `ValueError`."""
    if row.get("state", "").upper().startswith(_NOT_OVER):
        return None
    submit = _instant("Submit", row["submit"])
    if submit is None:
        raise ValueError("Submit is unknown")
    nodes = _count(row.get("nnodes") or row.get("allocnodes") or "0")
    run = _elapsed(row)
    if run is None or run == 0 or nodes == 0:
        return None
    limit = _limit(row) or run
    return PrimeJob(
        job_id=row["jobid"], submit_at=submit, run_s=min(run, limit), limit_s=limit, nodes=nodes, line=number
    )


def _elapsed(row: Mapping[str, str]) -> float | None:
    raw = row.get("elapsedraw", "")
    if raw not in _UNKNOWN:
        return _number("ElapsedRaw", raw)
    if row.get("elapsed", "") not in _UNKNOWN:
        return _span("Elapsed", row["elapsed"])
    start, end = _instant("Start", row.get("start", "")), _instant("End", row.get("end", ""))
    if start is None or end is None:
        return None
    if end < start:
        raise ValueError(f"End {row['end']} is before Start {row['start']}: a negative run time")
    return end - start


def _limit(row: Mapping[str, str]) -> float | None:
    raw, text = row.get("timelimitraw", ""), row.get("timelimit", "")
    if "UNLIMITED" in {raw.upper(), text.upper()}:
        return _LONGEST_S
    if raw not in _UNKNOWN and raw.lower() != "partition_limit":
        return _number("TimelimitRaw", raw) * 60  # minutes
    if text not in _UNKNOWN and text.lower() != "partition_limit":
        return _span("Timelimit", text)
    return None


def _instant(name: str, text: str) -> float | None:
    if text in _UNKNOWN:
        return None
    if text.isdecimal():
        return float(text)  # SLURM_TIME_FORMAT=%s
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} {text[:30]!r} is not a time like 2026-03-01T12:00:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.timestamp() < 0:
        raise ValueError(f"{name} {text} is a negative time")
    return moment.timestamp()


def _span(name: str, text: str) -> float:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{name} {text[:30]!r} is not a time like 1-02:03:04")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _number(name: str, text: str) -> float:
    if text.startswith("-") and text[1:].isdecimal():
        raise ValueError(f"a negative {name}: {text}")
    if not text.isdecimal():
        raise ValueError(f"{name} {text[:30]!r} is not a number")
    return float(text)


def _count(text: str) -> int:
    return int(_number("NNodes", text or "0"))
