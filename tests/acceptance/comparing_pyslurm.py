"""Both sources on one real Slurm: the commands and pyslurm show the same snapshot, and what a look with each costs.

Not collected with the other tests, because pyslurm has to be built for the very Slurm that is installed: `make
test-pyslurm` runs it, and it fails where pyslurm is missing. docs/schedulers/slurm.md has the record of the last run.
"""

import time
from datetime import timedelta

import pytest
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import ClusterSnapshot, WaitsFor
from harvester_adapters.slurm.adapter import SlurmAdapter

LOOKS = 20
PRIME = (
    ("--nodes=2-3", "--job-name=range", "--time=1-02:00:00"),
    ("--ntasks=8", "--mem-per-cpu=50", "--job-name=spread"),
    ("--array=1-20%3", "--job-name=array"),
    ("--nodes=1", "--hold", "--job-name=held"),
    ("--nodes=1", "--begin=now+2hours", "--job-name=later"),
    ("--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=1", "--job-name=gpus each"),
    ("--gpus=3", "--job-name=gpus"),
    ("--gpus-per-task=1", "--ntasks=1", "--job-name=gpu a task"),
    ("--nodelist=n3", "--exclusive", "--job-name=listed"),
    ("--exclude=n1,n2", "--nodes=1", "--job-name=exclude"),
    ("--partition=prime,harvest", "--nodes=8", "--job-name=either"),
    ("--nodes=1", "--constraint=fat", "--job-name=two\nlines, a|b é"),
    ("--nodes=1", "--cpus-per-task=1", ":", "--nodes=1", "--cpus-per-task=2", "--job-name=het"),
)


@pytest.fixture
def busy(site):
    """Yield a cluster with batch jobs of many kinds, a drained node and a reservation."""
    slurm = site("tiers", nodes=8, gpus=2, features={"fat": ["n1"]})
    submit = ("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600")
    slurm.run(*submit, "--partition=prime", "--nodes=4", "--exclusive", "--job-name=full")
    slurm.run(
        *submit, "--partition=harvest", "--nodes=1", "--cpus-per-task=1", "--gres=gpu:1", "--mem=300", "--time=30"
    )
    time.sleep(3)
    for options in PRIME:
        slurm.run("sbatch", "--parsable", "--output=/dev/null", "--partition=prime", *options, "--wrap=sleep 600")
    slurm.run("scontrol", "update", "nodename=n8", "state=drain", "reason=bad disk, really")
    slurm.run(
        "scontrol", "create", "reservation", "reservationname=maint", "starttime=now+2hours", "duration=60",
        "nodes=n7", "flags=maint", "users=root",
    )  # fmt: skip
    time.sleep(5)  # until backfill has looked, and nothing changes any more
    try:
        yield slurm
    finally:
        slurm.run("scontrol", "delete", "reservationname=maint")
        slurm.run("scontrol", "update", "nodename=n8", "state=resume")
        slurm.clear()


def ordered(snapshot: ClusterSnapshot) -> ClusterSnapshot:
    """Return a snapshot without what differs from look to look: the time, and squeue's order."""
    queue = sorted(snapshot.batch_jobs, key=lambda batch: int(batch.batch_job_id))
    return replace(snapshot, taken_at=0.0, batch_jobs=tuple(queue))


def timed(adapter: SlurmAdapter) -> list[float]:
    """Return the milliseconds of some looks."""
    took = []
    for _ in range(LOOKS):
        before = time.perf_counter()
        adapter.snapshot()
        took.append(1000 * (time.perf_counter() - before))
    return took


def test_both_sources_give_the_same_snapshot_of_the_same_cluster(busy, tmp_path, figures):
    commands, library = (
        SlurmAdapter(work_dir=tmp_path / kind, cache_for=timedelta(0), source=kind) for kind in ("commands", "pyslurm")
    )
    for _ in range(3):  # backfill may plan anew between the two looks
        one, other = ordered(commands.snapshot()), ordered(library.snapshot())
        if one == other:
            break
    assert library.source_in_use == ("pyslurm", ""), "build pyslurm for this Slurm: docs/schedulers/slurm.md"
    assert one == other
    assert len(one.batch_jobs) >= len(PRIME) + 3
    assert {WaitsFor.NODES, WaitsFor.OTHER} <= {batch.waits_for for batch in one.batch_jobs}
    assert any(batch.start_at and batch.nodes for batch in one.batch_jobs)
    figures.add("a look by the commands, ms", *timed(commands))
    figures.add("a look by pyslurm, ms", *timed(library))
