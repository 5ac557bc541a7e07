"""Windows of a real Slurm, and that it keeps to what a pilot's order says of where and until when."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from harvester.domain.cluster import windows
from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchState
from harvester.domain.contention.contention import contention
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.adapter import SlurmAdapter

pytestmark = pytest.mark.slurm


@pytest.fixture
def adapter(slurm, tmp_path):
    adapter = SlurmAdapter(work_dir=tmp_path, cache_for=timedelta(0), slow_cache_for=timedelta(0))
    yield adapter
    adapter.close()
    slurm.clear()


def order(folder: Path, **changes: object) -> PilotOrder:
    plain = {
        "pilot_id": "p", "name": "hv-test-p", "partition": "harvest", "resources": Resources(cpus=1),
        "walltime": timedelta(minutes=5), "command": ("sleep", "60"), "output": folder / "out",
    }  # fmt: skip
    return PilotOrder(**(plain | changes))


def until(found, seconds: float = 10.0):
    deadline = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return value


def batch(adapter: SlurmAdapter, batch_job_id: str):
    seen = (job for job in adapter.snapshot().batch_jobs if job.batch_job_id == batch_job_id)
    return next(seen, None) or adapter.ended([batch_job_id])[0]


def test_idle_nodes_are_free_until_their_reservation_begins_and_not_within_it(slurm, adapter):
    slurm.run(
        "scontrol", "create", "reservation", "ReservationName=maint", "StartTime=now+600", "Duration=10",
        "Nodes=n1,n2", "Users=root", "Flags=MAINT,IGNORE_JOBS",
    )  # fmt: skip
    try:
        look = adapter.snapshot()
        found = {window.node: window for window in windows.compute(look, look.taken_at)}
        assert set(found) == set(slurm.nodes)
        assert 590 < (found["n1"].until_at or 0) - look.taken_at < 605
        assert "reservation maint" in found["n2"].why
        assert found["n3"].until_at is None
    finally:
        slurm.run("scontrol", "delete", "ReservationName=maint")
    assert adapter.snapshot().reservations == ()


def test_the_plan_of_a_pending_prime_job_ends_windows(slurm, adapter, tmp_path):
    """One node is taken for two minutes; a prime job that needs all of them waits for it and bounds the others."""
    slurm.run(
        "sbatch", "--partition=prime", "--nodes=1", "--exclusive", "--time=2", "--output=/dev/null", "--wrap=sleep 90"
    )
    every = f"--nodes={len(slurm.nodes)}"
    waiting = slurm.run(
        "sbatch",
        "--parsable",
        "--partition=prime",
        every,
        "--exclusive",
        "--time=1",
        "--output=/dev/null",
        "--wrap=true",
    )
    job = until(lambda: (found := batch(adapter, waiting)).start_at and found.nodes and found)
    assert job, "backfill planned nothing within 10 s"
    look = adapter.snapshot()
    claims = contention(look, look.taken_at).claims
    found = windows.compute(look, look.taken_at, next_claims=claims)
    assert len(found) == len(slurm.nodes) - 1
    assert all(60 < window.left(look.taken_at) <= 125 for window in found)


def test_a_pilot_runs_on_its_node_and_never_on_an_excluded_one(slurm, adapter, tmp_path):
    bound = adapter.submit(order(tmp_path, node="n5", end_by=time.time() + 900))
    shunned = adapter.submit(order(tmp_path, name="hv-test-q", exclude=tuple(slurm.nodes[:-1])))
    running = until(lambda: {batch(adapter, each).state for each in (bound, shunned)} == {BatchState.RUNNING})
    assert running
    assert batch(adapter, bound).nodes == ("n5",)
    assert batch(adapter, shunned).nodes == (slurm.nodes[-1],)


def test_a_pilot_that_can_no_longer_end_in_time_is_not_started(slurm, adapter, tmp_path):
    slurm.run(
        "sbatch", "--partition=prime", "--nodes=1", "--nodelist=n5", "--exclusive", "--time=5", "--output=/dev/null",
        "--wrap=sleep 100",
    )  # fmt: skip
    assert until(lambda: any(job.nodes == ("n5",) for job in adapter.snapshot().batch_jobs))
    late = adapter.submit(order(tmp_path, walltime=timedelta(minutes=1), node="n5", end_by=time.time() + 64))
    ended = until(lambda: batch(adapter, late).state.is_ended, seconds=45)
    assert ended, f"it still is {batch(adapter, late)}"
    assert batch(adapter, late).state is not BatchState.COMPLETED
