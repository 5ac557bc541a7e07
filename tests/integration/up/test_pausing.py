"""The kill switch on a whole system: what a pause stops, who is told, and what undoes it."""

import json
import os
import re
import subprocess
import sys
import time

ADD = {"name": "add", "kind": "source", "entry": "add", "body": "def add(a, b):\n    return a + b\n"}


def harvester(system, *words, role="admin"):
    """Run a command against `system` as on an 80-column terminal; return exit code, stdout and stderr."""
    token = (system.state / "tokens" / role).read_text().strip()
    url = f"http://127.0.0.1:{system.port}"
    environment = {**os.environ, "HARVESTER_URL": url, "HARVESTER_TOKEN": token, "COLUMNS": "80"}
    argv = (sys.executable, "-m", "harvester.cli", *words)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_a_pause_stops_submissions_is_shown_and_is_undone_by_resume(system):
    system.start("--ready", "0", "--set", "harvest.tick_s=0.2")
    code, printed, _ = harvester(system, "pause", "--reason", "maintenance of the switches")
    assert (code, printed.split(":")[0]) == (0, "paused")
    with system.client() as client:
        client.post("/v1/functions", json=ADD)
        invocation_id = client.post("/v1/functions/add/invocations", json={"args": [1, 2]}).json()["invocation_id"]
        time.sleep(1.5)  # some ticks, each of which would have submitted a pilot
        assert client.get("/v1/pilots", params={"all": "true"}).json()["items"] == []
        assert client.get("/v1/daemon").json()["note"]["paused"] is True

        _, printed, _ = harvester(system, "status", role="user")
        assert "paused     maintenance of the switches" in printed
        assert "to resume: `harvester resume`" in printed
        assert max(map(len, printed.splitlines())) <= 80
        _, printed, _ = harvester(system, "explain", invocation_id, role="user")
        assert "no pilot is alive" in printed
        assert "paused by an admin: maintenance of the switches" in printed

        code, printed, said = harvester(system, "resume", role="user")
        assert (code, printed) == (1, "")
        assert "admin's token" in said
        code, printed, _ = harvester(system, "resume")
        assert (code, printed.split(":")[0]) == (0, "resumed")
        document = client.get(f"/v1/invocations/{invocation_id}", params={"wait_s": 30}).json()
        assert (document["state"], document["result"]) == ("succeeded", 3)
    assert "paused" not in harvester(system, "status")[1]
    assert system.end()[0] == 0


def test_a_pause_outlives_a_restart_and_one_of_the_config_says_who_ends_it(system):
    system.start("--ready", "0", "--set", "harvest.tick_s=0.2")
    assert json.loads(harvester(system, "pause", "--json")[1])["paused"] is True
    assert system.end()[0] == 0
    system.start("--ready", "1", "--set", "harvest.tick_s=0.2", "--set", "harvest.paused=true")
    assert "to resume: `harvester resume`" in harvester(system, "status")[1]
    _, printed, _ = harvester(system, "resume")
    assert "still paused: harvest.paused is true in the config" in printed
    with system.client() as client:
        assert client.get("/v1/pilots", params={"all": "true"}).json()["items"] == []
    assert system.end()[0] == 0


def test_nodes_are_drained_shown_and_undrained(system):
    system.start("--ready", "2", "--set", "harvest.tick_s=0.2")
    assert harvester(system, "drain")[1] == "no node is drained\n"
    with system.client() as client:
        system.until(lambda: len(client.get("/v1/slots").json()["items"]) == 2, "two pilots are ready")
    code, printed, said = harvester(system, "drain", "--nodes", "n[1-2]", role="user")
    assert (code, printed) == (1, "")
    assert "admin's token" in said
    code, printed, said = harvester(system, "drain", "--nodes", "n[2-3]")
    assert (code, printed) == (1, "")
    assert "there is no node n3" in said
    code, printed, _ = harvester(system, "drain", "--nodes", "n2")
    assert (code, printed.splitlines()[0]) == (0, "drained: n2")
    assert re.search(r"drained +n2;", harvester(system, "status")[1])
    harvester(system, "pause")
    harvester(system, "resume")
    listed = json.loads(harvester(system, "drain", "--json", role="user")[1])
    assert listed["drained"] == ["n2"]
    assert set(listed["pilots"]) <= {"n2"}
    assert harvester(system, "undrain", "--nodes", "n[1-2]")[1] == "no node is drained\n"
    assert "drained" not in harvester(system, "status")[1]
    assert system.end()[0] == 0
