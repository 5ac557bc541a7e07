"""Processes of one cluster: find them by what is theirs alone, and end them.

A process belongs to the cluster when it is a daemon named by one of the cluster's pid files, when its environment says
that it runs inside one of the cluster's batch jobs, or when it descends from such a process. SLURM_CONF alone proves
nothing: a person's shell has it too. Knows no Slurm command.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PROC = Path("/proc")


def alive(pid: int) -> bool:
    """Tell whether `pid` runs; a zombie does not."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def from_pid_file(path: Path) -> int | None:
    """Return the live process that `path` names, if it is the daemon that the file is called after."""
    try:
        pid = int(path.read_text())
        command = (PROC / str(pid) / "comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if path.name.startswith(command) and alive(pid) else None


def from_lock_file(path: Path) -> int | None:
    """Return the live process of PBS that `path`, a daemon's lock file, names."""
    try:
        pid = int(path.read_text())
        command = (PROC / str(pid) / "comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if command.startswith("pbs_") and alive(pid) else None


def with_variable(name: str, prefix: str) -> set[int]:
    """Return the processes whose environment has the variable `name` with a value that begins with `prefix`."""
    wanted, found = f"{name}={prefix}".encode(), set()
    for folder in PROC.glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(variable.startswith(wanted) for variable in variables):
            found.add(int(folder.name))
    return found - {os.getpid()}


def in_batch_jobs(cluster: str) -> set[int]:
    """Return the processes whose environment says that they run in a batch job of `cluster`."""
    name = b"SLURM_CLUSTER_NAME=" + cluster.encode()
    found = set()
    for folder in PROC.glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if name in variables and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables):
            found.add(int(folder.name))
    return found - {os.getpid()}


def descendants(roots: set[int]) -> set[int]:
    """Return `roots` and everything below them."""
    children: dict[int, set[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, set()).add(int(folder.name))
    found, queue = set(roots), list(roots)
    while queue:
        for child in children.get(queue.pop(), set()) - found:
            found.add(child)
            queue.append(child)
    return found - {os.getpid()}


def stepds(spool: Path) -> set[int]:
    """Return the slurmstepd processes that work in `spool`: they outlive their slurmd, as children of init."""
    found = set()
    for folder in PROC.glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() != "slurmstepd":
                continue
            opened = [entry.readlink() for entry in (folder / "fd").iterdir()] + [(folder / "cwd").readlink()]
        except OSError:
            continue
        if any(path.is_relative_to(spool) or path.is_relative_to(spool.parent / "log") for path in opened):
            found.add(int(folder.name))
    return found


def end(pids: set[int], *, patience_s: float) -> None:
    """End `pids`: SIGTERM, and SIGKILL for whoever is left after `patience_s` seconds."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        for pid in filter(alive, pids):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait_s
        while any(map(alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
