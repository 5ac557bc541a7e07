#!/usr/bin/env python3
"""A real Slurm on one machine, from Debian's packages: `up`, `down`, `status`, `env`, `stop`, `start`.

Owns the lifecycle of one cluster whose every file, socket, port and process is its own, so that a host's Slurm or munge
is not disturbed and `down` leaves nothing behind. Runs as root with the system's Python (3.11 or newer), standard
library only; needs no systemd. Knows nothing of the harvester.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import accounting
import arguments
import machine
import processes
import site_kinds
import slurm_conf
from machine import ClusterError
from slurm_conf import Asked, Shape

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

START_TIMEOUT_S = 60.0


class Cluster:
    """One cluster in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.conf = self.folder / "slurm.conf"
        self.shape_file = self.folder / "cluster.json"

    @property
    def asked(self) -> Asked | None:
        """What the running or half-removed cluster was asked to be; None where there is none."""
        try:
            return slurm_conf.asked_of(json.loads(self.shape_file.read_text()))
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

    def up(self, asked: Asked) -> str:
        """Bring the cluster up, unless it is up already; return a sentence for the caller."""
        if (before := self.asked) is not None:
            if before == asked and len(self.daemons()) == asked.daemons:
                return f"already up: {asked.nodes} nodes, {self.conf}"
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
        return f"up in {time.monotonic() - started:.1f} s: {asked.nodes} nodes, {self.conf}"

    def _start(self, asked: Asked) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.shape_file.write_text(json.dumps(dataclasses.asdict(asked)))
        for name in ("pid", "log", "state", "spool", "munge", "devices"):
            (self.folder / name).mkdir(mode=0o755)
        with machine.free_ports(asked.nodes + 2) as ports:
            host = socket.gethostname().split(".")[0]
            shape = Shape(asked=asked, ports=ports, host=host, devices=self._devices(asked))
        self.conf.write_text(slurm_conf.slurm_conf(shape, self.folder))
        (self.folder / "gres.conf").write_text(slurm_conf.gres_conf(shape))
        (self.folder / "cgroup.conf").write_text(slurm_conf.cgroup_conf(machine.slurm_version()))
        self._start_munge()
        if asked.site.needs_accounting:
            self._start_accounting(shape)
        self.must("slurmctld", "-c", "-f", str(self.conf))
        for name in asked.node_names:
            (self.folder / "spool" / name).mkdir(mode=0o755)
            self.must("slurmd", "-N", name, "-f", str(self.conf))
        self._wait_until_idle(asked.node_names)

    def _start_munge(self) -> None:
        """Start a munged of our own. A folder that others can write needs --force; its warnings don't matter here."""
        key = self.folder / "munge" / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(secrets.token_bytes(128))
        options = {"key-file": key, "socket": key.with_name("munge.socket"), "seed-file": key.with_name("munge.seed"),
                   "pid-file": self.folder / "pid" / "munged", "log-file": self.folder / "log" / "munged"}  # fmt: skip
        self.must("munged", "--force", *(f"--{name}={path}" for name, path in options.items()))

    def _start_accounting(self, shape: Shape) -> None:
        """Start the database and slurmdbd, and make the QOS, before the controller asks for them."""
        (self.folder / "database" / "data").mkdir(mode=0o700, parents=True)
        (self.folder / "database").chmod(0o700)
        conf = self.folder / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(accounting.slurmdbd_conf(self.folder, shape.ports[-1]))
        accounting.fill(self.folder)
        subprocess.Popen(
            accounting.database(self.folder), cwd="/", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait("the database is not ready", (self.folder / "database" / "socket").is_socket)
        self.must("env", *accounting.environment(self.folder), "slurmdbd")
        self._wait("slurmdbd does not answer", self._accounting_answers)
        self.must("sacctmgr", "-i", "-Q", "add", "cluster", slurm_conf.cluster_name(self.folder))
        for words in site_kinds.qualities(shape.asked.grace_s):
            self.must("sacctmgr", "-i", "-Q", *words)

    def _accounting_answers(self) -> bool:
        log = self.folder / "log" / "slurmdbd"
        if log.exists() and " fatal: " in log.read_text(errors="replace"):
            raise ClusterError(f"slurmdbd has given up\n{self.logs()}")
        return self.run("sacctmgr", "-n", "show", "qos").returncode == 0

    def _devices(self, asked: Asked) -> Path:
        """Return the folder with the GPUs' devices: the machine's, or made by mknod in ours."""
        if all(Path(f"/dev/nvidia{number}").exists() for number in range(asked.gpus)):
            return Path("/dev")
        for number in range(asked.gpus):
            os.mknod(self.folder / "devices" / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(195, number))
        return self.folder / "devices"

    def _wait_until_idle(self, names: tuple[str, ...]) -> None:
        self._wait("not every node is idle", lambda: self.node_states() == dict.fromkeys(names, "idle"))

    def _wait(self, what_if_not: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{what_if_not} after {START_TIMEOUT_S:.0f} s; nodes: {self.node_states()}\n{self.logs()}"
                )
            time.sleep(0.2)

    # ---- one daemon ------------------------------------------------------------------------------------------------

    def stop(self, name: str, *, gently: bool) -> str:
        """End slurmctld or the slurmd of a node, and nothing that it has started."""
        daemon = self._daemon(name)
        if not (pid := self.daemons().get(daemon)):
            return f"{daemon} is stopped already"
        os.kill(pid, signal.SIGTERM if gently else signal.SIGKILL)
        self._wait(f"{daemon} does not end", lambda: not processes.alive(pid))
        return f"{daemon} stopped"

    def start(self, name: str) -> str:
        """Start slurmctld or the slurmd of a node again, with the state that it left behind."""
        daemon = self._daemon(name)
        if daemon in self.daemons():
            return f"{daemon} runs already"
        if daemon == "slurmctld":
            self.must("slurmctld", "-f", str(self.conf))
            self._wait("slurmctld does not answer", lambda: self.run("scontrol", "ping").returncode == 0)
        else:
            self.must("slurmd", "-N", name, "-f", str(self.conf))
        self._wait(f"{daemon} does not run", lambda: daemon in self.daemons())
        return f"{daemon} started"

    def _daemon(self, name: str) -> str:
        """Return the pid file's name for what a caller calls `slurmctld`, `n1`, `n2` …"""
        if (asked := self.asked) is None:
            raise ClusterError(f"no cluster in {self.folder}; bring it up first")
        if name != "slurmctld" and name not in asked.node_names:
            raise ClusterError(f"{name!r} is neither slurmctld nor a node (n1 to n{asked.nodes})")
        return name if name == "slurmctld" else f"slurmd-{name}"

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
        for name in ("slurmdbd", "mariadbd", "munged"):
            processes.end({pid for daemon, pid in daemons.items() if daemon == name}, patience_s=5.0)
        shutil.rmtree(self.folder)
        return f"down: {self.folder} removed"

    def status(self) -> tuple[str, bool]:
        """Return a description, and whether all is well."""
        asked = self.asked
        if asked is None:
            return f"down: no cluster in {self.folder}", False
        daemons, states = self.daemons(), self.node_states()
        lines = [f"daemons: {len(daemons)} of {asked.daemons}", f"SLURM_CONF={self.conf}"]
        lines += [f"{name}: {state}" for name, state in states.items()]
        return "\n".join(lines), bool(states) and len(daemons) == asked.daemons


def perform(args: argparse.Namespace) -> tuple[str, bool]:
    """Do what the command line asks; return what to print, and whether all is well."""
    cluster = Cluster(getattr(args, "dir", arguments.FOLDER))
    if args.verb == "env":
        return f"export SLURM_CONF={shlex.quote(str(cluster.conf))}", True
    if args.verb == "status":
        return cluster.status()
    if os.geteuid() != 0:
        raise ClusterError("it needs root: Slurm's daemons start processes as other users")
    with machine.locked(cluster.folder):
        return change(cluster, args), True


def change(cluster: Cluster, args: argparse.Namespace) -> str:
    """Perform a verb that starts or ends something."""
    match args.verb:
        case "up":
            asked = arguments.asked(args)
            machine.ensure_installed(accounting=asked.site.needs_accounting, install=args.install)
            return cluster.up(asked)
        case "stop":
            return cluster.stop(args.name, gently=args.gently)
        case "start":
            return cluster.start(args.name)
        case _:
            return cluster.down()


def main() -> int:
    """Run the command line."""
    args = arguments.parse()
    try:
        text, is_well = perform(args)
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"cluster.py {args.verb}: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
