"""The step of one local pilot: the process that starts the pilot, outlives it, and records how it ended.

Owns what slurmstepd owns under Slurm: a session of the pilot's own (so that Ctrl-C in the daemon's terminal does not
reach it), the redirected output, the end of every process that the pilot leaves behind, and its exit code on disk, also
while no scheduler watches. Run as a script with the pilot's folder as its argument; imports the standard library only,
because it starts once a pilot and without site-packages.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
ORDER, PROCESS, EXIT = "order.json", "process.json", "exit.json"


def start_ticks(pid: int) -> int | None:
    """Return when a process began, in clock ticks after boot; None if it is gone. Pids are given away again.

    psutil's `create_time` is not stable enough for a comparison over hours: it moves when the clock is set.
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] in {"Z", "X"} else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - pathlib costs 5 ms of each pilot's start
            return file.read().rpartition(")")[2].split()  # the name in parentheses may hold anything
    except (FileNotFoundError, ProcessLookupError):
        return None


def _children() -> list[int]:
    me = str(os.getpid())
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - as above
    return [pid for pid in pids if (fields := _stat(pid)) is not None and fields[1] == me]


def _kill_children() -> None:
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _sweep() -> None:
    """Kill what the pilot left behind. Orphans become ours, so each round reaches one generation further."""
    while True:
        _kill_children()
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _write(name: str, content: dict[str, float]) -> None:
    with open(name + ".new", "w") as file:  # noqa: PTH123 - as above
        json.dump(content, file)
    os.replace(name + ".new", name)  # noqa: PTH105 - as above


def _detach(output: str) -> None:
    os.setsid()
    # Children of a dead pilot become ours, not init's, even if they opened a session of their own.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)  # psij holds a pipe on the old ones, and would wait for its end


def _spawn(command: list[str]) -> int:
    every = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
    return os.posix_spawnp(command[0], command, os.environ, setpgroup=0, setsigdef=every, setsigmask=())


def _wait(pilot: int) -> int:
    """Return the pilot's exit code, negative for a signal; orphans that end before it are reaped on the way."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == pilot:
            return os.waitstatus_to_exitcode(status)


def main(folder: str) -> int:
    """Run the pilot that `folder` holds the order of; return its exit code."""
    os.chdir(folder)
    with open(ORDER) as file:  # noqa: PTH123 - as above
        order = json.load(file)
    _detach(order["output"])
    _write(PROCESS, {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()) or 0})
    # The last line of defence: nothing outlives its walltime, also where the daemon is dead.
    signal.signal(signal.SIGALRM, lambda *_: _kill_children())
    signal.setitimer(signal.ITIMER_REAL, max(1.0, order["kill_at"] - time.time()), 1.0)
    os.chdir(order["directory"])
    try:
        pilot = _spawn(order["command"])
    except OSError as error:
        print(f"cannot start {order['command'][0]}: {error}", file=sys.stderr)  # noqa: T201 - the pilot's output
        code = 127
    else:
        code = _wait(pilot)
        _sweep()
    os.chdir(folder)
    _write(EXIT, {"exit_code": code, "at": time.time()})
    return abs(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
