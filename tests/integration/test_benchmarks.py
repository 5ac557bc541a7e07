"""What the benchmarks on a real Slurm bring along: the prime jobs' script, counted commands, the soak's functions."""

import os
import subprocess

import pytest
from benchmarks.hostile import functions
from benchmarks.prime import batch_script
from benchmarks.site.command_count import CommandCount


def test_the_batch_script_notes_start_and_end(tmp_path):
    script = batch_script.put(tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_ARRAY_TASK_ID": "4"}
    subprocess.run(["bash", str(script), str(tmp_path / "9"), "0"], env=environment, check=True)
    subprocess.run(["bash", str(script), str(tmp_path / "9"), "@1"], env=environment, check=True)
    found = batch_script.parse("9.4", (tmp_path / "9.4").read_text())
    assert found.nodes == ("n1", "n2")
    assert found.started_at <= found.ended_at


def test_a_counted_command_does_what_it_does(tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.mkdir()
    (real / "squeue").write_text('#!/bin/bash\nprintf "<%s>" "$@"\nexit 3\n')
    (real / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{real}:{os.environ['PATH']}")
    count = CommandCount(tmp_path / "count")
    path = count.path(os.environ["PATH"])
    done = subprocess.run(["squeue", "-o", "%i\n|x y"], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "<-o><%i\n|x y>")
    assert count.between(0.0, 9e12) == {"squeue": 1}


@pytest.mark.parametrize("function", list(functions.EXPECTED), ids=lambda function: function.__name__)
def test_undisturbed_functions_return_what_is_expected_of_them(function):
    assert function(3, 0.0) == functions.EXPECTED[function](3)
