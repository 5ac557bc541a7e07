"""What is wrong with a site is told within 20 seconds of the start, with what to do: on a real Slurm."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from support.running import Running

TOLD_S = 20.0
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(180)]

PILOT = """
[[pilot]]
name = "cpu"
partition = "harvest"
cpus = 1
ready = 1
python = "{python}"
python_version = "{version}"
"""


@pytest.fixture
def start(slurm, tmp_path):
    """Start a harvester that keeps one pilot, and return it with the moment of its start."""
    slurm.clear()
    begun = []

    def started(*options: str, python: str = sys.executable) -> tuple[Running, float]:
        config = tmp_path / "site.toml"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        config.write_text(PILOT.format(python=python, version=version))
        running = Running(tmp_path / "state", "--config", str(config), "--scheduler", "slurm", "--port", "0", *options)
        begun.append(running)
        begun_at = time.monotonic()
        return running.start(), begun_at

    yield started
    for running in begun:
        running.stop()
    slurm.clear()


@pytest.fixture
def hidden(slurm, tmp_path):
    """Node n1 sees another folder where the state folder is: its slurmd runs in a mount namespace of its own."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be had here, as in a folder that is a root by chroot")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    restart(slurm, "unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs "{state}" && exec "$@"', "sh")
    yield state
    restart(slurm)
    slurm.clear()


def restart(slurm, *wrapper: str) -> None:
    """Start the slurmd of n1 again, below `wrapper`."""
    pid_file = slurm.folder / "pid" / "slurmd-n1"
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    wait_for(lambda: not pid_file.exists(), 10)
    subprocess.run([*wrapper, "slurmd", "-N", "n1", "-f", str(slurm.conf)], check=True, timeout=30)
    wait_for(lambda: slurm.run("sinfo", "--noheader", "--nodes=n1", "--format=%T", "--partition=harvest") == "idle", 20)


def wait_for(condition, timeout_s: float):
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def status(running: Running) -> str:
    """What `harvester status` prints, as one line of words."""
    environment = os.environ | {
        "HARVESTER_URL": running.url,
        "HARVESTER_TOKEN": running.token("user"),
        "COLUMNS": "500",
    }
    argv = [sys.executable, "-m", "harvester.cli", "status"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=True)
    return " ".join(done.stdout.split())


def expect_told(running: Running, begun_at: float, figures, what: str, *words: str) -> None:
    """Wait until the daemon tells all of `words`; then `harvester status` and an explanation tell them too."""
    with running.client() as client:

        def told() -> str:
            note = client.daemon()["note"]
            return " ".join([*note.get("errors", ()), *note.get("notes", ()), note.get("reason", "")])

        running.wait_for(lambda: all(each in told() for each in words), f"{words} in what the daemon tells", TOLD_S)
        figures.add(f"told after the start: {what}, s", time.monotonic() - begun_at)
        assert time.monotonic() - begun_at < TOLD_S
        shown = status(running)
        assert all(each in shown for each in words), shown
        explained = " ".join(client.explain(client.submit(abs, -1).invocation_id)["details"])
        assert all(each in explained for each in words), explained


def test_a_python_that_nodes_do_not_have(start, figures):
    running, begun_at = start(python="/no/such/python")
    words = ("execve(): /no/such/python: No such file or directory", "set `python` in [[pilot]]")
    expect_told(running, begun_at, figures, "no Python", *words)


def test_a_python_without_the_harvester(start, figures):
    running, begun_at = start(python="/usr/bin/python3")
    expect_told(running, begun_at, figures, "no package", "No module named harvester_worker", "install harvester")


def test_a_state_folder_that_nodes_do_not_see(hidden, start, figures):
    others = ",".join(f'"n{number}"' for number in range(2, 9))
    running, begun_at = start("--set", f"harvest.excluded_nodes=[{others}]")
    words = (f"do the compute nodes see the state folder {hidden}", "Set `state` to a folder on a filesystem")
    expect_told(running, begun_at, figures, "state folder not seen", *words)


def test_a_gateway_that_nodes_cannot_reach(start, figures):
    running, begun_at = start("--set", "gateway.url=http://127.0.0.1:1")
    words = ("no gateway answers at http://127.0.0.1:1 (Connection refused)", "set gateway.url to an address")
    expect_told(running, begun_at, figures, "gateway not reached", *words)


def test_a_fault_of_the_site_excludes_no_node(slurm, start):
    often = ("--set", "harvest.look_s=2", "--set", "harvest.commands_per_min=120")
    running, _ = start(*often, python="/no/such/python")
    with running.client() as client:
        running.wait_for(lambda: len(failed(client)) >= 3, "three failures", 100)
        # What the daemon tells is of its last tick, which may have been before the third.
        running.wait_for(lambda: "keep off node" not in told(client), "no node kept off", 30)
        assert re.search(r"failures? .*execve", told(client))


def told(client):
    note = client.daemon()["note"]
    return " ".join([*note["notes"], note["reason"]])


def failed(client):
    return [pilot for pilot in client.pilots(all=True) if pilot["state"] == "failed"]
