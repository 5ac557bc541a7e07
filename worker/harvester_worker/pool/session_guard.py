"""The guard: ends what has left the pilot's session, where the scheduler kills that session as a whole.

PBS's SIGKILL (a deletion by force, a grace time that is over) goes to every process of the batch job's session, and to
no other. Agent and zygote die of it together, and with them whoever knew what functions have started in sessions of
their own. So the guard has a session of its own. When the agent has gone, however that happened, it ends what still
carries the batch job's id in its environment, and goes. At an orderly end the agent ends it like everything else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import NoReturn

from harvester_worker.pool import processes

MARK = "PBS_JOBID"
"""PBS sets it, and what a function starts inherits it. Other schedulers end more than a session."""

END_S = 3.0
"""Time to end what is left."""

_PAUSE_S = 0.02
_LOOK_S = 0.1  # where nobody tells that the agent has gone


def start_where_needed() -> None:
    """Fork the guard where the scheduler kills by session. To be called before the caller has threads."""
    batch_job_id = os.environ.get(MARK, "")
    if not batch_job_id:
        return
    agent = os.getpid()
    if os.fork():
        return
    try:
        _guard(agent, batch_job_id)
    finally:
        os._exit(1)


def _guard(agent: int, batch_job_id: str) -> NoReturn:
    os.setsid()
    processes.rename("harvester-grd")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # nobody shall wait for the end of a pipe that only the guard holds
        os.dup2(null, descriptor)
    wait_for_the_end_of(agent)
    _sweep(f"{MARK}={batch_job_id}".encode(), now_ticks())
    os._exit(0)


def wait_for_the_end_of(agent: int) -> None:
    """Return when the agent, our parent, has gone."""
    try:
        watch = os.pidfd_open(agent)
    except (OSError, AttributeError):  # it has gone; or a kernel before 5.3, or a Python that was built for one
        while os.getppid() == agent:
            time.sleep(_LOOK_S)
        return
    # A pid that is given away again is no parent's: the agent is our parent until it dies.
    if os.getppid() == agent:
        select.select([watch], [], [])


def _sweep(mark: bytes, died_at: int) -> None:
    until = time.monotonic() + END_S
    while marked(mark, died_at) and time.monotonic() < until:
        processes.kill_all(lambda: marked(mark, died_at))
        time.sleep(_PAUSE_S)


def marked(mark: bytes, died_at: int) -> list[int]:
    """Return our user's processes that carry the mark, but those of a new run of the same batch job."""
    found = []
    me = os.getpid()
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != me and mark in _environment(entry.name):
            fields = _stat(entry.name)
            leader = _stat(fields[3]) if fields else []
            if fields and fields[0] != "Z" and not (leader and int(leader[19]) > died_at):
                found.append(int(entry.name))
    return found


def _environment(pid: str) -> list[bytes]:
    with contextlib.suppress(OSError):  # it has ended, or is somebody else's
        return Path("/proc", pid, "environ").read_bytes().split(b"\0")
    return []


def _stat(pid: str) -> list[str]:
    """Return a process's fields in /proc from its state on; empty for one that is gone."""
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    return []


def now_ticks() -> int:
    """Return the present in the unit of start times: clock ticks after boot."""
    return int(float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK"))
