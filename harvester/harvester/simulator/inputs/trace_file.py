"""Trace files as lines: plain or gzip, numbered, with an account of the lines that made no sense.

Owns how a malformed line is treated: named by its number and skipped, or refused where the caller asked for strictness.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harvester.simulator.errors import SimulationError

_NAMED = 5  # malformed lines that are kept to be shown; the rest is only counted
_GZIP = b"\x1f\x8b"
_REFUSED = {
    b"PK\x03\x04": "it is a zip archive; unpack it, or compress the file with gzip",
    b"BZh": "it is compressed with bzip2; unpack it, or use gzip",
    b"\xfd7zXZ": "it is compressed with xz; unpack it, or use gzip",
    b"(\xb5/\xfd": "it is compressed with zstd; unpack it, or use gzip",
    b"\xff\xfe": "it is text in UTF-16; convert it to UTF-8",
    b"\xfe\xff": "it is text in UTF-16; convert it to UTF-8",
}


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that were left out of a trace."""

    count: int = 0
    examples: tuple[str, ...] = ()  # the first ones: "line 7: …"

    @property
    def brief(self) -> str:
        """How many, and the first."""
        return f"{self.count} skipped, {self.examples[0]}" if self.count else "no line was skipped"

    def __str__(self) -> str:
        if not self.count:
            return "no line was skipped"
        rest = self.count - len(self.examples)
        more = f"; and {rest} more" if rest > 0 else ""
        return f"{self.count} line{'s' * (self.count != 1)} skipped: {'; '.join(self.examples)}{more}"


class Complaints:
    """Counts malformed lines, or refuses the first one.

    Parameters
    ----------
    source: the file, for the message.
    strict: whether to raise `SimulationError` at the first complaint.
    """

    def __init__(self, source: str, *, strict: bool) -> None:
        self._source = source
        self._strict = strict
        self._count = 0
        self._examples: list[str] = []

    def add(self, number: int, why: str) -> None:
        """Note that line `number` is left out because of `why`."""
        line = f"line {number}: {why}"
        if self._strict:
            raise SimulationError(f"{self._source}, {line}; without --strict-input the line would be skipped")
        self._count += 1
        if len(self._examples) < _NAMED:
            self._examples.append(line)

    def result(self) -> Skipped:
        """Return what was left out."""
        return Skipped(count=self._count, examples=tuple(self._examples))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of each line of `path`, which may be compressed with gzip.

    Raises `SimulationError` where the file cannot be read. Bytes that are no UTF-8 become a replacement character, so
    that they spoil one line and not the file; a mark that says that it is UTF-8 is left out.
    """
    try:
        with path.open("rb") as probe:
            begin = probe.read(6)
        for magic, why in _REFUSED.items():
            if begin.startswith(magic):
                raise SimulationError(f"{path} cannot be read: {why}")
        with gzip.open(path, "rb") if begin.startswith(_GZIP) else path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SimulationError(f"{path} cannot be read: {reason}") from None
