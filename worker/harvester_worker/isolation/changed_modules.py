"""Changed modules: those that a slot has imported and whose files have changed since.

Owns what the files were. Modules of Python and of installed packages are not looked at, nor are those that were
imported before the fork, since another fork would have the same. A slot whose modules have changed is replaced.
"""

import os
import sys
import time
from typing import NamedTuple

from harvester_worker.isolation.installed import is_installed

LEAST_S = 0.02
"""Between two looks. A file that was edited and is used again within this time is not seen to be another one."""

SHARE = 200
"""Looks take at most one part in so many of the time: many files on a slow disk must not delay runs."""


class _Identity(NamedTuple):
    """What tells one content of a file from another."""

    mtime_ns: int
    size: int
    inode: int


class ChangedModules:
    """The modules that this process imports from now on.

    Parameters
    ----------
    known: the names of those that it has already.
    """

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known
        self._count = len(sys.modules)
        self._files: dict[str, _Identity] = {}
        self._look_at = 0.0
        self._is_outdated = False

    def record(self, duration_s: float) -> None:
        """Record what a run has imported that has just ended and took so long."""
        if len(sys.modules) == self._count:
            return
        now = time.time()
        for name in sys.modules.keys() - self._known:
            path = getattr(sys.modules.get(name), "__file__", None)
            if not isinstance(path, str) or is_installed(path) or (identity := _identity(path)) is None:
                continue
            self._files[path] = identity
            # It was written during the run: it may have been read before or after that.
            self._is_outdated |= now - duration_s < identity.mtime_ns / 1e9 <= now
        self._known = frozenset(sys.modules)
        self._count = len(sys.modules)

    def check(self) -> bool:
        """Look whether what this process has imported is out of date; return it, or what a look just now has found."""
        if self._is_outdated or not self._files:
            return self._is_outdated
        began_at = time.monotonic()
        if began_at < self._look_at:
            return False
        # A file that is missing is about to be written: a new slot could not import it now.
        seen = ((_identity(path), identity) for path, identity in self._files.items())
        self._is_outdated = any(now is not None and now != identity for now, identity in seen)
        ended_at = time.monotonic()
        self._look_at = ended_at + max(LEAST_S, SHARE * (ended_at - began_at))
        return self._is_outdated


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a pathlib object costs as much as the look
    except OSError:
        return None
    return _Identity(found.st_mtime_ns, found.st_size, found.st_ino)
