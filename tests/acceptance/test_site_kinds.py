"""What each kind of site is for, held against the real Slurm: other tests build on it."""

import re
import time
from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(150)]

UPPER_THEN_LOWER = ["prime", "harvest"]


def wait_for(holds: Callable[[], bool], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def submitted(slurm, partition: str, *options: str) -> str:
    """Submit a batch job over all nodes whose one step lives until it is told to go, and return its id."""
    where = (f"--partition={partition}", f"--nodes={len(slurm.nodes)}", "--exclusive", "--time=5", "--output=/dev/null")
    step = f"srun sh -c 'touch {slurm.folder}/begun-$SLURM_JOB_ID; exec sleep 300'"
    return slurm.run("sbatch", "--parsable", *where, *options, f"--wrap={step}")


def runs(slurm, batch_job_id: str) -> bool:
    """Tell whether its step has begun: before, nobody hears the signal of an eviction until the grace time is over."""
    return state(slurm, batch_job_id) == "RUNNING" and (slurm.folder / f"begun-{batch_job_id}").exists()


def state(slurm, batch_job_id: str) -> str:
    return re.search(r"JobState=(\S+)", slurm.run("scontrol", "show", "job", batch_job_id))[1]


def running(slurm, partition: str, *options: str) -> str:
    """Submit a batch job over all nodes, and return its id when it runs."""
    batch_job_id = submitted(slurm, partition, *options)
    wait_for(lambda: runs(slurm, batch_job_id))
    return batch_job_id


def shown(slurm, field: str) -> list[str]:
    """Return a field of every partition, in Slurm's order."""
    return re.findall(rf"\b{field}=(\S+)", slurm.run("scontrol", "show", "partition"))


@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        ("tiers", ["OFF", "CANCEL"]),
        ("cluster-cancel", ["CANCEL", "CANCEL"]),
        ("requeue", ["OFF", "REQUEUE"]),
        ("suspend", ["GANG,SUSPEND", "GANG,SUSPEND"]),
        ("qos", ["CANCEL", "CANCEL"]),
        ("no-preemption", ["OFF", "OFF"]),
    ],
)
def test_what_slurm_shows_of_the_partitions(site, kind, modes):
    slurm = site(kind, nodes=2)
    assert shown(slurm, "PartitionName") == UPPER_THEN_LOWER
    assert shown(slurm, "Default") == ["YES", "NO"]
    assert shown(slurm, "PriorityTier") == ["10", "1"]
    assert shown(slurm, "PreemptMode") == modes


def test_where_the_mode_is_the_clusters_the_lower_tier_leaves_and_the_upper_stays(site):
    slurm = site("cluster-cancel", nodes=2)
    lower = running(slurm, "harvest")
    upper = submitted(slurm, "prime")
    wait_for(lambda: state(slurm, upper) == "RUNNING")
    assert state(slurm, lower) in {"COMPLETED", "PREEMPTED", "CANCELLED", "FAILED"}
    other = submitted(slurm, "prime")
    time.sleep(5)  # two looks of the scheduler
    assert (state(slurm, upper), state(slurm, other)) == ("RUNNING", "PENDING")


def test_under_requeue_who_was_evicted_waits_again(site):
    slurm = site("requeue", nodes=2, grace=0)  # who ends within a grace time has ended, on 22.05
    lower = running(slurm, "harvest", "--requeue")
    upper = submitted(slurm, "prime")
    wait_for(lambda: state(slurm, upper) == "RUNNING")
    wait_for(lambda: state(slurm, lower) == "PENDING")


def test_a_suspended_batch_job_keeps_its_memory(site):
    slurm = site("suspend", nodes=2, memory=1000)
    lower = running(slurm, "harvest", "--mem=600")
    small = submitted(slurm, "prime", "--mem=300")
    wait_for(lambda: (state(slurm, small), state(slurm, lower)) == ("RUNNING", "SUSPENDED"))
    slurm.run("scancel", small)
    wait_for(lambda: state(slurm, lower) == "RUNNING")
    large = submitted(slurm, "prime", "--mem=600")
    time.sleep(5)  # two looks of the scheduler
    assert (state(slurm, large), state(slurm, lower)) == ("PENDING", "RUNNING")


def test_under_qos_the_quality_decides_and_not_the_partition(site):
    slurm = site("qos", nodes=2)
    lower = running(slurm, "harvest", "--qos=normal")
    waits = submitted(slurm, "prime")
    time.sleep(5)  # two looks of the scheduler
    assert (state(slurm, lower), state(slurm, waits)) == ("RUNNING", "PENDING")
    slurm.clear()
    running(slurm, "prime", "--qos=scavenger")
    normal = submitted(slurm, "prime")
    wait_for(lambda: state(slurm, normal) == "RUNNING")


def test_without_preemption_the_upper_tier_goes_first_and_nobody_is_evicted(site):
    slurm = site("no-preemption", nodes=2)
    first = running(slurm, "harvest")
    lower = submitted(slurm, "harvest")
    upper = submitted(slurm, "prime")
    time.sleep(5)  # two looks of the scheduler
    assert [state(slurm, each) for each in (first, lower, upper)] == ["RUNNING", "PENDING", "PENDING"]
    slurm.run("scancel", first)
    wait_for(lambda: state(slurm, upper) == "RUNNING")
    assert state(slurm, lower) == "PENDING"


def test_a_cluster_is_what_was_asked_for(site):
    slurm = site(
        "no-preemption", nodes=3, clock="default", memory=1234, features={"fat": ["n1", "n2"]},
        settings={"KillWait": "7"},
    )  # fmt: skip
    assert slurm.run("sinfo", "-h", "-N", "-p", "prime", "-o", "%N %f %m").splitlines() == [
        "n1 fat 1234", "n2 fat 1234", "n3 (null) 1234",
    ]  # fmt: skip
    config = slurm.run("scontrol", "show", "config")
    assert re.search(r"KillWait\s+= 7 sec", config)
    assert re.search(r"SchedulerParameters\s+= \(null\)", config)


def test_a_controller_that_was_killed_comes_back_with_its_batch_jobs_and_a_node_with_its_own(site):
    slurm = site("tiers", nodes=2)
    batch_job = running(slurm, "harvest")
    running_since = time.time()
    wait_for(lambda: (slurm.folder / "state" / "job_state").stat().st_mtime > running_since)  # Slurm saves every 5 s
    for name in ("slurmctld", "n2"):
        slurm.stop(name)
        slurm.start(name)
    wait_for(lambda: set(slurm.run("sinfo", "-h", "-N", "-o", "%T").split()) == {"allocated"})
    assert state(slurm, batch_job) == "RUNNING"
