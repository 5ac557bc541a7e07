"""A one-machine Slurm of a benchmark's own: brought up by slurm-test/cluster.py, asked with an environment of its own.

Owns the cluster's life and the way its commands are run. Several live side by side: nothing is set in this process's
environment. Needs root. Knows nothing of the harvester.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

CLUSTER = Path(__file__).parents[2] / "slurm-test/cluster.py"
_STARTING = threading.Lock()  # two clusters that come up in the same moment would look for the same ports


class SiteError(Exception):
    """The cluster did not come up, or a command of it failed; the message has its words."""


class SiteKind(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of cluster.py."""

    nodes: int = 8
    cpus: int = 2
    grace_s: int = 60
    site: str = ""  # how prime jobs come before pilots, in cluster.py's words; empty: its default, two tiers
    clock: str = ""  # how often the scheduler looks, in cluster.py's words; empty: its default, every 2 s

    @property
    def options(self) -> list[str]:
        """The options of `cluster.py up`."""
        options = [f"--nodes={self.nodes}", f"--cpus={self.cpus}", f"--grace={self.grace_s}"]
        options += [f"--site={self.site}"] if self.site else []
        return options + ([f"--clock={self.clock}"] if self.clock else [])


class Site:
    """A cluster that is up."""

    def __init__(self, folder: Path, kind: SiteKind) -> None:
        self.folder, self.kind = folder, kind
        self.conf = folder / "slurm.conf"
        self.controller_log = folder / "log/slurmctld"
        self.nodes = tuple(f"n{number}" for number in range(1, kind.nodes + 1))

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, for this cluster alone."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SQUEUE"))}
        return ours | {"SLURM_CONF": str(self.conf), "LC_ALL": "C"}

    def run(self, *argv: str, timeout_s: float = 30.0) -> str:
        """Run a command of this cluster and return what it printed. Raises `SiteError` where it failed."""
        try:
            done = subprocess.run(
                argv, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SiteError(f"{' '.join(argv)} did not answer within {timeout_s:.0f} s") from error
        if done.returncode:
            raise SiteError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def batch_jobs(self, partition: str, states: str = "PD,R,CG") -> list[str]:
        """Return the ids of a partition's batch jobs in `states`."""
        return self.run("squeue", "-h", "-p", partition, "-t", states, "-o", "%i").split()

    def stop(self, name: str, *, gently: bool = False) -> None:
        """End slurmctld or a node's slurmd, with SIGKILL unless `gently`; what runs under it lives on."""
        _cluster("stop", name, *(["--gently"] if gently else []), f"--dir={self.folder}")

    def start(self, name: str) -> None:
        """Start it again, with the state that it left."""
        _cluster("start", name, f"--dir={self.folder}")


@contextmanager
def site(kind: SiteKind) -> Iterator[Site]:
    """Yield a fresh cluster, and take it down. Raises `SiteError`."""
    with tempfile.TemporaryDirectory(prefix="harvester-site-") as folder:
        where = Path(folder, "slurm")
        Path(folder).chmod(0o755)
        with _STARTING:
            _cluster("up", *kind.options, f"--dir={where}")
        try:
            yield Site(where, kind)
        finally:
            _cluster("down", f"--dir={where}")


def _cluster(*arguments: str) -> None:
    done = subprocess.run([sys.executable, str(CLUSTER), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError(f"cluster.py {' '.join(arguments)}: {done.stdout}{done.stderr}")
