"""Limits of QOSs, and nodes that sleep, on a real Slurm: told as what they are."""

import time
from datetime import timedelta

import pytest

from harvester.domain.cluster.ports import LimitReached, PilotOrder
from harvester.domain.cluster.snapshot import NodeState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.adapter import SlurmAdapter

pytestmark = pytest.mark.slurm
QOS = "scavenger"


def order(tmp_path, name: str, **changed) -> PilotOrder:
    fields = {
        "pilot_id": name,
        "name": f"harvester-{tmp_path.name}-{name}",
        "partition": "harvest",
        "resources": Resources(cpus=1, memory_mb=100),
        "walltime": timedelta(minutes=10),
        "command": ("/bin/sleep", "60"),
        "output": tmp_path / f"{name}.out",
    }
    return PilotOrder(**(fields | changed))


def wait_for(condition, seconds: float = 15):
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
    return value


def limit(slurm, *settings: str) -> None:
    slurm.run("sacctmgr", "--immediate", "modify", "qos", QOS, "set", *settings)


@pytest.fixture
def limited(site):
    """Yield a site whose QOS for pilots has room for two submitted batch jobs, of which one runs."""
    slurm = site("qos", settings={"AccountingStorageEnforce": "associations,limits,qos"})
    limit(slurm, "GrpJobs=1", "GrpSubmit=2")
    try:
        yield slurm
    finally:
        limit(slurm, "GrpJobs=-1", "GrpSubmit=-1")


def test_a_limit_is_told_as_the_reason_and_a_submission_beyond_it_as_one_that_may_be_tried_again(limited, tmp_path):
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", qos=QOS, cache_for=timedelta(0))
    pilots = [adapter.submit(order(tmp_path, name, qos=QOS)) for name in ("p", "q")]

    def held():
        return {batch.held_by_limit: batch for batch in adapter.snapshot().batch_jobs if batch.held_by_limit}

    [(word, pilot)] = wait_for(held).items()
    assert word == "QOSGrpJobsLimit"
    assert (pilot.batch_job_id, pilot.waits_for, pilot.reason) == (pilots[1], WaitsFor.OTHER, word)
    with pytest.raises(LimitReached, match="QOSGrpSubmitJobsLimit"):
        adapter.submit(order(tmp_path, "r", qos=QOS))
    adapter.cancel(*pilots)


def test_nodes_that_sleep_are_not_woken_by_a_pilot_that_excludes_them(site, tmp_path):
    saving = {
        "SuspendProgram": "/bin/true", "ResumeProgram": "/bin/true", "SuspendTime": "2", "SuspendTimeout": "2",
        "ResumeTimeout": "10", "SuspendExcNodes": "n1",
    }  # fmt: skip
    slurm = site("tiers", nodes=2, settings=saving)
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0))
    waking = SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0), wake=True)

    def seen(own: SlurmAdapter):
        return {node.name: node for node in own.snapshot().nodes}

    wait_for(
        lambda: seen(adapter)["n2"].is_asleep and "POWERED_DOWN" in slurm.run("scontrol", "show", "node", "n2"), 30
    )
    assert (seen(adapter)["n1"].state, seen(adapter)["n2"].state) == (NodeState.IDLE, NodeState.DOWN)
    assert (seen(waking)["n2"].state, seen(waking)["n2"].is_asleep) == (NodeState.IDLE, False)
    whole = Resources(cpus=slurm.cpus, memory_mb=200)
    pilots = [adapter.submit(order(tmp_path, name, resources=whole, exclude=("n2",))) for name in ("p", "q")]
    time.sleep(5)
    assert seen(adapter)["n2"].is_asleep
    adapter.cancel(*pilots)
