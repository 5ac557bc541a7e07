"""Temporary folders: one for each slot process, so that files which a run forgets there are gone with the process.

Owns the pilot's folder in the node's temporary one, and what a killed pilot has left there: the next pilot on the node
sweeps each folder whose lock is free. Where no folder can be made, slots use the node's.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path

_PREFIX, _LOCK = "harvester-slots-", "lock"

END_S = 0.5
"""Time to remove files at the pilot's end; the next pilot on the node removes what is left."""


class TemporaryFolders:
    """The temporary folders of one pilot's slots."""

    def __init__(self) -> None:
        self._base: Path | None = None
        self._lock: int | None = None
        with contextlib.suppress(OSError):
            base = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = os.open(base / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._base = base

    def enter(self, slot: int) -> None:
        """Give the calling process, a new slot, a temporary folder of its own."""
        if self._lock is not None:
            os.close(self._lock)  # it is the pilot's as long as the agent has it
        if self._base is None:
            return
        mine = f"{self._base}/{slot}"
        with contextlib.suppress(OSError):
            os.mkdir(mine, 0o700)  # noqa: PTH102 - a new slot pays for each page that a pathlib object touches
            os.environ["TMPDIR"] = mine
            tempfile.tempdir = None  # asked for again

    def leave(self, slot: int) -> None:
        """Remove the folder of a slot that is gone; in a thread, where there is something in it."""
        if self._base is None:
            return
        mine = self._base / str(slot)
        try:
            mine.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            _in_a_thread(mine)

    def close(self) -> None:
        """Remove everything, at the pilot's end."""
        if self._base is not None:
            _in_a_thread(self._base).join(END_S)

    def sweep(self) -> None:
        """Remove what killed pilots have left."""
        if self._base is None:
            return
        for other in self._base.parent.glob(f"{_PREFIX}*"):
            if other != self._base and _take_over(other):
                _in_a_thread(other)


def _take_over(base: Path) -> bool:
    """Lock a folder that a pilot of this user has left; return whether it was one. The lock is kept."""
    try:
        if base.lstat().st_uid != os.getuid():
            return False
        lock = os.open(base / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # it is just being made, or removed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _in_a_thread(folder: Path) -> threading.Thread:
    thread = threading.Thread(target=shutil.rmtree, args=(folder, True), name="harvester-files", daemon=True)
    thread.start()
    return thread
