"""What this machine offers to a cluster: installed packages, Slurm's version, free ports, a lock on a folder.

Knows nothing of a cluster's configuration or processes.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = {"munged": "munge", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm"}
ACCOUNTING_PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server-core"}


class ClusterError(Exception):
    """The cluster cannot be brought up or down; the message says what to do."""


def missing(*, accounting: bool) -> dict[str, str]:
    """Return `{program: package}` of what is not installed."""
    wanted = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    return {program: package for program, package in wanted.items() if shutil.which(program) is None}


def ensure_installed(*, accounting: bool, install: bool) -> None:
    """Check for the programs that a cluster needs; with `install`, let apt-get bring them."""
    if not (absent := missing(accounting=accounting)):
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *sorted(set(absent.values()))]
    if not install:
        raise ClusterError(f"not installed: {', '.join(absent)}; add --install, or {' '.join(command)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], check=True, env=environment)
    subprocess.run(command, check=True, env=environment)


def slurm_version() -> tuple[int, int]:
    """Return the installed Slurm's (year, month)."""
    text = subprocess.run(["slurmctld", "-V"], text=True, capture_output=True, check=True).stdout
    if not (match := re.search(r"(\d+)\.(\d+)", text)):
        raise ClusterError(f"slurmctld -V does not tell a version: {text!r}")
    return int(match[1]), int(match[2])


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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one verb at a time change the cluster in `folder`; a lock on its parent leaves no file behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
