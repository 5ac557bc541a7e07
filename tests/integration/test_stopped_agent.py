"""A pilot that sleeps longer than its lease, as PBS's suspension does to it, and wakes up."""

import signal

import psutil
import pytest
from support.running import Running

import harvester

LEASE_S = 1.0


@harvester.function(ship_module=True, checkpoints=True)
def count(trace, steps=60):
    """Count to `steps` in 3 s and leave a trace of each start and end."""
    import time
    from pathlib import Path

    import harvester

    ctx = harvester.context()
    done = ctx.restore(0)
    with Path(trace).open("a", buffering=1) as file:
        file.write(f"start {done}\n")
        while done < steps:
            time.sleep(0.05)
            done += 1
            ctx.checkpoint(done)
        file.write("end\n")
    return ctx.attempt, done


@pytest.fixture
def running(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(
        f'[gateway]\nlease_s = {LEASE_S}\n[[pilot]]\nname = "whole"\npartition = "harvest"\n'
        "checkpoint_interval_s = 0.1\n"
    )
    running = Running(tmp_path / "state", "--scheduler", "local", "--config", str(config), "--port", "0")
    running.start()
    yield running
    running.stop()
    running.kill_pilots()


@pytest.mark.parametrize("is_whole", [False, True], ids=["its agent", "all of it, as PBS suspends a batch job"])
def test_a_stopped_pilot_wakes_up_finds_itself_lost_and_leaves_while_its_work_runs_elsewhere(
    running, tmp_path, is_whole
):
    trace = tmp_path / "trace.txt"
    with running.client() as client:
        future = client.submit(count, str(trace))

        def activations():
            return client.invocation(future.invocation_id)["activations"]

        running.wait_for(lambda: activations() and activations()[0]["checkpoints"], "a checkpoint")
        victim = activations()[0]["pilot_id"]
        agent = running.agent(victim)
        stopped = [agent, *running.below([agent])] if is_whole else [agent]
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        try:
            running.wait_for(lambda: activations()[0]["end"], "the pilot to be lost", 3 * LEASE_S)
        finally:
            # The slots first: what they did not know before, they cannot know now.
            for process in reversed(stopped):
                process.send_signal(signal.SIGCONT)
        running.wait_for(lambda: all(map(is_gone, stopped)), "the pilot to leave by itself, with all of it", 2)
        assert future.result(30) == (2, 60)
        first, second = activations()
        pilots = {pilot["pilot_id"]: pilot for pilot in client.pilots(all=True)}
    assert (first["end"], second["end"], second["resumed"]) == ("pilot lost", "succeeded", True)
    assert second["pilot_id"] != victim
    assert pilots[victim]["state"] == "lost"
    lines = trace.read_text().splitlines()
    assert lines[0] == "start 0"
    assert int(lines[1].split()[1]) > 0
    assert lines.count("end") == 1  # the pilot that had lost its lease did not finish


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
