"""Docker on this machine: runs its commands, and finds which compose is here, 2 (`docker compose`) or 1.29.

Knows nothing of the cluster.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from machine import ClusterError


def run(*argv: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed; its failure is the caller's to judge."""
    return subprocess.run(
        argv, env=os.environ | (environment or {}), check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def must(*argv: str, environment: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed; return what it printed."""
    done = run(*argv, environment=environment)
    if done.returncode:
        raise ClusterError(f"{shlex.join(argv)} ended with {done.returncode}: {done.stdout.strip()[-3000:]}")
    return done.stdout


def ensure_running() -> None:
    """Check that a Docker engine answers."""
    if shutil.which("docker") is None:
        raise ClusterError("docker is not installed: apt-get install docker.io docker-compose")
    if (done := run("docker", "version", "--format", "{{.Server.Version}}")).returncode:
        told = done.stdout.strip()
        if "permission denied" in told:
            raise ClusterError(f"you may not use the Docker engine: be root, or of the group docker: {told}")
        raise ClusterError(f"no Docker engine answers, start one (as root: dockerd): {told}")


def compose() -> tuple[str, ...]:
    """Return the compose command; the environment's COMPOSE names another."""
    if named := os.environ.get("COMPOSE", "").split():
        return tuple(named)
    if run("docker", "compose", "version").returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise ClusterError("compose is not installed: apt-get install docker-compose")


def has_image(name: str) -> bool:
    """Whether the engine holds an image of that name."""
    return run("docker", "image", "inspect", name).returncode == 0


def say(text: str) -> None:
    """Tell what takes long."""
    print(f"compose: {text}", file=sys.stderr, flush=True)
