"""`harvester up` in a process of its own: the story with the local scheduler, restarts, and refusals."""

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import time

import pytest

from .conftest import UP

ADD = {"name": "add", "kind": "source", "entry": "add", "body": "def add(a, b):\n    return a + b\n"}
COUNT = {
    "name": "count",
    "kind": "source",
    "entry": "count",
    "checkpoints": True,
    "body": """
import time
def count(steps, *, state=None):
    state = state or {"done": 0, "fresh": time.time()}
    while state["done"] < steps:
        time.sleep(0.1)
        state["done"] += 1
        yield dict(state)
    return state
""",
}


def invoke(client, name, *args, wait_s=0):
    answer = client.post(f"/v1/functions/{name}/invocations", params={"wait_s": wait_s}, json={"args": args})
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


def ready(client):
    return [pilot["pilot_id"] for pilot in client.get("/v1/pilots").json()["items"] if pilot["state"] == "ready"]


def pilot_states(system):
    with sqlite3.connect(system.state / "harvester.db") as store:
        return {state for (state,) in store.execute("SELECT state FROM pilot")}


def test_from_up_to_the_first_result_and_a_clean_end(system):
    system.start()
    with system.client() as client:
        assert client.post("/v1/functions", json=ADD).status_code == 201
        document = invoke(client, "add", 1, 2, wait_s=60)
        assert (document["state"], document["result"]) == ("succeeded", 3)  # how soon, benchmarks.hot_line measures
        endpoint = json.loads((system.state / "endpoint.json").read_text())
        assert (endpoint["url"], endpoint["pid"]) == (f"http://127.0.0.1:{system.port}", system.process.pid)
    token = system.state / "tokens" / "user"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    code, printed = system.end()
    assert code == 0
    assert f"http://127.0.0.1:{system.port}" in printed
    assert str(token) in printed
    assert "Traceback" not in printed
    assert token.read_text().strip() not in printed
    assert system.pilot_processes() == []
    assert not (system.state / "endpoint.json").exists()


def test_after_kill_9_pilots_are_taken_up_and_what_they_run_goes_on(system):
    system.start()
    with system.client() as client:
        client.post("/v1/functions", json=COUNT)
        invocation = invoke(client, "count", 40)["invocation_id"]
        system.until(
            lambda: client.get(f"/v1/invocations/{invocation}").json()["state"] == "running", "the function runs"
        )
        system.until(lambda: len(ready(client)) == 2, "one pilot at work and one ready")
        before = set(ready(client))
    system.kill()
    assert {process.pid for process in system.pilot_processes()}
    system.start()
    with system.client() as client:
        document = client.get(f"/v1/invocations/{invocation}", params={"wait_s": 30}).json()
        assert document["state"] == "succeeded"
        assert document["result"]["done"] == 40
        assert document["attempts"] == 1
        assert set(ready(client)) == before
        everything = client.get("/v1/pilots", params={"all": "true"}).json()["items"]
        assert {pilot["pilot_id"] for pilot in everything} == before
    assert system.end()[0] == 0


def test_a_signal_in_the_moment_in_which_the_address_is_printed_leaves_no_pilot_behind(system):
    argv = (*UP, "--scheduler", "local", "--state", str(system.state), "--port", str(system.port))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    system.process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert "listens at" in system.process.stdout.readline()
    code, printed = system.end()
    assert (code, "WARNING" in printed) == (0, False), printed
    assert pilot_states(system) <= {"cancelled", "evicted", "finished"}


def test_a_second_signal_does_not_wait_for_a_function_that_reaches_no_checkpoint(system):
    system.start()
    body = "import time\ndef stay():\n    time.sleep(60)\n"
    stay = {"name": "stay", "kind": "source", "entry": "stay", "checkpoints": True, "body": body}
    with system.client() as client:
        client.post("/v1/functions", json=stay)
        invocation = invoke(client, "stay")["invocation_id"]
        system.until(
            lambda: client.get(f"/v1/invocations/{invocation}").json()["state"] == "running", "the function runs"
        )
    system.process.send_signal(signal.SIGINT)
    system.until(lambda: "draining" in pilot_states(system), "the pilot hands over")
    began_at = time.monotonic()
    assert system.end()[0] == 0
    assert time.monotonic() - began_at < 4  # the pilot gives the function 5 s
    assert system.pilot_processes() == []


def test_pilots_that_are_left_at_a_clean_end_are_taken_up_by_the_next_start(system):
    leave = ("--set", "harvest.leave_pilots=true")
    system.start(*leave)
    with system.client() as client:
        system.until(lambda: len(ready(client)) == 1, "a pilot is ready")
        before = ready(client)
    assert system.end()[0] == 0
    assert system.pilot_processes()
    system.start()
    with system.client() as client:
        system.until(lambda: ready(client) == before, "the same pilot is ready again")
    assert system.end()[0] == 0
    assert system.pilot_processes() == []


def test_a_python_that_does_not_exist_pauses_the_shape_until_a_signal_resumes_it(system, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("[[pilot]]\nname = 'broken'\npartition = 'harvest'\npython = '/nonexistent/python3'\n")
    system.start("--config", str(path), "--set", "harvest.tick_s=0.1")
    with system.client() as client:
        # An error is told for a tick, and may be missed. What follows from it is told until a pilot calls.
        system.until(
            lambda: any(
                "hape broken" in note and "/nonexistent/python3" in note
                for note in client.get("/v1/cluster").json()["daemon"]["notes"]
            ),
            "the daemon says that the shape is held back, and why",
        )

        def pilots():
            return len(client.get("/v1/pilots", params={"all": "true"}).json()["items"])

        before = pilots()
        system.process.send_signal(signal.SIGUSR1)
        system.until(lambda: "daemon.resume shape=broken" in system.log(), "its failures are forgotten")
        system.until(lambda: pilots() > before, "another one is tried")
    assert system.end()[0] == 0


def test_one_up_a_state_folder(system, refused):
    system.start()
    code, line = refused("--state", str(system.state), "--port", "1")
    assert code == 1
    assert f"another `harvester up` (process {system.process.pid}) uses the state folder" in line


def test_a_port_in_use_is_one_clear_line(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = refused("--port", str(port))
    assert code == 1
    assert line.count("\n") == 1
    assert f"127.0.0.1:{port} is in use" in line


def test_a_config_with_an_unknown_key_is_one_clear_line(refused, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("[harvest]\nredy = 2\n")
    code, line = refused("--config", str(path))
    assert code == 2
    assert line.count("\n") == 1
    assert "harvest.redy" in line
    assert "did you mean 'ready'?" in line


def test_a_store_that_cannot_be_opened_is_one_clear_line(refused, tmp_path):
    code, line = refused("--set", f"store.url=sqlite:///{tmp_path}/none/harvester.db")
    assert code == 1
    assert "Traceback" not in line
    assert f"{tmp_path}/none" in line


def test_a_state_folder_that_cannot_be_made_is_one_clear_line(refused, tmp_path):
    (tmp_path / "file").touch()
    code, line = refused("--state", str(tmp_path / "file" / "state"))
    assert code == 1
    assert line.count("\n") == 1
    assert "--state" in line


def test_slurm_that_is_not_there_is_one_clear_line(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # where no Slurm command is
    code, line = refused("--scheduler", "slurm", "--port", "0")
    assert code == 2
    assert "Traceback" not in line
    assert "no pilot shape is configured" in line


def test_a_gateway_that_compute_nodes_cannot_reach_is_one_clear_line(refused):
    code, line = refused("--scheduler", "slurm", "--host", "127.0.0.1")
    assert code == 2
    assert line.count("\n") == 1
    assert "gateway.host" in line
    assert "set gateway.url to an address that compute nodes reach" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_slurm_that_does_not_answer_yet_is_waited_for_until_a_signal(tmp_path, monkeypatch, number):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    argv = (*UP, "--state", str(tmp_path / "state"), "--scheduler", "slurm", "--port", "0")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        told = process.stderr.readline()
        process.send_signal(number)
        printed, rest = process.communicate(timeout=60)
    assert "Unable to contact slurm controller; nothing starts until it answers" in told
    assert (process.returncode, printed) == (0, "")
    assert rest.endswith("harvester up: interrupted before the start was complete; no pilot was submitted\n")
    assert "Traceback" not in rest
