"""A node is free soon after its pilot ends, however the pilot's parts died and whatever a function had started."""

import contextlib
import signal
import time

import psutil
import pytest
from support.running import Running

import harvester

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]
LONGEST_S = 10.0
"""A node may be COMPLETING for so long because of us. It was 57 to 90 s."""


@harvester.function(ship_module=True)
def starts_stubborn_processes(n, folder):
    """Leave processes with sessions of their own that ignore SIGTERM, one of them without a parent."""
    import os
    import subprocess
    import time
    from pathlib import Path

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            line = f"trap '' TERM HUP INT; echo $$ > {folder}/orphan-{n}; sleep 1000"
            os.execlp("sh", "sh", "-c", line)  # noqa: S606 - as daemons do it
        os._exit(0)
    os.wait()
    subprocess.Popen(["setsid", "sleep", "1000"])
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"])
    time.sleep(1)
    Path(folder, f"begun-{n}").touch()
    time.sleep(1000)


@pytest.fixture
def running(slurm, tmp_path):
    slurm.clear()
    running = Running(tmp_path / "state", "--scheduler", "slurm", "--port", "0", "--ready", "2")
    running.start()
    yield running
    running.stop()
    slurm.clear()


def parts(running, pilot_id):
    agent = running.agent(pilot_id)
    (zygote,) = agent.children()
    slots = [each for each in zygote.children() if each.name().startswith("harvester-")]
    return agent, zygote, slots, agent.children(recursive=True)


def completing_s(slurm, node, batch_job):
    """Seconds from now until a node is free of a batch job."""
    begun_at = time.monotonic()
    while time.monotonic() - begun_at < 100:
        ours = slurm.run("squeue", "--noheader", f"--nodelist={node}", "--partition=harvest", "--format=%i").split()
        if batch_job not in ours and "comp" not in slurm.run("sinfo", "-h", "-N", "-n", node, "-o", "%T"):
            break
        time.sleep(0.05)
    return time.monotonic() - begun_at


def lives(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


CASES = {
    "kill -9 of the zygote": ("zygote", signal.SIGKILL, False),
    "kill -9 of the agent": ("agent", signal.SIGKILL, False),
    "kill -9 of a slot, then eviction": ("slot", signal.SIGKILL, True),
    "SIGSTOP of the zygote, then eviction": ("zygote", signal.SIGSTOP, True),
    "SIGSTOP of a slot, then eviction": ("slot", signal.SIGSTOP, True),
    "SIGSTOP of the zygote, then kill -9 of the agent": ("both", signal.SIGKILL, False),
    "eviction": ("none", signal.SIGCONT, True),
}


@pytest.mark.parametrize("case", CASES)
def test_a_node_is_free_soon_however_its_pilot_ends(slurm, running, tmp_path, figures, case):
    part, number, is_evicted = CASES[case]
    with running.client() as client:
        running.wait_for(lambda: len([p for p in client.pilots() if p["state"] == "ready"]) >= 2, "2 pilots", 40)
        future = client.submit(starts_stubborn_processes, 1, str(tmp_path))
        running.wait_for(lambda: (tmp_path / "begun-1").exists() and (tmp_path / "orphan-1").exists(), "it to run", 30)
        pilot_id = client.invocation(future.invocation_id)["activations"][0]["pilot_id"]
        (pilot,) = [pilot for pilot in client.pilots() if pilot["pilot_id"] == pilot_id]
        agent, zygote, slots, family = parts(running, pilot_id)
        orphan = psutil.Process(int((tmp_path / "orphan-1").read_text()))
        assert orphan in family
        assert len(family) >= 6
        if part == "both":
            zygote.send_signal(signal.SIGSTOP)
        if part != "none":
            victims = {"agent": [agent], "zygote": [zygote], "slot": slots, "both": [agent]}[part]
            for victim in victims:
                victim.send_signal(number)
        if is_evicted:
            time.sleep(0.3)
            slurm.run("scancel", pilot["batch_job_id"])
        freed_s = completing_s(slurm, pilot["node"], pilot["batch_job_id"])
        figures.add(f"{case}, until the node is free, s", freed_s)
        left = [each for each in family if lives(each)]
        running.stop()
    assert freed_s < LONGEST_S
    assert not left
