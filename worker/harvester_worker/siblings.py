"""Siblings: the slot processes of one zygote, in memory that all of them share.

The zygote adopts what slots leave behind. Who is its child and no slot is an orphan.
"""

import mmap
import os
from pathlib import Path

_SIZE = 4096


class Siblings:
    """To be made by the zygote, which is also the only one that writes to it."""

    def __init__(self) -> None:
        self._pids = memoryview(mmap.mmap(-1, _SIZE)).cast("I")
        self._children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")

    def add(self, pid: int) -> None:
        """A slot was forked."""
        self._replace(0, pid)

    def remove(self, pid: int) -> None:
        """A slot is gone."""
        self._replace(pid, 0)

    def has_orphans(self) -> bool:
        """Tell whether the zygote has adopted a process that lives still. In doubt it has."""
        try:
            children = self._children.read_text().split()
        except OSError:
            return True
        return not {int(child) for child in children} <= set(self._pids)

    def _replace(self, old: int, new: int) -> None:
        for index, pid in enumerate(self._pids):
            if pid == old:
                self._pids[index] = new
                return
