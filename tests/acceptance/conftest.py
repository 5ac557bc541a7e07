"""The real Slurm that acceptance tests run on: brought up once a session on this machine, and taken down again."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "slurm-test" / "cluster.py"
PYTHON = "/usr/bin/python3"  # the system's, as an admin would run it
NODES, CPUS, GPUS, GRACE_S = 8, 2, 2, 60


class Slurm:
    """A running cluster: where its slurm.conf is, what its nodes are called, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.nodes = tuple(f"n{number}" for number in range(1, NODES + 1))
        self.cpus, self.gpus = CPUS, GPUS
        self.grace_s = GRACE_S

    def run(self, *argv: str) -> str:
        """Run a Slurm command and return what it printed."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def clear(self) -> None:
        """End every batch job, and wait until all nodes are idle again."""
        for signal in ((), ("--signal=KILL", "--full")):
            for state in ("PENDING", "RUNNING", "SUSPENDED"):
                self.run("scancel", "--quiet", f"--state={state}", *signal, "--user=root")
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                if set(self.run("sinfo", "--noheader", "--Node", "--format=%T").split()) == {"idle"}:
                    return
                time.sleep(0.1)
        pytest.fail(f"the nodes did not become idle again: {self.run('squeue')}")


def cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run slurm-test/cluster.py."""
    argv = [PYTHON, str(CLUSTER), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=110, check=False)


def what_is_missing() -> str:
    """Return why no Slurm can be brought up here, and what to do; empty when it can."""
    if os.geteuid() != 0:
        return "a Slurm is brought up by root only: run the tests as root"
    absent = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed: apt-get install slurm-wlm munge" if absent else ""


@pytest.fixture(scope="session")
def slurm():
    """Yield a `Slurm` of 8 idle nodes with 2 CPUs and 2 GPUs each, grace time 60 s; SLURM_CONF is set for the session.

    Skipped, visibly, where none can be brought up; a failure where one is expected: in CI, or with
    HARVESTER_TEST_SLURM=1.
    """
    if reason := what_is_missing():
        if os.environ.get("CI", "").lower() in {"true", "1"} or os.environ.get("HARVESTER_TEST_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="harvester-slurm-"))
    before = os.environ.get("SLURM_CONF")
    try:
        done = cluster(
            "up", f"--nodes={NODES}", f"--cpus={CPUS}", f"--gpus={GPUS}", f"--grace={GRACE_S}", f"--dir={folder}"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        yield Slurm(folder)
    finally:
        done = cluster("down", f"--dir={folder}")
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        assert done.returncode == 0, done.stdout + done.stderr


class Figures:
    """What was measured in this run, printed at its end; with HARVESTER_FIGURES=FILE also written there as JSON."""

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = {}

    def add(self, name: str, *values: float) -> None:
        """Add measurements to the row called `name`; the name says the unit."""
        self.samples.setdefault(name, []).extend(values)

    def lines(self) -> list[str]:
        """Return the rows of a Markdown table: median, least and greatest of each figure."""
        rows = ["| figure | median | min | max | n |", "|---|---|---|---|---|"]
        for name, values in self.samples.items():
            middle, least, greatest = statistics.median(values), min(values), max(values)
            rows.append(f"| {name} | {middle:.2f} | {least:.2f} | {greatest:.2f} | {len(values)} |")
        return rows


FIGURES = Figures()


@pytest.fixture
def figures() -> Figures:
    """Where acceptance tests leave what they measured."""
    return FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures after the tests."""
    if FIGURES.samples:
        terminalreporter.section("measured on this Slurm")
        for line in FIGURES.lines():
            terminalreporter.write_line(line)
    if FIGURES.samples and (path := os.environ.get("HARVESTER_FIGURES")):
        Path(path).write_text(json.dumps(FIGURES.samples, indent=2))
