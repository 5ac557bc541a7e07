"""Large payloads as files of a directory: written once, made durable, read, and deleted.

Owns the files; which of them is whose, the store and the book know. A file appears under its name only when all of it
is on disk. What a process that died left behind is swept at the start. Everything here that is not `async` blocks for
as long as a disk takes: call it in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import mmap
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Self

from harvester.domain.payload.blobs import DRAFTS, MARK, BlobRef, is_blob_name
from harvester.store.db.errors import StoreError, StoreFull

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
GARBAGE_AGE = timedelta(hours=1)  # younger files may be of a request or a run that is under way
_DRAFT = re.compile(r"[0-9a-f]{32}")
_SLICE = 500  # names that the store is asked for at once


class NoDraft(Exception):
    """There is no such draft of a client."""


class UnfinishedBlob:
    """A payload that is being written, under a name of its own."""

    def __init__(self, folder: Path, path: Path, file: FileIO, size: int = 0) -> None:
        """Use `begun` or `adopted`."""
        self._folder, self._path, self._file = folder, path, file
        self.size = size

    @classmethod
    def begun(cls, folder: Path) -> Self:
        """Begin one. Raises `StoreError` where no file can be made."""
        path = folder / DRAFTS / secrets.token_hex(16)
        with _translated(path):
            return cls(folder, path, path.open("x+b", buffering=0))

    @classmethod
    def adopted(cls, folder: Path, name: str) -> Self:
        """Take over one that a client has written. Blocks. Raises `NoDraft`, `StoreError`.

        It gets another name, so that its writer cannot delete it any more, and a fresh time, so that no sweep does.
        """
        if _DRAFT.fullmatch(name) is None:
            raise NoDraft(f"{name[:80]!r} is not the name of a draft")
        theirs, path = folder / DRAFTS / name, folder / DRAFTS / secrets.token_hex(16)
        with _translated(path):
            try:
                if not stat.S_ISREG(theirs.lstat().st_mode):
                    raise NoDraft(f"draft {name} is not a file")
                theirs.rename(path)
            except FileNotFoundError:
                raise NoDraft(f"there is no draft {name}") from None
            os.utime(path)
            file = path.open("rb", buffering=0)
            return cls(folder, path, file, os.fstat(file.fileno()).st_size)

    def fileno(self) -> int:
        """Return its open file."""
        return self._file.fileno()

    def write(self, chunk: bytes | memoryview) -> None:
        """Append to it: into the page cache, which is short. Raises `StoreError`."""
        view = memoryview(chunk)
        with _translated(self._path):
            while view:  # a write to an unbuffered file may take a part only
                view = view[self._file.write(view) :]
        self.size += len(chunk)

    def place(self, name: str, check: Callable[[memoryview], None] | None = None) -> BlobRef:
        """Let it appear under `name`, not yet durable. `check` sees the content first, and may raise. Blocks.

        Whatever is raised, the draft is gone then. Raises `StoreError`.
        """
        try:
            if check is not None:
                self._checked(check)
            with _translated(self._path):
                self._path.rename(self._folder / name)
        except BaseException:
            self.discard()
            raise
        self._file.close()
        return BlobRef(name=name, size=self.size)

    def discard(self) -> None:
        """Delete it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _checked(self, check: Callable[[memoryview], None]) -> None:
        # Mapped, not read; and not closed by hand, since what `check` raises may hold on to a part of it for a while.
        check(memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""))


class Blobs:
    """The directory of one gateway."""

    def __init__(self, folder: Path, least: int) -> None:
        """`least` is the size in bytes from which on a payload is to lie here."""
        self.folder, self.least = folder, least
        self._unsecured: set[str] = set()  # placed, and not known to be on disk
        self.mark = self.boot = ""

    def prepare(self) -> None:
        """Make the directory and its mark, where there is none. Blocks. Raises `StoreError`."""
        with _translated(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (DRAFTS, *(f"{number:02x}" for number in range(256))):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            mark = self.folder / MARK
            if not mark.exists():
                fresh = self.folder / DRAFTS / secrets.token_hex(16)
                fresh.write_text(secrets.token_hex(16))
                fresh.rename(mark)
            _sync(self.folder)
            self.mark = mark.read_text()
        with contextlib.suppress(OSError):  # no Linux
            self.boot = BOOT_ID.read_text().strip()

    def draft(self) -> UnfinishedBlob:
        """Begin a payload. Raises `StoreError`."""
        return UnfinishedBlob.begun(self.folder)

    def adopted(self, name: str) -> UnfinishedBlob:
        """Take over the draft that a client has written. Blocks. Raises `NoDraft`, `StoreError`."""
        return UnfinishedBlob.adopted(self.folder, name)

    def write_now(self, name: str, content: bytes | memoryview) -> BlobRef:
        """Make a payload durable under `name`. Blocks. Raises `StoreError`."""
        draft = self.draft()
        try:
            draft.write(content)
        except StoreError:
            draft.discard()
            raise
        blob = self.place(draft, name)
        self.secure(blob)
        return blob

    def place(self, draft: UnfinishedBlob, name: str, check: Callable[[memoryview], None] | None = None) -> BlobRef:
        """Let a draft appear under `name`, to be secured before anything on disk refers to it. See `UnfinishedBlob`."""
        blob = draft.place(name, check)
        self._unsecured.add(name)
        return blob

    def is_secure(self, blob: BlobRef) -> bool:
        """Whether nothing more has to be done for a payload to survive a power cut."""
        return blob.name not in self._unsecured

    def secure(self, blob: BlobRef) -> None:
        """Bring a placed payload to disk. Blocks. Raises `StoreError`."""
        path = self.path(blob)
        with _translated(path):
            _sync(path)
            _sync(path.parent)
        self._unsecured.discard(blob.name)

    async def read(self, blob: BlobRef) -> bytes:
        """Return a payload. Raises `StoreError`."""
        return await asyncio.to_thread(self.read_now, blob)

    def read_now(self, blob: BlobRef) -> bytes:
        """Return a payload. Blocks. Raises `StoreError`."""
        path = self.path(blob)
        with _translated(path):
            content = path.read_bytes()
        if len(content) != blob.size:
            raise StoreError(f"{path} has {len(content)} bytes, and {blob.size} were written")
        return content

    def path(self, blob: BlobRef) -> Path:
        """Return where a payload lies. Raises `StoreError` for a name that leads out of the directory."""
        if not is_blob_name(blob.name):
            raise StoreError(f"{blob.name[:100]!r} is not the name of a payload")
        return self.folder / blob.name

    def are_equal(self, one: BlobRef, other: BlobRef) -> bool:
        """Tell whether two payloads have the same content. Blocks. Raises `StoreError`."""
        if one.size != other.size:
            return False
        with _translated(self.folder), self.path(one).open("rb") as left, self.path(other).open("rb") as right:
            while chunk := left.read(1024 * 1024):
                if chunk != right.read(1024 * 1024):
                    return False
        return True

    def delete(self, blobs: Iterable[BlobRef]) -> None:
        """Delete payloads; one that is gone already is. Blocks."""
        for blob in blobs:
            self._unsecured.discard(blob.name)
            try:
                self.path(blob).unlink(missing_ok=True)
            except (OSError, StoreError) as error:
                log.warning("payload %s cannot be deleted, the next start sweeps it: %s", blob.name, error)

    def sweep(self, referenced: Callable[[Collection[str]], set[str]], now: float | None = None) -> int:
        """Delete old files that nobody refers to; return how many. Blocks. Raises `StoreError`.

        `referenced` returns those of some names that somebody refers to.
        """
        limit = (time.time() if now is None else now) - GARBAGE_AGE.total_seconds()
        old = self._older_than(limit)
        swept = 0
        while names := list(islice(old, _SLICE)):
            blobs = [name for name in names if is_blob_name(name)]
            for name in set(names) - referenced(blobs):
                (self.folder / name).unlink(missing_ok=True)
                swept += 1
        return swept

    def _older_than(self, limit: float) -> Iterator[str]:
        for folder in self.folder.iterdir():
            if folder.is_dir():
                for path in folder.iterdir():
                    with contextlib.suppress(FileNotFoundError):  # a draft that was kept just now
                        if path.stat().st_mtime < limit:
                            yield f"{folder.name}/{path.name}"


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
        raise kind(f"large payloads: {path}: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
