"""Leftovers: what a run leaves behind in its process that would hit the next one there, of the same function.

Owns the process's devices, working directory, umask, signal mask, timer and output as they were before the first run.
All else stays: modules and what they hold may be meant to, so may seeds, and environment variables that a module has
set when it was imported. No other function and no other owner has this process.
"""

import _signal  # type: ignore[import-not-found] # what `signal` wraps into enums, which takes 2 µs
import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, Self, TextIO

from harvester_worker.devices import variables

_OUTPUTS = (("stdout", 1), ("stderr", 2))


class EnvironmentReset:
    """The surroundings that each run must find.

    Parameters
    ----------
    names: of the variables that name devices here.
    directory: a descriptor of the working directory.
    outputs: descriptors of the process's output, by the number that they are copies of.
    """

    def __init__(self, names: Iterable[str], directory: int, outputs: dict[int, int]) -> None:
        self._devices = {name: os.environ.get(name) for name in names}
        self._directory = directory
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._outputs = outputs
        self._files = {number: _file(copy) for number, copy in outputs.items()}
        self._streams: dict[str, TextIO] = {"stdout": sys.stdout, "stderr": sys.stderr}

    @classmethod
    def remember(cls) -> Self:
        """Take note of what this process has now."""
        directory = os.open(".", os.O_PATH | os.O_DIRECTORY)  # a path may be renamed, or be unreadable from outside
        # Where there are no devices, nobody can take another one's: one look is enough then, after each run.
        names = variables.NAMES if any(os.environ.get(name) for name in variables.NAMES) else (variables.CUDA,)
        return cls(names, directory, {number: os.dup(number) for _, number in _OUTPUTS})

    def clear(self) -> None:
        """Put everything back, after a function's end."""
        signal.setitimer(signal.ITIMER_REAL, 0)  # a forgotten `signal.alarm` would kill the next function
        if _signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the next function's programs would have no exit codes
        _signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        os.umask(self._umask)
        for name, value in self._devices.items():
            if not _is(name, value):
                _set(name, value)  # or the next function would use a device that another slot has
        with contextlib.suppress(OSError):  # a directory that was removed meanwhile
            os.fchdir(self._directory)
        for name, number in _OUTPUTS:
            self._mend(name, number)

    def _mend(self, name: str, number: int) -> None:
        """Flush an output; open it again where the function has closed it, or put something else into its place."""
        stream: Any = getattr(sys, name, None)
        try:
            stream.flush()
            if stream is self._streams[name] and _file(number) == self._files[number]:
                return
        except Exception:  # noqa: BLE001, S110 - outermost: `sys.stdout` may be any object of the user's
            pass
        with contextlib.suppress(OSError):
            os.dup2(self._outputs[number], number)
        self._streams[name] = open(  # noqa: SIM115 - it stays open
            number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, self._streams[name])


def _file(descriptor: int) -> tuple[int, int]:
    """Return what a file that stays open is known by."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _is(name: str, value: str | None) -> bool:
    if name in os.environ:  # first: `get` of what is missing raises and catches, which takes 1 µs
        return value is not None and os.environ[name] == value
    return value is None


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
