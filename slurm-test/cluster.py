#!/usr/bin/env python3
"""A real Slurm on one machine, from Debian's packages: `up`, `down`, `status`, `env`.

Owns the lifecycle of one cluster whose every file, socket, port and process is its own, so that a host's Slurm or munge
is not disturbed and `down` leaves nothing behind. Runs as root with the system's Python (3.11 or newer), standard
library only; needs no systemd. Knows nothing of the harvester.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import processes
import slurm_conf
from slurm_conf import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
START_TIMEOUT_S = 60.0


class ClusterError(Exception):
    """The cluster cannot be brought up or down; the message says what to do."""


class Cluster:
    """One cluster in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.conf = self.folder / "slurm.conf"
        self.shape_file = self.folder / "cluster.json"

    @property
    def asked(self) -> dict[str, int] | None:
        """What the running or half-removed cluster was asked to be; None where there is none."""
        try:
            return dict(json.loads(self.shape_file.read_text()))
        except FileNotFoundError:
            return None

    def run(self, *argv: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run a command of this cluster's; its failure is the caller's to judge."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        environment["SLURM_CONF"] = str(self.conf)
        try:
            return subprocess.run(
                argv, env=environment, timeout=timeout, check=False, text=True, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(argv, 124, f"{argv[0]} did not answer for {error.timeout:.0f} s")

    def must(self, *argv: str) -> None:
        """Run a command that has to succeed."""
        done = self.run(*argv)
        if done.returncode:
            raise ClusterError(f"{shlex.join(argv)} ended with {done.returncode}: {done.stdout}\n{self.logs()}")

    def node_states(self) -> dict[str, str]:
        """Return `{node: state}` in Slurm's words; empty while the controller does not answer."""
        done = self.run("sinfo", "-h", "-N", "-p", "prime", "-o", "%N %T")
        return dict(line.split() for line in done.stdout.splitlines()) if done.returncode == 0 else {}

    def daemons(self) -> dict[str, int]:
        """Return `{pid file's name: pid}` of the daemons that live."""
        found = {path.name: processes.from_pid_file(path) for path in (self.folder / "pid").glob("*")}
        return {name: pid for name, pid in sorted(found.items()) if pid}

    def logs(self) -> str:
        """Return the last lines of every log, for an error message."""
        tails = []
        for path in sorted((self.folder / "log").glob("*")):
            lines = path.read_text(errors="replace").splitlines()[-8:]
            tails.append("\n".join([f"--- {path}", *lines]))
        return "\n".join(tails)

    # ---- up --------------------------------------------------------------------------------------------------------

    def up(self, asked: dict[str, int]) -> str:
        """Bring the cluster up, unless it is up already; return a sentence for the caller."""
        if (before := self.asked) is not None:
            if before == asked and len(self.daemons()) == asked["nodes"] + 2:
                return f"already up: {asked['nodes']} nodes, {self.conf}"
            if before != asked:
                raise ClusterError(f"{self.folder} holds another cluster ({before}); take it down first")
            self.down()  # some of its daemons have died
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ClusterError(f"{self.folder} is not empty and holds no cluster; name another --dir")
        started = time.monotonic()
        try:
            self._start(asked)
        except BaseException:
            self.down()
            raise
        return f"up in {time.monotonic() - started:.1f} s: {asked['nodes']} nodes, {self.conf}"

    def _start(self, asked: dict[str, int]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.shape_file.write_text(json.dumps(asked))
        for name in ("pid", "log", "state", "spool", "munge", "devices"):
            (self.folder / name).mkdir(mode=0o755)
        with free_ports(asked["nodes"] + 1) as ports:
            shape = Shape(**asked, ports=ports, host=socket.gethostname().split(".")[0], devices=self._devices(asked))
        self.conf.write_text(slurm_conf.slurm_conf(shape, self.folder))
        (self.folder / "gres.conf").write_text(slurm_conf.gres_conf(shape))
        (self.folder / "cgroup.conf").write_text(slurm_conf.cgroup_conf(slurm_version()))
        self._start_munge()
        self.must("slurmctld", "-c", "-f", str(self.conf))
        for name in shape.node_names:
            (self.folder / "spool" / name).mkdir(mode=0o755)
            self.must("slurmd", "-N", name, "-f", str(self.conf))
        self._wait_until_idle(shape.node_names)

    def _start_munge(self) -> None:
        """Start a munged of our own. A folder that others can write needs --force; its warnings don't matter here."""
        key = self.folder / "munge" / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(128))
        options = {"key-file": key, "socket": key.with_name("munge.socket"), "seed-file": key.with_name("munge.seed"),
                   "pid-file": self.folder / "pid" / "munged", "log-file": self.folder / "log" / "munged"}  # fmt: skip
        self.must("munged", "--force", *(f"--{name}={path}" for name, path in options.items()))

    def _devices(self, asked: dict[str, int]) -> Path:
        """Return the folder with the GPUs' devices: the machine's, or made by mknod in ours."""
        if all(Path(f"/dev/nvidia{number}").exists() for number in range(asked["gpus"])):
            return Path("/dev")
        for number in range(asked["gpus"]):
            os.mknod(self.folder / "devices" / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(195, number))
        return self.folder / "devices"

    def _wait_until_idle(self, names: tuple[str, ...]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while (states := self.node_states()) != dict.fromkeys(names, "idle"):
            if time.monotonic() > deadline:
                raise ClusterError(f"nodes not idle after {START_TIMEOUT_S:.0f} s: {states}\n{self.logs()}")
            time.sleep(0.2)

    # ---- down ------------------------------------------------------------------------------------------------------

    def down(self) -> str:
        """End every process of the cluster and remove its folder."""
        if self.asked is None:
            return f"not up: no cluster in {self.folder}"
        daemons = self.daemons()
        # The controller first, so that it starts nothing; then what runs in batch jobs; then the nodes, then munge.
        processes.end({pid for name, pid in daemons.items() if name == "slurmctld"}, patience_s=10.0)
        slurmds = {pid for name, pid in daemons.items() if name.startswith("slurmd-")}
        jobs = processes.in_batch_jobs(slurm_conf.cluster_name(self.folder)) | processes.stepds(self.folder / "spool")
        processes.end(processes.descendants(slurmds | jobs) - slurmds, patience_s=1.0)
        processes.end(slurmds, patience_s=5.0)
        processes.end({pid for name, pid in daemons.items() if name == "munged"}, patience_s=5.0)
        shutil.rmtree(self.folder)
        return f"down: {self.folder} removed"

    def status(self) -> tuple[str, bool]:
        """Return a description, and whether all is well."""
        asked = self.asked
        if asked is None:
            return f"down: no cluster in {self.folder}", False
        daemons, states = self.daemons(), self.node_states()
        lines = [f"daemons: {len(daemons)} of {asked['nodes'] + 2}", f"SLURM_CONF={self.conf}"]
        lines += [f"{name}: {state}" for name, state in states.items()]
        return "\n".join(lines), bool(states) and len(daemons) == asked["nodes"] + 2


@contextmanager
def free_ports(count: int) -> Iterator[tuple[int, ...]]:
    """Yield ports of 127.0.0.1 that nobody else is given meanwhile, below the range of outgoing connections."""
    with ExitStack() as stack:
        ports: list[int] = []
        candidates = iter(range(20000 + os.getpid() % 500 * 16, 32768))
        while len(ports) < count:
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("", port := next(candidates)))
            except OSError:
                continue
            ports.append(port)
        yield tuple(ports)


def slurm_version() -> tuple[int, int]:
    """Return the installed Slurm's (year, month)."""
    text = subprocess.run(["slurmctld", "-V"], text=True, capture_output=True, check=True).stdout
    if not (match := re.search(r"(\d+)\.(\d+)", text)):
        raise ClusterError(f"slurmctld -V does not tell a version: {text!r}")
    return int(match[1]), int(match[2])


def ensure_installed(*, install: bool) -> None:
    """Check for Slurm's programs; with `install`, let apt-get bring them."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and install:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True, env=environment)
        subprocess.run(["apt-get", "install", "-y", "-q", *PACKAGES], check=True, env=environment)
    elif missing:
        raise ClusterError(
            f"not installed: {', '.join(missing)}; add --install, or apt-get install {' '.join(PACKAGES)}"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one `up` or `down` at a time work on `folder`; a lock on its parent leaves no file behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def at_least(least: int) -> Callable[[str], int]:
    """Return a reader for numbers of the command line."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description="A real Slurm on one machine, for tests.")
    parser.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help="its folder (/run/harvester-slurm)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help="its folder (/run/harvester-slurm)")
    up = verbs.add_parser("up", parents=[common], help="bring it up and wait until every node is idle")
    up.add_argument("--nodes", type=at_least(1), default=8)
    up.add_argument("--cpus", type=at_least(1), default=2, help="CPUs a node")
    up.add_argument("--gpus", type=at_least(0), default=0, help="GPUs a node; faked where the machine has none")
    up.add_argument("--grace", type=at_least(0), default=60, help="GraceTime of the harvest partition, in seconds")
    up.add_argument("--install", action="store_true", help="apt-get install what is missing")
    verbs.add_parser("down", parents=[common], help="end all its processes and remove its folder")
    verbs.add_parser("status", parents=[common], help="show daemons and nodes; exit 1 unless all is up")
    verbs.add_parser("env", parents=[common], help='print what to eval: eval "$(cluster.py env)"')
    return parser.parse_args()


def perform(args: argparse.Namespace) -> tuple[str, bool]:
    """Do what the command line asks; return what to print, and whether all is well."""
    cluster = Cluster(getattr(args, "dir", Path("/run/harvester-slurm")))
    if args.verb == "env":
        return f"export SLURM_CONF={shlex.quote(str(cluster.conf))}", True
    if args.verb == "status":
        return cluster.status()
    if os.geteuid() != 0:
        raise ClusterError("it needs root: Slurm's daemons start processes as other users")
    with locked(cluster.folder):
        if args.verb == "down":
            return cluster.down(), True
        ensure_installed(install=args.install)
        return cluster.up({"nodes": args.nodes, "cpus": args.cpus, "gpus": args.gpus, "grace_s": args.grace}), True


def main() -> int:
    """Run the command line."""
    args = parse()
    try:
        text, is_well = perform(args)
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"cluster.py {args.verb}: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
