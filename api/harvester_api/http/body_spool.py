"""Bodies of requests as they come: small ones in memory, larger ones in a file without a name.

Owns where the bytes lie. A large body is never copied as a whole while the interpreter is held: it is written down
chunk by chunk, and read through a mapping or by the kernel.
"""

from __future__ import annotations

import mmap
import os
from io import BytesIO
from typing import Self

KEPT_BYTES = 256 * 1024  # a body up to this size stays in memory, and is read on the event loop


class Spool:
    """One body. Leave the `with` block to give its file back; mappings of it stay valid."""

    def __init__(self) -> None:
        self.size = 0
        self._head = BytesIO()
        self._file: int | None = None

    @classmethod
    def of(cls, body: bytes) -> Self:
        """Return a body that is whole."""
        spool = cls()
        spool.write(body)
        return spool

    @property
    def is_small(self) -> bool:
        """Whether it is in memory."""
        return self.size <= KEPT_BYTES

    def write(self, chunk: bytes) -> None:
        """Append to it."""
        self.size += len(chunk)
        if self.is_small:
            self._head.write(chunk)
        else:
            _write_all(self.fileno(), chunk)

    def small(self) -> bytes:
        """Return the whole body; for one that is small."""
        return self._head.getvalue()

    def fileno(self) -> int:
        """Return the file that holds it, made now if need be."""
        if self._file is None:
            self._file = os.memfd_create("harvester-body", os.MFD_CLOEXEC)
            _write_all(self._file, self._head.getvalue())
        return self._file

    def mapped(self) -> memoryview:
        """Return a large body without reading it."""
        return memoryview(mmap.mmap(self.fileno(), self.size, access=mmap.ACCESS_READ))

    def read(self, start: int, end: int) -> bytes:
        """Return a part of a large body. The kernel copies it, so that in a thread this holds up nobody."""
        return os.pread(self.fileno(), end - start, start)

    def close(self) -> None:
        """Forget it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write_all(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]
