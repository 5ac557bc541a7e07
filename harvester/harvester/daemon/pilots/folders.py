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

from harvester.domain.supervision import pilot_output

_TAIL = 16_384  # bytes of the output that are looked at; a pilot that cannot start writes less


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

    def ending(self, pilot_id: str, reason: str, *, has_called: bool = False) -> str:
        """Return why a pilot failed: `reason`, with what its output tells of it, and what to do.

        Once it `has_called`, functions of users may have written there, and what they wrote is nobody else's.
        """
        if has_called:
            return pilot_output.ending_of_used(reason, self._tail(pilot_id) or "", str(self.output(pilot_id)))
        return pilot_output.ending(reason, self._tail(pilot_id), str(self._root.parent))

    def boot_trouble(self, pilot_id: str) -> str:
        """Return why a pilot that has started has not called, empty while its output says nothing of it.

        Cheap enough to ask at each look for every pilot that has been BOOTING for longer than some seconds.
        """
        return pilot_output.unreachable(self._tail(pilot_id) or "")

    def _tail(self, pilot_id: str) -> str | None:
        """Return the end of a pilot's output, the whole of a short one; None where there is no file."""
        try:
            with self.output(pilot_id).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self.output(pilot_id)} cannot be read: {error.strerror or error}"
        return text if size <= _TAIL else text.partition("\n")[2]

    def prune(self, live: Collection[str], age: timedelta, now: float) -> int:
        """Remove the folders of pilots that have ended and were not touched for `age`; return how many."""
        removed = 0
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            if folder.name not in live and now - folder.stat().st_mtime > age.total_seconds():
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed
