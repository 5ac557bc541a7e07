"""A prime load: everybody else's batch jobs of a made-up day, drawn from a seed. Pure: what Slurm is asked, and when.

The kinds are those that a site has: whole nodes, several of them, some cores of a node, arrays, jobs that depend on
others, jobs that are cancelled, and limits that have little to do with the run times.
"""

from __future__ import annotations

import random
from enum import StrEnum
from pathlib import Path

import msgspec

OCCUPANCY = 0.7  # of the nodes, on average


class Kind(StrEnum):
    """What is special about a prime job."""

    NODES = "whole nodes"
    CORES = "cores of a node"
    ARRAY = "array"
    DEPENDENT = "depends on another"
    CANCELLED = "cancelled"


_KINDS = [Kind.NODES] * 9 + [Kind.CORES] * 4 + [Kind.ARRAY] * 2 + [Kind.DEPENDENT] * 3 + [Kind.CANCELLED] * 2


class PrimeJob(msgspec.Struct, frozen=True, kw_only=True):
    """One submission."""

    index: int
    kind: Kind
    at_s: float  # after the beginning
    runs_s: float
    limit_min: int
    nodes: int = 1
    cores: int = 0  # of one node; 0: whole nodes
    tasks: int = 1  # of an array
    after: int | None = None  # the index of the one that must have ended
    cancel_s: float | None = None  # so long after its submission it is cancelled

    @property
    def keys(self) -> list[str]:
        """What its runs are called: one, or one a task."""
        return [str(self.index)] if self.tasks == 1 else [f"{self.index}.{task}" for task in range(self.tasks)]


def draw(seed: int, minutes: float, nodes: int, cores: int) -> list[PrimeJob]:
    """Return the prime jobs of `minutes` on a cluster of `nodes` with `cores` each, in the order of submission."""
    chance = random.Random(seed)  # noqa: S311 - a workload, no secret
    jobs: list[PrimeJob] = []
    at_s = 0.0
    while at_s < 60 * minutes - 20:
        job = _draw_one(chance, jobs, at_s, nodes, cores)
        jobs.append(job)
        area = job.nodes * job.tasks * job.runs_s / (cores if job.cores else 1)
        at_s += chance.expovariate(OCCUPANCY * nodes / area)
    return jobs


def _draw_one(chance: random.Random, before: list[PrimeJob], at_s: float, nodes: int, cores: int) -> PrimeJob:
    kind = chance.choice(_KINDS)
    runs_s = chance.choice([5.0, 10.0, 15.0, 25.0, 40.0])
    # A run of 40 s fits into the shortest limit. Behind wide jobs that wait for the ends of long limits there are
    # windows of known length, the only ones that strict mode uses.
    limit_min = 1 + chance.choice([0, 0, 1, 4, 9])
    wide = min(nodes, chance.choice([1, 1, 2, 2, 4, max(1, nodes - 2), nodes]))
    job = PrimeJob(index=len(before), kind=kind, at_s=at_s, runs_s=runs_s, limit_min=limit_min, nodes=wide)
    match kind:
        case Kind.CORES:
            return msgspec.structs.replace(job, nodes=1, cores=chance.randint(1, max(1, cores - 1)))
        case Kind.ARRAY:
            return msgspec.structs.replace(job, nodes=1, tasks=chance.randint(2, 4), cores=chance.choice([0, 1]))
        case Kind.DEPENDENT if before:
            single = [other.index for other in before[-4:] if other.tasks == 1 and other.cancel_s is None]
            return msgspec.structs.replace(job, after=chance.choice(single)) if single else job
        case Kind.CANCELLED:
            return msgspec.structs.replace(job, cancel_s=chance.choice([3.0, 10.0, 20.0]))
        case _:
            return job


def sbatch(job: PrimeJob, script: Path, stamps: Path, ids: dict[int, str]) -> list[str]:
    """Return the command that submits `job`.

    Parameters
    ----------
    script: `prime_script.SCRIPT` in a file.
    stamps: the folder for what it writes.
    ids: the batch job ids of those submitted before, by index.
    """
    command = ["sbatch", "--parsable", "--partition=prime", f"--time={job.limit_min}", "--output=/dev/null"]
    if job.cores:
        command += ["--ntasks=1", f"--cpus-per-task={job.cores}"]
    else:
        command += [f"--nodes={job.nodes}", "--exclusive"]
    if job.tasks > 1:
        command.append(f"--array=0-{job.tasks - 1}")
    if job.after is not None:
        command.append(f"--dependency=afterany:{ids[job.after]}")
    return [*command, str(script), str(stamps / str(job.index)), f"{job.runs_s:g}"]
