"""Room: for how long of its wait a prime job had room, as if there were no pilots. Pure.

A wait compared with another run's says little of one job: a second's shift lets backfill start others first, and what
waits behind them waits for half a minute more. So the wait is also looked at within one run: the seconds in which
enough nodes were free of prime jobs. Where the job was the first in the queue as well, nothing but Slurm's own delay,
and pilots, can have kept it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from benchmarks.prime.load import PrimeJob
from benchmarks.prime.player import Play


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one prime job's wait."""

    room_s: float  # with room for it
    first_s: float  # … and nobody before it in the queue


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the queue and on the nodes, in the order of the queue."""

    key: str
    job: PrimeJob
    since: float
    until: float  # it waits until then
    ends_at: float  # and runs until then
    nodes: tuple[str, ...]


def rooms(jobs: Sequence[PrimeJob], play: Play, nodes: Sequence[str], cores: int) -> dict[str, Room]:
    """Return by key the room that each run of `play` had that began, on `nodes` with `cores` each."""
    entries = [_entry(key, job, play) for job in jobs for key in job.keys]
    moments = sorted({moment for entry in entries for moment in (entry.since, entry.until, entry.ends_at)})
    found: dict[str, Room] = {}
    for place, entry in enumerate(entries):
        room_s = first_s = 0.0
        for begin, end in pairwise(moments):
            if entry.since <= begin and end <= entry.until and _has_room(entry.job, entries, begin, nodes, cores):
                room_s += end - begin
                is_first = not any(other.since <= begin < other.until for other in entries[:place])
                first_s += end - begin if is_first else 0.0
        if entry.key in play.runs:
            found[entry.key] = Room(room_s=room_s, first_s=first_s)
    return found


def _entry(key: str, job: PrimeJob, play: Play) -> _Entry:
    since = play.since(job)
    run = play.runs.get(key)
    if run is None:  # it was cancelled first
        until = max(since, play.submitted_at[job.index] + (job.cancel_s or 0.0))
        return _Entry(key=key, job=job, since=since, until=until, ends_at=until, nodes=())
    ends_at = run.started_at + job.runs_s if run.ended_at is None else run.ended_at
    return _Entry(key=key, job=job, since=since, until=run.started_at, ends_at=ends_at, nodes=run.nodes)


def _has_room(job: PrimeJob, entries: Sequence[_Entry], at: float, nodes: Sequence[str], cores: int) -> bool:
    used = dict.fromkeys(nodes, 0)
    for entry in entries:
        if entry.until <= at < entry.ends_at:
            for node in entry.nodes:
                used[node] += entry.job.cores or cores
    if job.cores:
        return any(taken + job.cores <= cores for taken in used.values())
    return sum(taken == 0 for taken in used.values()) >= job.nodes
