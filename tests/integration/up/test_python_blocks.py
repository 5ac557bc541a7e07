"""Every block of Python in the documents runs as printed, in order as in a notebook, against a whole system."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.running import Running

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]) if "```python" in path.read_text()
]
NOT_RUN = "<!-- not run by the tests: "  # and the reason, in the paragraph before a block
# What is run behind a document's own blocks, to see what their functions return here and on a pilot.
MORE = {
    "README.md": "print(simulate(10_000))",
    "sdk.md": "print([count(3), count.submit(3).result(), count_too(3), count_too.submit(3).result(), area(2, 3)])",
}


def blocks(document):
    """Return the blocks that run, each behind as many empty lines as make its line numbers the document's."""
    text = document.read_text()
    return [
        "\n" * text[: found.start(1)].count("\n") + found.group(1)
        for found in re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        if NOT_RUN not in text[: found.start()].rstrip().rpartition("\n\n")[2]
    ]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    state = tmp_path_factory.mktemp("up") / "state"
    running = Running(state, "--scheduler", "local", "--nodes", "2", "--cpus", "2", "--port", "0", "--ready", "2")
    yield running.start()
    running.stop()
    running.kill_pilots()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_blocks_of_a_document_run_as_printed(document, running, tmp_path):
    parts = [*blocks(document), MORE.get(document.name, "")]
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(f"exec(compile({part!r}, {document.name!r}, 'exec'))" for part in parts))
    environment = {**os.environ, "HARVESTER_URL": running.url, "HARVESTER_TOKEN": running.token("user")}
    argv = (sys.executable, str(script))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.splitlines()
    if document.name == "README.md":
        there, absolute, here = printed
        assert (there, absolute) == (here, "[5, 4, 3, 2, 1, 0, 1, 2, 3, 4]")
    elif document.name == "sdk.md":
        assert printed[-1] == "[3, 3, 3, 3, 6]"
