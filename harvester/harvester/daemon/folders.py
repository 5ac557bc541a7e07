"""Pilots' folders: the pilot file with its token, and the output of the batch job.

Owns the layout below the state folder: `pilots/<pilot id>/pilot.json` and `output.txt`. All of it is for the daemon's
user alone (0700, 0600): a token in it opens one pilot's link.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

_TAIL = 2000  # bytes of the output that are looked at for a reason


class PilotFolders:
    """The folders of all pilots below `state_dir`."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / "pilots"

    def make(self, pilot_id: str, orders: bytes) -> Path:
        """Make the folder of a pilot with its pilot file, and return the file's path. Raises `OSError`."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._root / pilot_id
        folder.mkdir(mode=0o700)
        path = folder / "pilot.json"
        path.touch(mode=0o600, exist_ok=False)  # before the token is in it
        path.write_bytes(orders)
        return path

    def output(self, pilot_id: str) -> Path:
        """Return where a pilot's stdout and stderr go."""
        return self._root / pilot_id / "output.txt"

    def last_line(self, pilot_id: str) -> str:
        """Return the last line of a pilot's output, empty where there is none."""
        try:
            with self.output(pilot_id).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""

    def prune(self, live: Collection[str], age: timedelta, now: float) -> int:
        """Remove the folders of pilots that have ended and were not touched for `age`; return how many."""
        removed = 0
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            if folder.name not in live and now - folder.stat().st_mtime > age.total_seconds():
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed
