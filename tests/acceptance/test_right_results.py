"""Results of functions that start processes are right on a real Slurm, whose signals go to these processes as well."""

import re
import time
from datetime import datetime

import pytest
from support.running import Running

import harvester

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]


@harvester.function(ship_module=True)
def exit_code(n, folder):
    import subprocess
    from pathlib import Path

    Path(folder, f"begun-{n}").touch()
    done = subprocess.run(["sleep", "8"])  # noqa: PLW1510 - its end is what is looked at
    return n, done.returncode


@harvester.function(ship_module=True)
def pipeline(n, folder):
    import subprocess
    from pathlib import Path

    Path(folder, f"begun-{n}").touch()
    line = "seq 1 1000 | while read x; do sleep 0.005; echo $x; done | wc -l"
    return n, subprocess.run(line, shell=True, capture_output=True, text=True).stdout.strip()  # noqa: PLW1510, S602


@harvester.function(ship_module=True)
def pool(n, folder):
    import time
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

    Path(folder, f"begun-{n}").touch()
    with ProcessPoolExecutor(2) as workers:
        futures = [workers.submit(time.sleep, 1) for _ in range(12)]
        done = []
        for future in futures:
            try:
                done.append(future.result())
            except Exception as error:  # noqa: BLE001 - as users do it
                done.append(type(error).__name__)
    return n, done


@harvester.function(ship_module=True, checkpoints=True)
def saves_an_exit_code(n, folder):
    import subprocess
    import time
    from pathlib import Path

    import harvester

    ctx = harvester.context()
    Path(folder, f"begun-{n}").touch()
    code = ctx.restore(None)
    if code is None:
        code = subprocess.run(["sleep", "8"]).returncode  # noqa: PLW1510 - as above
        ctx.checkpoint(code)
        time.sleep(0.5)
        ctx.checkpoint(code)
    return n, code


@harvester.function(ship_module=True)
def yields_exit_codes(n, folder, state=None):
    import subprocess
    from pathlib import Path

    Path(folder, f"begun-{n}").touch()
    codes = list(state or [])
    while len(codes) < 8:
        codes.append(subprocess.run(["sleep", "1"]).returncode)  # noqa: PLW1510 - as above
        yield codes
    return n, codes


RIGHT = {
    exit_code: 0,
    pipeline: "1000",
    pool: [None] * 12,
    saves_an_exit_code: 0,
    yields_exit_codes: [0] * 8,
}


@pytest.fixture
def running(slurm, tmp_path):
    slurm.clear()
    running = Running(tmp_path / "state", "--scheduler", "slurm", "--port", "0", "--ready", "8")
    running.options = (*running.options, "--set", "harvest.max_pending=8")
    running.start()
    yield running
    running.stop()
    slurm.clear()


def preempt(slurm, _client):
    """A prime batch job takes all nodes for a moment."""
    slurm.run(
        "sbatch", "--parsable", "--partition=prime", f"--nodes={len(slurm.nodes)}", "--exclusive",
        "--output=/dev/null", "--wrap=sleep 1",
    )  # fmt: skip


def cancel(slurm, client):
    """Somebody cancels the pilots' batch jobs."""
    slurm.run("scancel", *(pilot["batch_job_id"] for pilot in client.pilots() if pilot["state"] == "ready"))


@pytest.mark.parametrize("take_back", [preempt, cancel])
def test_what_a_signal_makes_of_a_functions_processes_is_in_no_result(slurm, running, tmp_path, figures, take_back):
    with running.client() as client:
        running.wait_for(lambda: len([p for p in client.pilots() if p["state"] == "ready"]) == 8, "8 pilots", 40)
        futures = {}
        for number in range(10):
            function = list(RIGHT)[number % len(RIGHT)]
            futures[number] = function, client.submit(function, number, str(tmp_path))
        running.wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 10, "all to run", 40)
        time.sleep(1.5)  # their processes run as well
        take_back(slurm, client)
        for number, (function, future) in futures.items():
            assert future.result(timeout=100) == (number, RIGHT[function])
        documents = [client.invocation(future.invocation_id) for _, future in futures.values()]
    for document in documents:
        ends = [activation["end"] for activation in document["activations"]]
        assert ends[0] == "evicted", "it should have been interrupted"
        assert ends[-1] == "succeeded"
    figures.add(f"functions with processes, interrupted by {take_back.__name__}, right", len(documents))


def test_the_calls_of_a_map_whose_processes_die_are_made_again(slurm, running, tmp_path):
    def call(n):
        import subprocess

        return n, subprocess.run(["sleep", "1"]).returncode  # noqa: PLW1510 - as above

    with running.client() as client:
        running.wait_for(lambda: len([p for p in client.pilots() if p["state"] == "ready"]) == 8, "8 pilots", 40)
        results = client.map(call, range(64), chunksize=8)
        running.wait_for(lambda: sum(len(p["activations"]) for p in client.slots()) == 8, "all chunks to run")
        time.sleep(2.5)
        preempt(slurm, client)
        assert list(results) == [(n, 0) for n in range(64)]


@harvester.function(ship_module=True, gpus=1)
def visible_devices():
    import os
    import time

    time.sleep(1)
    names = (
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "GPU_DEVICE_ORDINAL",
        "SLURM_STEP_GPUS",
    )
    return os.environ["SLURMD_NODENAME"], [os.environ.get(name) for name in names]


def test_every_vendors_variable_shows_a_slot_its_own_device(slurm, running):
    with running.client() as client:
        running.wait_for(lambda: len([p for p in client.pilots() if p["state"] == "ready"]) == 8, "8 pilots", 40)
        seen = [future.result(timeout=40) for future in [client.submit(visible_devices) for _ in range(16)]]
    assert sorted(seen) == [(node, [device] * 5) for node in slurm.nodes for device in ("0", "1")]


@harvester.function(ship_module=True)
def tells_when_it_is_hit(path):
    import subprocess
    import sys
    import time

    code = f"""if True:
        import signal, sys, time
        def note(*_):
            open({path!r}, "w").write(str(time.time()))
            sys.exit()
        signal.signal(signal.SIGTERM, note)
        time.sleep(60)"""
    subprocess.run([sys.executable, "-c", code])  # noqa: PLW1510 - as above
    time.sleep(60)


def test_the_agent_hears_of_a_signal_soon_after_the_processes_of_a_function(slurm, running, tmp_path, figures):
    late_s = []
    with running.client() as client:
        running.wait_for(lambda: len([p for p in client.pilots() if p["state"] == "ready"]) == 8, "8 pilots", 40)
        futures = [client.submit(tells_when_it_is_hit, str(tmp_path / f"hit-{number}")) for number in range(8)]
        running.wait_for(lambda: all(future.invocation_id for future in futures), "ids")
        running.wait_for(lambda: sum(len(p["activations"]) for p in client.slots()) == 8, "all to run")
        time.sleep(2)
        where = {}
        for number, future in enumerate(futures):
            where[number] = client.invocation(future.invocation_id)["activations"][0]["pilot_id"]
        preempt(slurm, client)
        running.wait_for(
            lambda: all("pilot.signalled" in output(running, pilot_id) for pilot_id in where.values()),
            "all agents to hear of it",
            30,
        )
        time.sleep(1)
        for number, pilot_id in where.items():
            hit = tmp_path / f"hit-{number}"
            # An agent that hears of it first ends such a run at once, so its process may not come to tell.
            if hit.exists() and (hit_at := hit.read_text()):
                late_s.append(heard_at(running, pilot_id) - float(hit_at))
        for future in futures:
            future.cancel()
    figures.add("a signal in a function's process until it is in the agent, ms", *(1000 * late for late in late_s))
    assert late_s, "no process was hit before its agent"
    assert max(late_s) < 0.2, "settling.SETTLE_S is too short here"


def heard_at(running, pilot_id):
    (stamp,) = re.findall(r"^(\S+ \S+) INFO pilot.signalled", output(running, pilot_id), re.MULTILINE)
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def output(running, pilot_id):
    return (running.state / "pilots" / pilot_id / "output.txt").read_text()
