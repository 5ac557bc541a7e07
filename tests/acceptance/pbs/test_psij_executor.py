"""A real PBS reached through PSI/J alone, as classic PBS: what `kind = "psij"` does on a real scheduler."""

import pytest
from support.pbs import PILOTS, being
from support.running import Running

import harvester

pytestmark = [pytest.mark.pbs, pytest.mark.timeout(240)]

CONFIG = """
[scheduler]
kind = "psij"

[scheduler.psij]
executor = "pbs_classic"
preemptible = true
grace_s = 60

[harvest]
look_s = 1
rest_look_s = 1
commands_per_min = 1000

[[pilot]]
name = "whole"
partition = "harvest"
cpus = 2
checkpoint_interval_s = 0.1
"""


@harvester.function(ship_module=True, checkpoints=True)
def count(steps):
    """Count to `steps` in 20 steps a second."""
    import time

    import harvester

    ctx = harvester.context()
    done = ctx.restore(0)
    while done < steps:
        time.sleep(0.05)
        done += 1
        ctx.checkpoint(done)
    return ctx.attempt, done


@pytest.fixture
def running(pbs, work, monkeypatch):
    monkeypatch.setenv("HOME", str(work))  # PSI/J keeps files there
    config = work / "site.toml"
    config.write_text(CONFIG)
    running = Running(work / "state", "--config", str(config), "--port", "0", "--ready", "0")
    with being(PILOTS):
        running.start()
    yield running
    running.stop()
    pbs.clear()


def test_a_function_runs_its_pilot_is_preempted_and_it_is_resumed_on_another(running, pbs):
    with running.client() as client:
        future = client.submit(count, 80)

        def activations():
            return client.invocation(future.invocation_id)["activations"]

        running.wait_for(lambda: activations() and activations()[0]["checkpoints"], "a checkpoint", 60)
        (pilot,) = [each for each in client.pilots() if each["state"] == "ready"]
        assert pilot["batch_job_id"].partition(".")[0] in pbs.jobs()
        pbs.prime(nodes=4, seconds=3)  # all nodes
        assert future.result(timeout=90) == (2, 80)
        assert [each["end"] for each in activations()] == ["evicted", "succeeded"]
        assert client.daemon()["note"]["paused"] is False


def test_states_are_read_and_a_pilot_is_cancelled(running, pbs):
    block = pbs.prime(nodes=4)
    running.wait_for(lambda: pbs.has_begun(block), "the nodes to be taken", 30)
    with running.client() as client:
        future = client.submit(count, 5)
        running.wait_for(lambda: [each["state"] for each in client.pilots()] == ["queued"], "a pilot to wait", 30)
        (pilot,) = client.pilots()
        assert pbs.state(pilot["batch_job_id"]) == "Q"
        pbs.run("qdel", block)
        assert future.result(timeout=60) == (1, 5)
    assert running.stop() == 0
    assert pbs.state(pilot["batch_job_id"]) in {"E", "F"}
