"""Processes: what a process has started, and how all of it is ended together.

A function may start programs; killing its slot alone would leave them on a node that belongs to somebody else by then.
"""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _HEAP_BYTES = 16 << 20, 8 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def keep_memory() -> None:
    """Keep some memory that was freed: page faults took a third of the time of a 1 MB payload.

    With the defaults of glibc a process gives what is over 2 MB back to the kernel at once, and asks for it again.
    """
    with contextlib.suppress(AttributeError):  # it is not glibc
        _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        _libc.mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)


def die_with_parent() -> None:
    """Be killed by the kernel when the parent dies, in whatever way."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none of them is out of reach."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def rename(name: str) -> None:
    """Be called `name` (15 bytes at most) in `ps` and `top`."""
    _libc.prctl(_PR_SET_NAME, name.encode())


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, parents before their children."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in tasks.read_text().split()]
        except OSError:
            continue  # it ended while we looked
        for child in children:
            found += [child, *descendants(child)]
    return found


def kill_tree(pid: int) -> None:
    """Kill `pid`, a child of the caller that it has not waited for, and everything below it."""
    for each in [pid, *descendants(pid)]:
        _kill(each)


def kill_descendants(*, within_s: float) -> None:
    """Kill everything below the caller, again and again until nothing is left or the time is over."""
    until = time.monotonic() + within_s
    while (below := descendants(os.getpid())) and time.monotonic() < until:
        for pid in below:
            _kill(pid)
        while _reap():
            pass
        time.sleep(0.002)


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
