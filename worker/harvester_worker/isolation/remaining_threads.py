"""Remaining threads: those that still run a user's code after the run that has started them.

A thread that runs nothing but Python's and installed packages' code belongs to a library, such as the idle worker of a
pool or the monitor of a progress bar, and does no harm.
"""

import _thread
import sys
import threading

from harvester_worker.isolation.installed import is_installed


class RemainingThreads:
    """The threads of a process. To be made when there are only the slot's own."""

    def __init__(self) -> None:
        self._ours = frozenset(thread.ident for thread in threading.enumerate())
        self._count = _thread._count()  # noqa: SLF001 - documented, in spite of its name

    def are_at_users_code(self) -> bool:
        """Return whether a thread that is not the slot's runs a user's code, or will when its timer is due."""
        if _thread._count() == self._count:  # noqa: SLF001 - as above
            return False  # the usual case, and `threading` takes a lock to count
        frames = sys._current_frames()  # noqa: SLF001 - as above
        for thread in threading.enumerate():
            if thread.ident in self._ours:
                continue
            if isinstance(thread, threading.Timer) and not thread.finished.is_set():
                return True
            frame = frames.get(thread.ident or 0)
            while frame is not None:
                if not is_installed(frame.f_code.co_filename):
                    return True
                frame = frame.f_back
        return False
