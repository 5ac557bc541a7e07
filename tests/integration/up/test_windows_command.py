"""`harvester windows`, over a running system and without one."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

COMMAND = (sys.executable, "-c", "from harvester.cli import main; main()")


def harvester(system, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HARVESTER_URL": f"http://127.0.0.1:{system.port}",
        "HARVESTER_TOKEN": (system.state / "tokens" / "user").read_text().strip(),
    }
    return subprocess.run(
        (*COMMAND, *arguments), capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_the_windows_of_the_daemons_last_look_are_shown_with_why_they_end(system):
    system.start("--ready", "0", "--set", 'harvest.excluded_nodes=["n2"]', "--set", "harvest.policy=gap")
    system.until(lambda: "windows" in harvester(system, "windows", "--json").stdout, "the daemon has looked")
    said = msgspec.json.decode(harvester(system, "windows", "--json").stdout)
    (window,) = said["windows"]
    assert (window["node"], window["resources"]["cpus"], window["until_at"]) == ("n1", 2, None)
    assert "nobody is planned on it" in harvester(system, "windows").stdout


def test_a_system_with_brakes_that_cannot_be_does_not_start(refused):
    code, said = refused("--scheduler", "local", "--set", 'harvest.excluded_nodes=["n7"]')
    assert code == 2
    assert 'harvest.excluded_nodes: there is no node "n7"' in said
    code, said = refused("--scheduler", "local", "--set", "harvest.policy=gab")
    assert code == 2
    assert "there are demand, fib, gap, var" in said
