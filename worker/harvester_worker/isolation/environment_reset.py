"""The reset after a run: what it left behind in its process that would disturb the next one there.

Owns the process's devices, working directory, umask, signal mask, timer and output as they were before the first run.
All else stays: modules and what they hold may be meant to stay, and so may seeds, and environment variables that a
module has set when it was imported. Only runs of the same owner and the same function follow in this process.
"""

import _signal  # type: ignore[import-not-found] # what `signal` wraps into enums, which takes 2 µs
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Self, TextIO

from harvester_worker.devices import variables

_OUTPUTS = (("stdout", 1), ("stderr", 2))


class EnvironmentReset:
    """What each run of one process must find.

    Parameters
    ----------
    names: of the variables that name devices here.
    directory: a descriptor of the working directory.
    outputs: descriptors of the process's output, by the number that they are copies of.
    """

    def __init__(self, names: Iterable[str], directory: int, outputs: dict[int, int]) -> None:
        self._devices = [(name, os.environb.get(name)) for name in map(os.fsencode, names)]
        self._directory = directory
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._outputs = outputs
        self._streams: dict[str, TextIO] = {"stdout": sys.stdout, "stderr": sys.stderr}

    @classmethod
    def remember(cls) -> Self:
        """Return the reset to what this process has now."""
        directory = os.open(".", os.O_PATH | os.O_DIRECTORY)  # a path may be renamed, or be unreadable from outside
        # Where there are no devices, nobody can take another one's: one look is enough then, after each run.
        names = variables.NAMES if any(os.environ.get(name) for name in variables.NAMES) else (variables.CUDA,)
        return cls(names, directory, {number: os.dup(number) for _, number in _OUTPUTS})

    def restore(self) -> None:
        """Put everything back, after the end of a run."""
        signal.setitimer(signal.ITIMER_REAL, 0)  # a forgotten `signal.alarm` would kill the next function
        if _signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the next function's programs would have no exit codes
        _signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        os.umask(self._umask)
        environment = _variables(os.environb)
        for variable, value in self._devices:
            if environment.get(variable) != value:
                _set(variable, value)  # or the next function would use a device that another slot has
        with contextlib.suppress(OSError):  # a directory that was removed meanwhile
            os.fchdir(self._directory)
        for name, number in _OUTPUTS:
            self._restore_output(name, number)

    def _restore_output(self, name: str, number: int) -> None:
        """Flush an output, and put it back where the function has closed it or put something else into its place."""
        stream: Any = getattr(sys, name, None)
        is_kept = stream is self._streams[name]
        try:
            stream.flush()
        except Exception:  # noqa: BLE001 - outermost: `sys.stdout` may be any object of the user's
            is_kept = False
        with contextlib.suppress(OSError):
            os.dup2(self._outputs[number], number)  # without a look whether it is needed, which costs more
        if is_kept:
            return
        self._streams[name] = open(  # noqa: SIM115 - it stays open
            number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, self._streams[name])


def _variables(environment: Any) -> Mapping[bytes, bytes]:  # noqa: ANN401 - as `os` has it
    """Return the environment as the dict behind it: a variable that is missing costs 0.8 µs of the other."""
    found: Mapping[bytes, bytes] = getattr(environment, "_data", environment)
    return found


def _set(name: bytes, value: bytes | None) -> None:
    if value is None:
        os.environb.pop(name, None)
    else:
        os.environb[name] = value
