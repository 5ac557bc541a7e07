"""The state folder of one `harvester up`: its lock, its tokens, its endpoint file, its log.

Everything in it is the user's alone (0700, 0600).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from pathlib import Path

import msgspec

from harvester.cli.up.logs import log_to
from harvester.config import OWN_KINDS

# Names in it, without endings.
_OURS = frozenset({"up", "harvester", "endpoint", "tokens", "blobs", "pilots", "check", *OWN_KINDS})
_TOKEN = re.compile(r"[!-~]{1,4096}")  # what fits a header


class StateFolderError(Exception):
    """The state folder cannot be used; the message says why and what to do."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoint.json`: where a running gateway is, for tools on the same machine."""

    url: str
    user_token_file: str
    admin_token_file: str
    pid: int
    scheduler: str


def is_there(path: Path) -> bool:
    """Return whether a file or folder is there, as far as we may see: `exists` raises below a folder closed to us."""
    try:
        return path.exists()
    except OSError:
        return False


def why_refused(path: Path) -> str:
    """Return why a folder that is there is refused as a state folder, empty where it is not. Raises `OSError`."""
    mode = path.stat().st_mode
    if mode & 0o022 and not _is_ours_to_close(path):
        return f"others may write to the state folder {path} (mode {stat.S_IMODE(mode):o})"
    return ""


def _is_ours_to_close(path: Path) -> bool:
    """Return whether it holds our files alone, so that closing it to others harms nobody."""
    if path.stat().st_uid != os.geteuid():
        return False
    is_ours = all(each.name.partition(".")[0] in _OURS for each in path.iterdir())
    return is_ours and not path.stat().st_mode & stat.S_ISVTX


def read_token(path: Path) -> str:
    """Return the token in a file. Raises `StateFolderError` where it holds none, `OSError` where it cannot be read."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not _TOKEN.fullmatch(text):
        raise StateFolderError(
            f"{path} contains no valid token: write one word of ASCII letters, digits and signs into it, "
            "or remove it, and `harvester up` makes a new one"
        )
    return text


class StateFolder:
    """A state folder that is ours until `close`. Raises `StateFolderError` where it cannot be.

    Parameters
    ----------
    path: made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.was_open = self._narrowed()
            # The lock goes with the process, however it ends; the file stays.
            self._lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateFolderError(
                f"the state folder {path} cannot be used ({error.strerror}); name another with --state"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(self._lock, 20).decode(errors="replace").strip()
            os.close(self._lock)
            raise StateFolderError(
                f"another `harvester up` (process {pid or 'unknown'}) uses the state folder {path}; "
                "end it, or name another folder with --state"
            ) from None
        with contextlib.suppress(OSError):  # only for the message of a second `harvester up`; the disk may be full
            os.ftruncate(self._lock, 0)
            os.write(self._lock, f"{os.getpid()}\n".encode())

    def _narrowed(self) -> bool:
        """Close a folder that has only our files to other users; return whether it was open. Raises `OSError`.

        Raises `StateFolderError` for another folder to which others may write: closing it might harm them.
        """
        mode = self.path.stat().st_mode
        if not mode & 0o077:
            return False
        if why := why_refused(self.path):
            raise StateFolderError(f"{why}; close it with chmod 700, or name another with --state")
        if _is_ours_to_close(self.path):
            self.path.chmod(0o700)
            return True
        return False

    def token_file(self, name: str) -> Path:
        """Return the file of the token `name`, made at the first time. Raises `StateFolderError`.

        It is closed to other users, also if it was there before. A link is left as it is.
        """
        path = self.path / "tokens" / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
            for each, mode in ((path.parent, 0o700), (path, 0o600)):
                if not each.is_symlink() and each.stat().st_mode & 0o077:  # the target of a link is not ours
                    each.chmod(mode)
            if not path.read_bytes().strip():
                path.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
        except OSError as error:
            raise StateFolderError(
                f"the token file {path} cannot be used ({error.strerror}); "
                "check that the disk has space and that you own the file"
            ) from error
        return path

    def token(self, name: str) -> str:
        """Return the token called `name`. Raises `StateFolderError` where the file holds none."""
        return read_token(self.token_file(name))

    def announce(self, endpoint: Endpoint) -> None:
        """Write `endpoint.json`, at once as a whole."""
        fresh = self.path / "endpoint.json.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(endpoint), indent=2))
        fresh.replace(self.path / "endpoint.json")

    @property
    def log_file(self) -> Path:
        """Where the log goes."""
        return self.path / "harvester.log"

    def log_to_file(self) -> None:
        """Send the log to `log_file`, and warnings to the terminal."""
        log_to(self.log_file)

    def close(self) -> None:
        """Let go of the folder after a clean end."""
        (self.path / "endpoint.json").unlink(missing_ok=True)
        os.close(self._lock)
