"""Plays a prime load on a cluster: submits and cancels in time, waits for the end, returns when each began.

Owns the clock of a play. What is submitted is `http_load`'s, when it ran is told by the jobs themselves
(`batch_script`), when it was submitted by the clock of this process, before sbatch is called.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.prime import batch_script, load
from benchmarks.prime.batch_script import PrimeRun
from benchmarks.prime.load import PrimeJob
from benchmarks.site.node_time import Stretch
from benchmarks.site.slurm import Site, SiteError

LOOK_S = 2.0  # from one look at whether all have ended to the next
PATIENCE_S = 600.0  # for the last to end


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a load."""

    begun_at: float
    ended_at: float
    submitted_at: dict[int, float]
    runs: dict[str, PrimeRun]

    def since(self, job: PrimeJob) -> float:
        """Return since when `job` could have begun: its submission, or the end of what it depends on."""
        submitted_at = self.submitted_at[job.index]
        other = None if job.after is None else self.runs.get(str(job.after))
        return submitted_at if other is None or other.ended_at is None else max(submitted_at, other.ended_at)

    def waits(self, jobs: list[PrimeJob]) -> dict[str, float]:
        """Return by key how long each waited that began."""
        found: dict[str, float] = {}
        for job in jobs:
            since = self.since(job)
            found |= {key: self.runs[key].started_at - since for key in job.keys if key in self.runs}
        return found

    def busy(self, jobs: list[PrimeJob]) -> dict[str, list[Stretch]]:
        """Return by node when prime jobs ran there, whole or in part."""
        found: dict[str, list[Stretch]] = {}
        for job in jobs:
            for run in (self.runs[key] for key in job.keys if key in self.runs):
                ended_at = run.started_at + job.runs_s if run.ended_at is None else run.ended_at
                for node in run.nodes:
                    found.setdefault(node, []).append((run.started_at, ended_at))
        return found


def play(site: Site, jobs: list[PrimeJob]) -> Play:
    """Submit `jobs` in time and return when all have ended."""
    with tempfile.TemporaryDirectory(prefix="harvester-prime-") as folder:
        stamps = Path(folder, "stamps")
        stamps.mkdir()
        script = batch_script.put(Path(folder))
        begun_at = time.time()
        submitted_at = _submit_all(site, jobs, script, stamps, begun_at)
        deadline = time.monotonic() + PATIENCE_S
        while site.batch_jobs("prime"):
            assert time.monotonic() < deadline, f"prime jobs have not ended: {site.run('squeue', '-p', 'prime')}"
            time.sleep(LOOK_S)
        return Play(begun_at=begun_at, ended_at=time.time(), submitted_at=submitted_at, runs=batch_script.read(stamps))


def _submit_all(site: Site, jobs: list[PrimeJob], script: Path, stamps: Path, begun_at: float) -> dict[int, float]:
    ids: dict[int, str] = {}
    submitted_at: dict[int, float] = {}
    moments = [(job.at_s, job.index, False) for job in jobs]
    moments += [(job.at_s + job.cancel_s, job.index, True) for job in jobs if job.cancel_s is not None]
    heapq.heapify(moments)
    while moments:
        at_s, index, is_cancel = heapq.heappop(moments)
        time.sleep(max(0.0, begun_at + at_s - time.time()))
        if is_cancel:
            _cancel(site, ids[index])
        else:
            submitted_at[index] = time.time()
            ids[index] = site.run(*load.sbatch(jobs[index], script, stamps, ids))
    return submitted_at


def _cancel(site: Site, batch_job: str) -> None:
    try:
        site.run("scancel", batch_job)
    except SiteError as error:
        print(f"scancel {batch_job}: {error}")  # it has ended meanwhile
