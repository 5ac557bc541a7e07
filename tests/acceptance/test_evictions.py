"""A prime job over several nodes, victims that leave at different moments, and pilots that wait in the queue.

Slurm lets a batch job that has preempted somebody preempt nobody else for KillWait + MsgTimeout. A waiting pilot that
takes a node which was vacated for it therefore makes it wait for 40 s.
"""

import os
import statistics
import time

import pytest
from support.running import Running

import harvester

ROUNDS = int(os.environ.get("HARVESTER_ROUNDS", "3"))
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


@harvester.function(ship_module=True)
def ends_after(seconds):
    """Run without checkpoints: at an eviction a pilot waits for its end for a moment, each for another one."""
    import time

    time.sleep(seconds)
    return seconds


@pytest.fixture
def running(slurm, tmp_path):
    """A harvester whose pilots fill all nodes, with a reserve that always waits in the queue."""
    slurm.clear()
    options = ("--set", "harvest.policy=gap", "--set", "harvest.everything=true")
    running = Running(tmp_path / "state", "--scheduler", "slurm", "--port", "0", *options)
    running.start()
    yield running
    running.stop()
    slurm.clear()


def ready(client):
    return len([pilot for pilot in client.pilots() if pilot["state"] == "ready"]) >= 8


def state_of(slurm, batch_job):
    return slurm.run("squeue", "--noheader", "--states=all", f"--jobs={batch_job}", "--format=%T")


def why_pilots_wait(slurm):
    """Return the reasons that Slurm gives."""
    return set(slurm.run("squeue", "--noheader", "--partition=harvest", "--states=PENDING", "--format=%r").splitlines())


def pending_pilots(slurm):
    """Tell whether pilots wait and none is held."""
    why = why_pilots_wait(slurm)
    return why and not any("JobHeld" in words for words in why)


def test_a_prime_job_over_all_nodes_does_not_lose_what_was_vacated_for_it_to_pilots_that_wait(slurm, running, figures):
    waits = []
    with running.client() as client:
        for _ in range(ROUNDS):
            running.wait_for(lambda: ready(client) and pending_pilots(slurm), "pilots everywhere and in the queue", 90)
            futures = [client.submit(ends_after, 0.9 + number / 4) for number in range(16)]
            time.sleep(0.6)
            batch_job = slurm.run(
                "sbatch", "--parsable", "--partition=prime", "--nodes=8", "--exclusive", "--output=/dev/null",
                "--wrap=sleep 2",
            )  # fmt: skip
            begun_at, why = time.monotonic(), set()
            while state_of(slurm, batch_job) == "PENDING":
                assert time.monotonic() - begun_at < 60
                why = why_pilots_wait(slurm) or why
                time.sleep(0.05)
            assert why == {"JobHeldUser"}, "pilots that wait keep off until the prime job runs"
            waits.append(time.monotonic() - begun_at)
            for future in futures:
                assert future.result(timeout=90) >= 0.9
        running.wait_for(lambda: pending_pilots(slurm), "who was held to be released", 60)
    figures.add("prime job over 8 nodes whose pilots leave one by one, others waiting, s", *waits)
    assert statistics.median(waits) < 8
    assert max(waits) < 20, "it waited until Slurm let it preempt again"
