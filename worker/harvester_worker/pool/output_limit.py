"""The output limit: how much of what functions print is kept.

The output of a batch job lies on a disk that others need, so a pilot writes no more than a budget of it. The rest is
read and dropped, because a function must not block when it prints. The agent's own log does not count.
"""

import contextlib
import fcntl
import os
import threading

BUDGET_BYTES = 1024 * 1024
"""What the functions of one pilot may print in all."""

PIPE_BYTES = 1024 * 1024
"""What they may print before it has been read."""

_DRAIN_S = 0.5


class Outlet:
    """A pipe for functions to print into.

    Parameters
    ----------
    to: the descriptor that gets what is kept.
    budget_bytes: how much that is.
    """

    def __init__(self, to: int, budget_bytes: int = BUDGET_BYTES) -> None:
        self._to = to
        self._left = budget_bytes
        self._budget_bytes = budget_bytes
        self._reader, self._writer = os.pipe()
        with contextlib.suppress(OSError):  # a user may have no more room for pipes: then it is a smaller one
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._thread = threading.Thread(target=self._carry, name="harvester-output", daemon=True)

    def become_output(self) -> None:
        """Have this process, a fork of the agent, and all below it print into the pipe."""
        for number in (1, 2):
            os.dup2(self._writer, number)
        os.close(self._writer)
        os.close(self._reader)

    def open(self) -> None:
        """Begin to read, after the zygote has been given the other end."""
        os.close(self._writer)
        self._thread.start()

    def close(self) -> None:
        """Keep what is left, after the end of all processes that print."""
        self._thread.join(_DRAIN_S)

    def _carry(self) -> None:
        buffer = memoryview(bytearray(64 * 1024))
        while (count := os.readv(self._reader, [buffer])) > 0:
            if self._left > 0:
                self._keep(buffer[:count])

    def _keep(self, text: memoryview) -> None:
        kept = text[: self._left]
        self._left -= len(kept)
        with contextlib.suppress(OSError):  # the disk is full, or the output is closed: functions must not fail of it
            _write(self._to, kept)
            if self._left <= 0:
                word = f"\n[harvester] functions have printed {self._budget_bytes} bytes here: no more is kept\n"
                _write(self._to, memoryview(word.encode()))


def _write(to: int, text: memoryview) -> None:
    while text:
        text = text[os.write(to, text) :]
