"""Fake PBS commands: small scripts on PATH, so that bad days can be played without a PBS."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from support.command_folder import CommandFolder

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.model.resources import Resources
from harvester_adapters.pbs.adapter import PbsAdapter

SAMPLES = Path(__file__).parents[2] / "unit/adapters/pbs/samples"


class FakePbs(CommandFolder):
    """PBS's commands with the answers that a real OpenPBS 23.06.06 once gave; some are put together of several days."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.samples = SAMPLES
        self.queue = self.copied("states.qstat.txt")
        self.history = self.copied("ended.qstat.txt")
        self.nodes = self.copied("mixed.nodes.json")
        self.queues = self.copied("all.queues.txt")
        self.sched = self.copied("soft-limit.sched.txt")
        text = self.queues.read_text().replace("Queue: harvest\x1f", "Queue: harvest\x1fmax_run_soft=[o:PBS_ALL=0]\x1f")
        self.queues.write_text(text)
        past = f"-x*) cat {self.history}; exit ${{QSTAT_RC:-0}};;"
        self.answers("qstat", f'case "$*" in -Q*) cat {self.queues};; {past} *) cat {self.queue};; esac')
        self.answers("pbsnodes", f"cat {self.nodes}")
        self.answers("qmgr", f'case "$*" in *server) cat {SAMPLES}/server.qmgr.txt;; *) cat {self.sched};; esac')
        self.answers("pbs_rstat", f"cat {SAMPLES}/running.rstat.txt")
        self.answers("qsub", f"env > {folder}/env\nprintf '%s\\0' \"$@\" > {folder}/arguments\necho 4711.vm")
        for command in ("qdel", "qhold", "qrls"):
            self.answers(command, "true")

    def copied(self, name: str) -> Path:
        """Return a copy of a sample that a test may change."""
        path = self.folder / name
        path.write_bytes((SAMPLES / name).read_bytes())
        return path

    def submitted(self) -> list[str]:
        """Return the arguments of the last qsub."""
        return (self.folder / "arguments").read_text().split("\0")[:-1]


@pytest.fixture
def fake_pbs(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return FakePbs(folder)


@pytest.fixture
def adapter(fake_pbs, tmp_path):
    return PbsAdapter(work_dir=tmp_path / "psij", command_timeout=timedelta(seconds=2), cache_for=timedelta(0))


@pytest.fixture
def order(tmp_path):
    return PilotOrder(
        pilot_id="p1",
        name="harvester-p1",
        partition="harvest",
        resources=Resources(cpus=1),
        walltime=timedelta(minutes=14),
        command=("/opt/python", "-m", "harvester_worker", "a file's path"),
        output=tmp_path / "100%.out",
    )
