#!/usr/bin/env python3
"""A real PBS on one machine, from an installed OpenPBS or PBS Pro: `inside`, `up`, `down`, `status`, `stop`, `start`.

Owns the lifecycle of one site. `inside` runs a command in namespaces where the names and addresses of the site's nodes
are known, nothing else can be reached, and everything ends with the command; the other verbs work only there, so that
a PBS that the host runs is not disturbed. PBS itself is not ours: `--prefix` (or PBS_EXEC) says where it is installed.
Runs as root with the system's Python (3.11 or newer), standard library only. Knows nothing of the harvester.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import pbs_arguments
import pbs_namespaces
import pbs_site
import processes
from machine import ClusterError
from pbs_site import PbsAsked

if TYPE_CHECKING:
    from collections.abc import Callable

START_TIMEOUT_S = 60.0
LOCKS = {"server": "server_priv/server.lock", "sched": "sched_priv/sched.lock", "comm": "server_priv/comm.lock"}


class PbsCluster:
    """One PBS site in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.conf = self.folder / "pbs.conf"
        self.shape_file = self.folder / "cluster.json"

    @property
    def found(self) -> PbsAsked | None:
        """What the running or half-removed site was asked to be; None where there is none."""
        try:
            return PbsAsked(**json.loads(self.shape_file.read_text()))
        except FileNotFoundError:
            return None

    @property
    def asked(self) -> PbsAsked:
        """The same. Raises `ClusterError` where there is none."""
        if (found := self.found) is None:
            raise ClusterError(f"no site in {self.folder}; bring it up first")
        return found

    def environment(self, conf: Path | None = None) -> dict[str, str]:
        """Return what PBS's programs are run with."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PBS_")}
        path = f"{self.asked.prefix}/bin:{self.asked.prefix}/sbin:{own.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
        return own | {"PBS_CONF_FILE": str(conf or self.conf), "PATH": path}

    def run(self, *argv: str, conf: Path | None = None, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command of this site's; its failure is the caller's to judge."""
        with (self.folder / "output").open("w+") as output:  # no pipe: a daemon would hold it open
            try:
                done = subprocess.run(
                    argv, env=self.environment(conf), timeout=timeout, check=False, cwd="/",
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                return subprocess.CompletedProcess(argv, 124, f"{argv[0]} did not answer for {error.timeout:.0f} s")
            output.seek(0)
            return subprocess.CompletedProcess(argv, done.returncode, output.read())

    def must(self, *argv: str, conf: Path | None = None) -> None:
        """Run a command that has to succeed."""
        done = self.run(*argv, conf=conf)
        if done.returncode:
            raise ClusterError(f"{shlex.join(argv)} ended with {done.returncode}: {done.stdout}\n{self.logs()}")

    def node_states(self) -> dict[str, str]:
        """Return `{node: state}` in PBS's words; empty while the server does not answer."""
        done = self.run("pbsnodes", "-a", "-F", "json", timeout=10)
        found = json.loads(done.stdout)["nodes"] if done.returncode == 0 else {}
        return {name: node["state"] for name, node in found.items()}

    def daemons(self) -> dict[str, int]:
        """Return `{name: pid}` of the daemons that live."""
        locks = {name: self.folder / "home" / path for name, path in LOCKS.items()}
        locks |= {name: self.folder / name / "mom_priv" / "mom.lock" for name in self.asked.node_names}
        found = {name: processes.from_lock_file(path) for name, path in locks.items()}
        return {name: pid for name, pid in found.items() if pid}

    def logs(self) -> str:
        """Return the last lines of every log, for an error message."""
        tails = []
        for path in sorted(self.folder.glob("*/*_logs/*")):
            lines = path.read_text(errors="replace").splitlines()[-6:]
            tails.append("\n".join([f"--- {path}", *lines]))
        return "\n".join(tails)

    # ---- up --------------------------------------------------------------------------------------------------------

    def up(self, asked: PbsAsked) -> str:
        """Bring the site up, unless it is up already; return a sentence for the caller."""
        if (before := self.found) is not None:
            if before == asked and len(self.daemons()) == len(asked.daemon_names):
                return f"already up: {asked.nodes} nodes, {self.conf}"
            if before != asked:
                raise ClusterError(f"{self.folder} holds another site ({before}); take it down first")
            self.down()  # some of its daemons have died
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ClusterError(f"{self.folder} is not empty and holds no site; name another --dir")
        started = time.monotonic()
        try:
            self._start(asked)
        except BaseException:
            self.down()
            raise
        return f"up in {time.monotonic() - started:.1f} s: {asked.nodes} nodes, {self.conf}"

    def _start(self, asked: PbsAsked) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.shape_file.write_text(json.dumps(dataclasses.asdict(asked)))
        self.conf.write_text(pbs_site.pbs_conf(asked, self.folder))
        self.must(f"{asked.prefix}/libexec/pbs_habitat")  # makes PBS_HOME and its database
        sched_config = self.folder / "home" / "sched_priv" / "sched_config"
        sched_config.write_text(pbs_site.sched_config(sched_config.read_text()))
        for name in asked.node_names:
            conf = self._mom_conf(name)
            conf.write_text(pbs_site.mom_conf(asked, self.folder, name))
            self.must(
                f"{asked.prefix}/libexec/pbs_postinstall", "execution", "", asked.prefix, f"{self.folder}/{name}",
                "sameconf", conf=conf,
            )  # fmt: skip
            (self.folder / name / "mom_priv" / "config").write_text(pbs_site.mom_config(asked))
            with (self.folder / name / "pbs_environment").open("a") as variables:
                variables.write(f"PBS_CONF_FILE={self.conf}\n")  # for commands in batch jobs; sites have /etc/pbs.conf
        for name in ("comm", *asked.node_names, "sched", "server"):
            self.start(name)
        for command in (*pbs_site.settings(asked), *pbs_site.nodes(asked)):
            self.must("qmgr", "-c", command)
        self._wait("not every node is free", lambda: self.node_states() == dict.fromkeys(asked.node_names, "free"))

    def _mom_conf(self, name: str) -> Path:
        return self.folder / f"{name}.conf"

    def _wait(self, what_if_not: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{what_if_not} after {START_TIMEOUT_S:.0f} s; nodes: {self.node_states()}\n{self.logs()}"
                )
            time.sleep(0.2)

    # ---- one daemon ------------------------------------------------------------------------------------------------

    def stop(self, name: str) -> str:
        """End a daemon with SIGKILL, and nothing that it has started."""
        self._check(name)
        if not (pid := self.daemons().get(name)):
            return f"{name} is stopped already"
        os.kill(pid, signal.SIGKILL)
        self._wait(f"{name} does not end", lambda: not processes.alive(pid))
        return f"{name} stopped"

    def start(self, name: str) -> str:
        """Start a daemon, with the state that it left behind; a mom keeps the batch jobs that run."""
        self._check(name)
        if name in self.daemons():
            return f"{name} runs already"
        sbin = f"{self.asked.prefix}/sbin"
        if name in LOCKS:
            self.must(f"{sbin}/pbs_{name}")
        else:
            self.must(f"{sbin}/pbs_mom", "-p", conf=self._mom_conf(name))
        self._wait(f"{name} does not run", lambda: name in self.daemons())
        if name == "server":
            self._wait("the server does not answer", lambda: self.run("qstat", "-B", timeout=10).returncode == 0)
        return f"{name} started"

    def _check(self, name: str) -> None:
        if name not in (known := self.asked.daemon_names):
            raise ClusterError(f"{name!r} is no daemon of this site; there are {', '.join(known)}")

    # ---- down ------------------------------------------------------------------------------------------------------

    def down(self) -> str:
        """End every process of the site and remove its folder."""
        if self.found is None:
            return f"not up: no site in {self.folder}"
        daemons = self.daemons()
        # The server first, so that it starts nothing; then what runs in batch jobs; then the moms, then the rest.
        processes.end({pid for name, pid in daemons.items() if name in {"server", "sched"}}, patience_s=5.0)
        moms = {pid for name, pid in daemons.items() if name not in LOCKS}
        jobs = processes.with_variable("PBS_NODEFILE", f"{self.folder}/")
        processes.end(processes.descendants(moms | jobs) - moms, patience_s=1.0)
        processes.end(moms, patience_s=5.0)
        self.run(f"{self.asked.prefix}/sbin/pbs_dataservice", "stop", timeout=30)
        processes.end(processes.with_variable("PBS_CONF_FILE", f"{self.folder}/"), patience_s=2.0)
        shutil.rmtree(self.folder)
        return f"down: {self.folder} removed"

    def status(self) -> tuple[str, bool]:
        """Return a description, and whether all is well."""
        if self.found is None:
            return f"down: no site in {self.folder}", False
        daemons, states = self.daemons(), self.node_states()
        lines = [f"daemons: {len(daemons)} of {len(self.asked.daemon_names)}", f"PBS_CONF_FILE={self.conf}"]
        lines += [f"{name}: {state}" for name, state in states.items()]
        return "\n".join(lines), bool(states) and len(daemons) == len(self.asked.daemon_names)


def perform(args: argparse.Namespace) -> tuple[str, bool]:
    """Do what the command line asks; return what to print, and whether all is well."""
    if args.verb == "inside":
        need_root()
        pbs_namespaces.become_inside(args.command)
    cluster = PbsCluster(args.dir)
    if args.verb == "env":
        path = f"{cluster.asked.prefix}/bin"
        return f"export PBS_CONF_FILE={shlex.quote(str(cluster.conf))} PATH={shlex.quote(path)}:$PATH", True
    if args.verb == "status":
        return cluster.status()
    need_root()
    if not pbs_namespaces.is_inside():
        raise ClusterError("PBS's nodes have no addresses here; run it in: pbs_cluster.py inside -- bash")
    with machine.locked(cluster.folder):
        match args.verb:
            case "up":
                return cluster.up(pbs_arguments.asked_of(args)), True
            case "down":
                return cluster.down(), True
            case verb:
                return getattr(cluster, verb)(args.name), True


def need_root() -> None:
    """Raise `ClusterError` for anybody else."""
    if os.geteuid() != 0:
        raise ClusterError("it needs root: PBS's daemons start processes as other users")


def main() -> int:
    """Run the command line."""
    args = pbs_arguments.parse()
    try:
        text, is_well = perform(args)
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"pbs_cluster.py {args.verb}: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
