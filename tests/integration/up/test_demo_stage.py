"""Where `harvester demo` runs: the scheduler that answers and has the queues that the story needs."""

import pytest
from support.command_folder import CommandFolder

from harvester.cli.commands.demo_stage import STAGES, answering
from harvester.cli.options import DemoScheduler

QUEUES = "printf 'Queue  Max\\n-----  ---\\nworkq    0\\nprime    0\\nharvest  0\\n'"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return CommandFolder(folder)


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ({}, "local"),
        ({"sinfo": "printf 'prime\\nharvest\\n'"}, "slurm"),
        ({"qstat": QUEUES}, "pbs"),
        ({"sinfo": "exit 1", "qstat": QUEUES}, "pbs"),
        ({"sinfo": "echo debug", "qstat": "echo workq"}, "local"),
        ({"qstat": "echo 'Connection refused' >&2; exit 255"}, "local"),
    ],
    ids=["none", "Slurm", "PBS", "a Slurm that is down", "other queues", "a PBS that is down"],
)
def test_auto_is_the_scheduler_that_answers_and_has_prime_and_harvest(machine, commands, expected):
    for name, script in commands.items():
        machine.answers(name, script)
    assert answering() == expected


def test_every_scheduler_that_the_demo_may_be_told_has_a_stage():
    assert set(STAGES) == {str(kind) for kind in DemoScheduler} - {"auto"}
