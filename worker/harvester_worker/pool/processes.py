"""Processes: what a process has started, and how all of it is ended together.

A function may start programs; killing its slot alone would leave them on a node that belongs to somebody else by then.
"""

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _HEAP_BYTES = 16 << 20, 8 << 20

_PAGE = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None, use_errno=True)


def keep_memory() -> None:
    """Keep some memory that was freed: page faults took a third of the time of a 1 MB payload.

    With the defaults of glibc a process gives what is over 2 MB back to the kernel at once, and asks for it again.
    """
    with contextlib.suppress(AttributeError):  # it is not glibc
        _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        _libc.mallopt(_M_MMAP_THRESHOLD, _HEAP_BYTES)


def allow_descriptors() -> None:
    """Let this process open as many files as it may: an agent has some for each slot process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def die_with_parent() -> None:
    """Have this process killed by the kernel when its parent dies, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none of them is out of reach."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def rename(name: str) -> None:
    """Name this process in `ps` and `top`; 15 bytes at most."""
    _libc.prctl(_PR_SET_NAME, name.encode())


def wake_with_parent() -> None:
    """Have this process woken, if stopped, when its parent dies: it has to clean up then."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """Return the processes that `pid` is the parent of; zombies as well."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a pathlib object for each thread costs more than the look
    except OSError:
        return found  # it has ended
    for task in tasks:
        folder = f"/proc/{pid}/task/{task}"
        try:
            found += map(int, Path(folder, "children").read_text().split())
        except FileNotFoundError:
            if Path(folder).exists():
                return _by_parents().get(pid, [])  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            pass  # it ended while we looked
    return found


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped this process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def own_bytes(pid: int) -> int:
    """Return about how much memory a process has for itself, 0 for one that is gone."""
    try:
        statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)  # `Path` takes four times as long
    except OSError:
        return 0
    try:
        _, resident, shared = os.read(statm, 256).split()[:3]
        return (int(resident) - int(shared)) * _PAGE
    except (OSError, ValueError):
        return 0
    finally:
        os.close(statm)


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, parents before their children; zombies as well."""
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def _by_parents() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(stat.parent.name))
    return found


def kill_tree(pid: int) -> None:
    """Kill `pid`, a child of the caller that it has not waited for, and everything below it."""
    _stop_and_kill(lambda: [pid, *descendants(pid)])


def kill_all(look: Callable[[], list[int]]) -> None:
    """Kill the processes that `look` finds, and those that it finds because they were forked meanwhile."""
    _stop_and_kill(look)


def end_descendants(*, within_s: float) -> bool:
    """Kill and reap everything below the caller; return whether nothing is left.

    The caller has to `adopt_orphans`: then a process without children has no descendants either. What hangs in the
    kernel (a file system that does not answer) cannot be ended, and is not waited for longer than `within_s`.
    """
    until = time.monotonic() + within_s
    while True:
        while (pid := _reap()) > 0:  # first: a look among thousands of dead ones is too slow for the quick
            pass
        if pid < 0:
            return True
        if time.monotonic() >= until:
            return False
        _stop_and_kill(lambda: descendants(os.getpid()))
        time.sleep(0.0005)


_PASSES = 4


def _stop_and_kill(look: Callable[[], list[int]]) -> None:
    """Kill processes that may be forking: all are stopped before the first is killed, since a stopped one cannot fork.

    What the caller may not signal is left, and what forks faster than it is looked for: the next call continues.
    """
    stopped: dict[int, None] = {}  # in the order of the looks
    for _ in range(_PASSES):
        new = [pid for pid in look() if pid not in stopped]
        if not new:
            break
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped.update(dict.fromkeys(new))
    for pid in reversed(stopped):  # a parent that dies would have its stopped children woken by the kernel
        _signal(pid, signal.SIGKILL)


def _reap() -> int:
    """Reap a child and return its id; 0 where all live, -1 where there are none."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return -1


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # a set-user-id program belongs to another user
        os.kill(pid, number)
