"""Blob files: large payloads in the directory that pilot and gateway share.

Owns reading and writing them. Must not decide which payloads are files. Everything here may block for as long as a
network filesystem hangs, so the agent calls it in threads only.
"""

import contextlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from harvester.domain.payload.blobs import MARK, BlobRef, is_blob_name
from harvester.domain.payload.buffers import Part

_PIECES = 512
"""Pieces that one system call takes; the limit of Linux is 1024."""


class BlobMissing(Exception):
    """A payload is not in its file, though the directory is there."""


class DirectoryLost(Exception):
    """The directory is not, or no longer, the gateway's."""


def is_shared(directory: str, mark: str) -> bool:
    """Return whether this node sees the gateway's own directory."""
    try:
        return (Path(directory) / MARK).read_text(encoding="utf-8").strip() == mark.strip()
    except (OSError, UnicodeDecodeError):
        return False


def mapped(directory: str, mark: str, ref: BlobRef) -> memoryview:
    """Return a payload as memory of its own: what is written there does not reach the file.

    Raises `BlobMissing` and `DirectoryLost`.
    """
    if not is_blob_name(ref.name):
        raise BlobMissing(f"{ref.name!r} is not the name of a payload")
    path = Path(directory) / ref.name
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == ref.size:
                return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)) if size else memoryview(b"")
            reason = f"it has {size} bytes instead of {ref.size}"
    except OSError as error:
        if not is_shared(directory, mark):
            raise DirectoryLost(f"{directory}: {error.strerror}") from error
        reason = error.strerror or type(error).__name__
    raise BlobMissing(f"{path}: {reason}")


def write(directory: str, name: str, pieces: Sequence[Part]) -> BlobRef:
    """Write a payload and make it durable. Raises `OSError`."""
    path = Path(directory) / name
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb", buffering=0) as file:
            size = _write_all(file.fileno(), pieces)
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    _sync(path.parent)
    return BlobRef(name=name, size=size)


def _write_all(descriptor: int, pieces: Sequence[Part]) -> int:
    left = [memoryview(piece) for piece in pieces if len(piece)]
    size = sum(map(len, left))
    while left:
        written = os.writev(descriptor, left[:_PIECES])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
    return size


def _sync(folder: Path) -> None:
    """Make the names in a folder durable; not every filesystem can be asked for it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
