"""The real Slurms that acceptance tests run on: brought up on this machine when first asked for, and taken down again.

`slurm` is the session's usual one. `site` and `sites` give other kinds; slurm-test/README.md says which there are.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

CLUSTER = Path(__file__).parents[2] / "slurm-test" / "cluster.py"
PYTHON = "/usr/bin/python3"  # the system's, as an admin would run it
NODES, CPUS, GPUS, GRACE_S = 8, 2, 2, 60
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd")
NO_DATABASE = "_check_mysql_concat_is_sane: null result"  # Debian testing, November 2026: its own packages disagree


# The tests on the cluster of containers: `make test-compose` brings it up and says where it is. Plain `make test` and
# CI have neither a Docker engine nor an image registry.
collect_ignore = [] if "HARVESTER_TEST_COMPOSE" in os.environ else ["compose"]


class Slurm:
    """A running cluster: where its slurm.conf is, what its nodes are called, and its commands."""

    def __init__(
        self, folder: Path, *, nodes: int = NODES, cpus: int = CPUS, gpus: int = GPUS, grace_s: int = GRACE_S
    ) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.cpus, self.gpus = cpus, gpus
        self.grace_s = grace_s

    def run(self, *argv: str) -> str:
        """Run a Slurm command and return what it printed."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def stop(self, name: str) -> None:
        """End slurmctld or a node's slurmd with SIGKILL."""
        self._verb("stop", name)

    def start(self, name: str) -> None:
        """Start slurmctld or a node's slurmd, with the state that it left; nothing when it runs."""
        self._verb("start", name)

    def _verb(self, verb: str, name: str) -> None:
        done = cluster(verb, name, f"--dir={self.folder}")
        assert done.returncode == 0, done.stdout + done.stderr

    def start_all(self) -> None:
        """Start every daemon that was stopped."""
        for name in ("slurmctld", *self.nodes):
            self.start(name)

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


def what_is_missing(programs: tuple[str, ...] = PROGRAMS) -> str:
    """Return why no Slurm can be brought up here, and what to do; empty when it can."""
    if os.geteuid() != 0:
        return "a Slurm is brought up by root only: run the tests as root"
    absent = [name for name in programs if shutil.which(name) is None]
    packages = "slurm-wlm munge" + (" slurmdbd mariadb-server-core" if set(absent) & set(ACCOUNTING_PROGRAMS) else "")
    return f"{', '.join(absent)} not installed: apt-get install {packages}" if absent else ""


def need(programs: tuple[str, ...]) -> None:
    """Skip the test, visibly, where `programs` are absent; fail it where they are expected, in CI for one."""
    if reason := what_is_missing(programs):
        if os.environ.get("CI", "").lower() in {"true", "1"} or os.environ.get("HARVESTER_TEST_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def brought_up(*options: str) -> Iterator[Path]:
    """Yield the folder of a running cluster; take it down afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="harvester-slurm-"))
    try:
        done = cluster("up", *options, f"--dir={folder}")
        if NO_DATABASE in done.stderr:
            pytest.skip("no QOS here: slurmdbd cannot read this Debian's libmariadb3 (26.05.5 with 11.8.9)")
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder
    finally:
        done = cluster("down", f"--dir={folder}")
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def slurm_conf(path: Path) -> Iterator[None]:
    """Let SLURM_CONF name `path`."""
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(path)
    try:
        yield
    finally:
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Yield a `Slurm` of 8 idle nodes with 2 CPUs and 2 GPUs each, grace time 60 s; SLURM_CONF is set for the session.

    Skipped, visibly, where none can be brought up; a failure where one is expected: in CI, or with
    HARVESTER_TEST_SLURM=1.
    """
    need(PROGRAMS)
    with (
        brought_up(f"--nodes={NODES}", f"--cpus={CPUS}", f"--gpus={GPUS}", f"--grace={GRACE_S}") as folder,
        slurm_conf(folder / "slurm.conf"),
    ):
        yield Slurm(folder)


class Sites:
    """Clusters of other kinds, one at a time: asked for the same again it gives the one that is up."""

    def __init__(self) -> None:
        self._asked: tuple[str, ...] = ()
        self._alive: ExitStack = ExitStack()
        self._slurm: Slurm | None = None

    def up(
        self,
        kind: str,
        *,
        nodes: int = 4,
        cpus: int = 2,
        gpus: int = 0,
        memory: int = 4000,
        grace: int = GRACE_S,
        clock: str = "tuned",
        bf_interval: int | None = None,
        features: dict[str, list[str]] | None = None,
        settings: dict[str, str] | None = None,
    ) -> Slurm:
        """Return a cluster as asked: all daemons run, no batch job is left of the test before."""
        need(PROGRAMS + (ACCOUNTING_PROGRAMS if kind == "qos" else ()))
        asked = [f"--site={kind}", f"--nodes={nodes}", f"--cpus={cpus}", f"--gpus={gpus}", f"--memory={memory}"]
        asked += [f"--grace={grace}", f"--clock={clock}", *([f"--bf-interval={bf_interval}"] if bf_interval else [])]
        asked += [f"--feature={name}={','.join(having)}" for name, having in (features or {}).items()]
        asked += [f"--set={key}={value}" for key, value in (settings or {}).items()]
        if self._slurm is not None and self._asked == tuple(asked):
            self._slurm.start_all()
            self._slurm.clear()
            return self._slurm
        self.down()
        folder = self._alive.enter_context(brought_up(*asked))
        self._asked = tuple(asked)
        self._slurm = Slurm(folder, nodes=nodes, cpus=cpus, gpus=gpus, grace_s=grace)
        return self._slurm

    def down(self) -> None:
        """Take down the cluster that is up, if one is."""
        self._slurm = None
        self._alive.close()


@pytest.fixture(scope="session")
def sites() -> Iterator[Sites]:
    """Yield what brings up clusters of other kinds; who holds one sets SLURM_CONF."""
    pool = Sites()
    try:
        yield pool
    finally:
        pool.down()


@pytest.fixture
def site(sites: Sites) -> Iterator[Callable[..., Slurm]]:
    """Yield a function that returns a cluster as `Sites.up` does, and points SLURM_CONF there until the test ends."""
    with ExitStack() as stack:

        def up(kind: str, **asked: Any) -> Slurm:
            slurm = sites.up(kind, **asked)
            stack.enter_context(slurm_conf(slurm.conf))
            return slurm

        yield up


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
        terminalreporter.section("measured on this scheduler")
        for line in FIGURES.lines():
            terminalreporter.write_line(line)
    if FIGURES.samples and (path := os.environ.get("HARVESTER_FIGURES")):
        Path(path).write_text(json.dumps(FIGURES.samples, indent=2))
