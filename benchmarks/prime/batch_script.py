"""The batch script of prime jobs, which sleeps and notes its start and end with the machine's clock, and its notes.

Slurm's own times are whole seconds. Owns the script's text and the reading of what it wrote.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harvester.domain.cluster import nodelist

SCRIPT = """#!/bin/bash
# FILE SECONDS, or FILE @MICROSECONDS since 1970 until when it runs
file=$1${SLURM_ARRAY_TASK_ID:+.$SLURM_ARRAY_TASK_ID}
echo "start ${EPOCHREALTIME/,/.} $SLURM_JOB_NODELIST" >>"$file"
over() { echo "end ${EPOCHREALTIME/,/.}" >>"$file"; exit "$1"; }
trap 'over 143' TERM
seconds=$2
if [[ $2 == @* ]]; then
    left=$((${2#@} - ${EPOCHREALTIME/[.,]/}))
    ((left > 0)) || over 0
    printf -v seconds '%d.%06d' $((left / 1000000)) $((left % 1000000))
fi
sleep "$seconds" &
wait $!
over 0
"""


class PrimeRun(msgspec.Struct, frozen=True, kw_only=True):
    """When and where a prime job ran; `ended_at` is None while it runs, and where it was killed."""

    key: str
    started_at: float
    ended_at: float | None
    nodes: tuple[str, ...]


def put(folder: Path) -> Path:
    """Write the script into `folder` and return its path."""
    script = folder / "prime.sh"
    script.write_text(SCRIPT)
    return script


def read(folder: Path) -> dict[str, PrimeRun]:
    """Return what the prime jobs have noted in `folder`, by their keys."""
    runs = (parse(path.name, path.read_text()) for path in sorted(folder.iterdir()))
    return {run.key: run for run in runs if run is not None}


def parse(key: str, text: str) -> PrimeRun | None:
    """Return the run that `text` tells of, from its first start to its last end; None where it has not begun."""
    lines = [line.split() for line in text.splitlines()]
    starts = [words for words in lines if words[0] == "start" and len(words) == 3]
    ends = [float(words[1]) for words in lines if words[0] == "end" and len(words) == 2]
    if not starts:
        return None
    return PrimeRun(
        key=key,
        started_at=float(starts[0][1]),
        ended_at=ends[-1] if ends else None,
        nodes=tuple(sorted(nodelist.expand(starts[0][2]), key=nodelist.number)),
    )
