"""The cluster of containers as the host sees it: built, brought up, asked, taken down.

Owns the compose project and its image. What a container does is `role`'s business.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

from machine import ClusterError
from site_kinds import SiteKind

from compose import debian_base, engine, host_files
from compose.debian_base import Suite

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("compose.yaml")
NODES = ("n1", "n2", "n3", "n4")
USABLE = {"idle", "mixed", "allocated"}
NO_PYSLURM = (
    "NO PYSLURM in this image: no source of it was given, or it does not build against this Slurm (README.md);"
    " the harvester has one source of nodes and batch jobs there, the commands' text"
)
START_TIMEOUT_S = 120.0
GATEWAY_PORT = 8321  # in the container


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack:
    """One cluster: which Debian, which kind of site, and the gateway's port on this machine (0: any that is free)."""

    suite: Suite = Suite.TRIXIE
    site: SiteKind = SiteKind.TIERS
    grace_s: int = 60
    port: int = 8321
    accounting: bool = True

    @property
    def has_accounting(self) -> bool:
        """Whether slurmdbd takes part. Forky's 26.05.5 cannot read its libmariadb3 11.8.9 (November 2026)."""
        return self.accounting and self.suite is not Suite.FORKY

    @property
    def image(self) -> str:
        """The image that all its containers are of."""
        return f"harvester-slurm:{self.suite}"

    @property
    def project(self) -> str:
        """The compose project's name: clusters of different Debians live side by side."""
        return f"harvester-slurm-{self.suite}"

    @property
    def command(self) -> tuple[str, ...]:
        """The compose command for this cluster, without its verb."""
        return (*engine.compose(), "-f", str(FILE), "-p", self.project)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of compose.yaml."""
        return {
            "DEBIAN": self.suite, "SITE": self.site, "GRACE": str(self.grace_s), "HARVESTER_PORT": str(self.port),
            "ACCOUNTING": "yes" if self.has_accounting else "no",
        }  # fmt: skip

    def compose(self, *words: str) -> str:
        """Run a verb of compose that has to succeed; return what it printed."""
        return engine.must(*self.command, *words, environment=self.environment)

    def build(self, pyslurm: Path | None, wheels: Path | None) -> str:
        """Build the image; all but the project's sources is kept from the last time."""
        host_files.bring(pyslurm, wheels)
        base = debian_base.name(self.suite)
        if not engine.has_image(base):
            engine.say(
                f"{base} is not here, so Docker asks a registry; without one: make compose-base VERSION={self.suite}"
            )
        argv = ["docker", "build", "-t", self.image, "-f", str(FILE.with_name("Dockerfile"))]
        argv += ["--build-arg", f"DEBIAN={self.suite}"]
        if index := os.environ.get("PIP_INDEX_URL"):
            argv += ["--build-arg", f"PIP_INDEX_URL={index}"]
        engine.say(f"building {self.image}, minutes the first time")
        engine.must(*argv, str(ROOT))
        wheels_there = engine.must("docker", "run", "--rm", "--entrypoint=ls", self.image, "/wheels").split()
        engine.say(f"in it: {wheels_there[0]}" if wheels_there else NO_PYSLURM)
        return f"{self.image} built"

    def begin_afresh(self) -> None:
        """Remove what an earlier cluster has left, before one that is removed afterwards; not a cluster in use."""
        if self.compose("ps", "-q").strip():
            raise ClusterError(
                f"{self.project} is up, and its homes would be lost; first: make compose-down VERSION={self.suite}"
            )
        self.down()

    def up(self) -> str:
        """Bring it up and wait until all nodes can be used and the gateway listens."""
        if not engine.has_image(self.image):
            raise ClusterError(f"{self.image} is not built; first: make compose-image VERSION={self.suite}")
        self._ensure_port_is_free()
        begun_at = time.monotonic()
        try:
            self.compose("up", "-d", "--no-build")
        except ClusterError as error:
            raise ClusterError(
                f"{error}\nwhat was made is still there: make compose-down VERSION={self.suite}"
            ) from error
        deadline = begun_at + START_TIMEOUT_S
        while (states := self.node_states()).keys() != set(NODES) or not USABLE.issuperset(states.values()):
            self._give_up_after(deadline, f"the nodes are {states}")
        while self.ask("login", "harvester", "status").returncode:
            self._give_up_after(deadline, "the gateway does not answer")
        return f"up in {time.monotonic() - begun_at:.1f} s: {len(NODES)} nodes, {self.image}, http://{self.address()}"

    def address(self) -> str:
        """Return the gateway's address and port on this machine; empty where it has none."""
        done = engine.run(*self.command, "port", "login", str(GATEWAY_PORT), environment=self.environment)
        return done.stdout.strip() if done.returncode == 0 else ""

    def _ensure_port_is_free(self) -> None:
        """Say so before anything is made, and in fewer words than Docker."""
        if not self.port or self.address().endswith(f":{self.port}"):
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise ClusterError(
                    f"port {self.port} of this machine's loopback is not to be had ({error.strerror}): make it another"
                    f" by UP=--port=8322, or any that is free by UP=--port=0"
                ) from error

    def _give_up_after(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            logs = self.compose("logs", "--tail=8")
            raise ClusterError(f"{what} after {START_TIMEOUT_S:.0f} s\n{logs}")
        time.sleep(0.5)

    def node_states(self) -> dict[str, str]:
        """Return `{node: state}` in Slurm's words; empty while the controller does not answer."""
        done = self.ask("login", "sinfo", "-h", "-N", "-p", "prime", "-o", "%N %T")
        return dict(line.split() for line in done.stdout.splitlines()) if done.returncode == 0 else {}

    def ask(self, service: str, *argv: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run a command in a container; its failure is the caller's to judge."""
        command = (*self.command, "exec", "-T", "-u", user, service, *argv)
        return engine.run(*command, environment=self.environment)

    def tell(self, service: str, *argv: str, user: str = "root") -> str:
        """Run a command in a container that has to succeed; return what it printed."""
        done = self.ask(service, *argv, user=user)
        if done.returncode:
            raise ClusterError(f"{shlex.join(argv)} as {user} on {service} ended with {done.returncode}: {done.stdout}")
        return done.stdout.rstrip()

    def down(self) -> str:
        """Remove its containers, network and volumes; the image stays."""
        if self.compose("ps", "-q").strip():
            engine.say(f"removing {self.project}, some seconds")
        self.compose("down", "--volumes", "--timeout=5")
        return f"{self.project} is down; its volumes are removed, its image is kept"

    def slurm_version(self) -> str:
        """Return the version of its Slurm."""
        return self.tell("login", "sinfo", "--version").split()[-1]
