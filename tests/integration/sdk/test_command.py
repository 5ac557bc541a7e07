"""The command as a newcomer meets it: its version, its completion, and what it says where a part is not installed."""

import os
import subprocess
import sys

import pytest

import harvester

# The command line on a machine that lacks the module of the first argument.
WITHOUT = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = sys.argv.pop(1)
sys.meta_path.insert(0, Blocker())
from harvester.cli import main
main()
"""
UP = ("up", "--port", "0", "--set", "harvest.paused=true")


def output_of(*argv, **environment):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env=os.environ | environment)
    return done.stdout


def test_the_version_is_told_by_the_command_and_by_the_module():
    assert output_of(sys.executable, "-m", "harvester", "--version") == f"harvester {harvester.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell):
    argv = (sys.executable, "-c", "import sys; sys.argv[0] = 'harvester'; from harvester.cli import main; main()")
    script = output_of(*argv, _HARVESTER_COMPLETE=f"source_{shell}")
    assert f"_HARVESTER_COMPLETE=complete_{shell}" in script
    asked = {"COMP_WORDS": "harvester who", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "harvester who"}
    asked |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "whoami" in output_of(*argv, _HARVESTER_COMPLETE=f"complete_{shell}", **asked)


@pytest.mark.parametrize(
    ("missing", "words", "extras"),
    [
        ("fastapi", UP, "gateway,daemon,worker,slurm"),
        ("psij", UP, "gateway,daemon,worker,slurm"),
        ("ClusterShell", (*UP, "--scheduler", "slurm"), "gateway,daemon,worker,slurm"),
        ("ClusterShell", ("windows", "--scheduler", "slurm"), "daemon,slurm"),
    ],
)
def test_what_is_not_installed_is_told_with_the_extra_that_brings_it(tmp_path, missing, words, extras):
    argv = (sys.executable, "-c", WITHOUT, missing, *words, *(("--state", tmp_path / "s") if words[0] == "up" else ()))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    remedy = f"install it: pip install 'hpc-harvester[{extras}]'"
    said = f"error: the Python package {missing} is not installed here; {remedy}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
