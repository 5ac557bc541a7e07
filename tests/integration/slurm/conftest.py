"""Fake Slurm commands: small scripts on PATH, so that bad days can be played without a Slurm."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from support.command_folder import CommandFolder

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.adapter import SlurmAdapter

SAMPLES = Path(__file__).parents[2] / "unit/adapters/slurm/samples" / "22.05.8"


class FakeSlurm(CommandFolder):
    """A folder of commands that answer what a test says; by default, what a real Slurm 22.05 once did."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.queue = folder / "queue.txt"
        self.queue.write_bytes((SAMPLES / "grace.squeue.txt").read_bytes())
        self.glance = SAMPLES / "grace.glance.txt"
        self.excluded = folder / "excluded.txt"
        self.excluded.write_text("JOBID\x1fnonceEXC_NODES\x1enonce\n6\x1fnonce\x1enonce\n7\x1fnoncen[1,4]\x1enonce\n")
        self.answers(
            "squeue",
            f"file={self.glance}\n"
            'for word in "$@"; do case $word in\n'
            '--Format=*) nonce=${word##*$(printf "\\036")};;\n'
            f'--format=*) nonce=${{word##*$(printf "\\036")}}; file={self.excluded};;\n'
            "esac; case $word in\n"
            f"*SubmitTime*) file={self.queue};;\n"
            "esac; done\n"
            'sed "s/\\x1fnonce/\\x1f$nonce/g; s/\\x1enonce/\\x1e$nonce/g" $file',
        )
        self.answers(
            "scontrol",
            'case "$*" in\n'
            f"*node) cat {SAMPLES}/grace.node.txt;;\n"
            f"*partition) cat {SAMPLES}/grace.partition.txt;;\n"
            "*reservation) echo No reservations in the system;;\n"
            f"*config) cat {SAMPLES}/config.txt;;\n"
            "esac",
        )
        self.answers("sbatch", f'env > {folder}/env\ncp "${{@: -1}}" {folder}/script\necho 4711')
        self.answers("scancel", "true")


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return FakeSlurm(folder)


@pytest.fixture
def adapter(fake_slurm, tmp_path):
    return SlurmAdapter(work_dir=tmp_path / "psij", command_timeout=timedelta(seconds=2), cache_for=timedelta(0))


@pytest.fixture
def order(tmp_path):
    return PilotOrder(
        pilot_id="p1",
        name="harvester-p1",
        partition="harvest",
        resources=Resources(cpus=2, gpus=1, memory_mb=500),
        walltime=timedelta(minutes=14),
        command=("/opt/python", "-m", "harvester_worker", "a file's path"),
        output=tmp_path / "100%.out",
    )
