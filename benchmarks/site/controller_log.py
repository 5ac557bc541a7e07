"""What slurmctld's log tells to the millisecond: when it started a batch job. Slurm's own answers are whole seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

# "sched: Allocate JobId=7 NodeList=…" and "sched/backfill: _start_job: Started JobId=7 in …", on all versions
_START = re.compile(r"^\[([0-9T:.-]+)\] .*(?:sched: Allocate|_start_job: Started) JobId=(?:\d+_\d+\()?(\d+)")


def starts(lines: Iterable[str]) -> dict[str, float]:
    """Return by batch job id when each was started, in Unix seconds; the log's times are this machine's local ones."""
    found: dict[str, float] = {}
    for line in lines:
        if match := _START.match(line):
            found[match[2]] = datetime.fromisoformat(match[1]).timestamp()
    return found
