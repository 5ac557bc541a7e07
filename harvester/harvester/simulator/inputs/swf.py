"""The Standard Workload Format: 18 numbers a line, `;` before comments and headers, -1 for what is unknown."""

from __future__ import annotations

import re
from math import ceil, isfinite
from pathlib import Path

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.jobs import JobTrace, PrimeJob, trace
from harvester.simulator.inputs.trace_file import Complaints, lines

_FIELDS = 18
_SUBMIT, _WAIT, _RUN, _USED, _ASKED, _LIMIT = 1, 2, 3, 4, 7, 8
_SIZE = re.compile(r";\s*(MaxNodes|MaxProcs)\s*:\s*(\d+)", re.IGNORECASE)


def read(path: Path, *, strict: bool = False, procs_per_node: int = 1) -> JobTrace:
    """Read a trace, plain or .gz.

    Parameters
    ----------
    strict: refuse a malformed line instead of skipping it.
    procs_per_node: processors of the trace that make a node; nodes are taken as a whole.

    A batch job without a requested time gets its run time as limit. Raises `SimulationError` where the file cannot be
    read, holds no batch job, or `strict` finds a malformed line.
    """
    if procs_per_node < 1:
        raise SimulationError(f"--procs-per-node {procs_per_node} is impossible: it must be 1 or more")
    complaints = Complaints(str(path), strict=strict)
    jobs: list[PrimeJob] = []
    machine = never_ran = 0
    for number, line in lines(path):
        if line.startswith(";"):
            found = _SIZE.match(line)
            if found and found[1].lower() == "maxprocs":
                machine = ceil(int(found[2]) / procs_per_node)
            continue
        if not line:
            continue
        try:
            job = _job(line, number, procs_per_node)
        except ValueError as error:
            complaints.add(number, str(error))
            continue
        if job is None:
            never_ran += 1
        else:
            jobs.append(job)
    return trace(path.name, jobs, machine=machine, never_ran=never_ran, skipped=complaints.result())


def _job(line: str, number: int, procs_per_node: int) -> PrimeJob | None:
    """Return the batch job of a line, None where it never ran. Raises `ValueError` with what is wrong."""
    words = line.split()
    if len(words) < _FIELDS:
        raise ValueError(f"{len(words)} fields, not {_FIELDS}")
    del words[_FIELDS:]  # some archives add columns of their own
    try:
        values = [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise ValueError(f"{wrong[:30]!r} is not a number") from None
    if not all(map(isfinite, values)):
        raise ValueError("a field is not a finite number")
    if values[_SUBMIT] < 0:
        raise ValueError(f"a negative submit time: {words[_SUBMIT]}")
    for index, what in ((_WAIT, "wait"), (_RUN, "run time"), (_LIMIT, "requested time")):
        if values[index] < 0 and values[index] != -1:
            raise ValueError(f"a negative {what}: {words[index]}")
    procs = values[_USED] if values[_USED] > 0 else values[_ASKED]
    run = values[_RUN]
    if run <= 0 or procs <= 0:
        return None
    limit = values[_LIMIT] if values[_LIMIT] > 0 else run
    return PrimeJob(
        job_id=words[0],
        submit_at=values[_SUBMIT],
        run_s=min(run, limit),
        limit_s=limit,
        nodes=ceil(procs / procs_per_node),
        line=number,
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
