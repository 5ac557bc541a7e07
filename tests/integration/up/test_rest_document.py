"""The commands of docs/rest.md, run as they stand against a whole system."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "rest.md"


def blocks():
    """Yield each section's title with the commands in it."""
    for section in re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for commands in re.findall(r"^```bash\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL):
            yield title, commands


def run_all(system):
    """Run every block in one shell; return each block's answers by its section."""
    script = [
        "set -eu",
        'curl() { command curl "$@"; echo; }',
    ]  # each answer ends its line, so that the next begins one
    for title, commands in blocks():
        script.append(f"printf '\\n## {title}\\n'")
        script.append(commands)
    environment = {
        "PATH": os.environ["PATH"],
        "HARVESTER_URL": f"http://127.0.0.1:{system.port}",
        "HARVESTER_TOKEN": (system.state / "tokens" / "user").read_text().strip(),
        "HARVESTER_ADMIN_TOKEN": (system.state / "tokens" / "admin").read_text().strip(),
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], capture_output=True, text=True, timeout=100, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    answers = {}
    for section in done.stdout.split("\n## ")[1:]:
        title, *lines = section.splitlines()
        answers.setdefault(title, []).extend(json.loads(line) for line in lines if line)
    return answers


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here to run the commands of docs/rest.md with")
def test_the_curl_commands_do_what_the_document_says(system):
    assert sum(commands.count("curl ") for _, commands in blocks()) >= 17
    system.start()
    answers = run_all(system)
    assert answers["Who you are"][0]["role"] == "user"
    registered, shared = answers["Register a function"]
    assert registered["function_id"] == f"{registered['owner']}/area@1"
    assert (registered["share"], shared["share"]) == ("none", "all")
    document, raw = answers["Invoke and wait"]
    assert (document["state"], document["result"], raw) == ("succeeded", 42, 6)
    result, document = answers["Invoke and come back"]
    assert (result, document["result"], len(document["activations"])) == (15, 15, 1)
    (many,) = answers["Many at once"]
    assert len(many["ended"]) + len(many["pending"]) == 2
    assert many["ended"]
    explained, cancelled = answers["Why does it wait, and stop it"]
    assert "succeeded" in explained["summary"]
    assert cancelled["state"] == "succeeded"
    pilots, slots, cluster, daemon, ready = answers["Look at the system"]
    assert {pilot["state"] for pilot in pilots["items"]} & {"ready"}
    assert slots["items"]
    assert cluster["scheduler"].startswith("local")
    assert daemon["is_alive"]
    assert ready == {"status": "ready"}
    paused, resumed, drained, undrained = answers["For admins"]
    assert (drained["drained"], undrained["drained"]) == (["n1", "n2"], ["n2"])
    assert (paused["paused"], paused["reason"], resumed["paused"]) == (True, "maintenance", False)
    (refused,) = answers["Refusals"]
    assert (refused["status"], refused["field"]) == (404, "name")
    assert "area" in refused["detail"]
    refusals = [answer for said in answers.values() for answer in said if "urn:harvester" in str(answer)]
    assert refusals == [refused]
