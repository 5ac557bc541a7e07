"""A pickle and its out-of-band buffers as one payload, joined and split without copying the buffers.

Owns the layout. A pickle without buffers is a payload as it is; it begins with 0x80, which no joined one does. Joined:
magic, the number of parts, their lengths (little-endian), then the parts, the pickle first, each at a multiple of
`ALIGNMENT` so that what is mapped from a file can be used by vector instructions.
Source of the idea: PEP 574, pickle protocol 5 with out-of-band data.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

MAGIC = b"HVB1"
ALIGNMENT = 64
_MOST = 100_000  # parts: each is large, or it would be in the pickle
_COUNT = struct.Struct("<I")

Part = bytes | bytearray | memoryview


class BuffersError(ValueError):
    """A payload that begins like one with buffers, and is not laid out as one."""


def join(parts: Sequence[Part]) -> list[Part]:
    """Return the pieces of one payload, in order: to be written one after another, or joined by `b"".join`.

    `parts` is the pickle and its buffers, each flat and contiguous. Without buffers the pickle is all there is.
    """
    if len(parts) == 1:
        return [parts[0]]
    sizes = [memoryview(part).nbytes for part in parts]
    head = MAGIC + _COUNT.pack(len(parts)) + struct.pack(f"<{len(parts)}Q", *sizes)
    pieces: list[Part] = [head, bytes(-len(head) % ALIGNMENT)]
    for part, size in zip(parts, sizes, strict=True):
        pieces += [part, bytes(-size % ALIGNMENT)]
    return pieces


def split(payload: Part) -> list[memoryview]:
    """Return the pickle and its buffers as views of `payload`; writable where `payload` is. Raises `BuffersError`."""
    view = memoryview(payload)
    if not is_joined(payload):
        return [view]
    try:
        (count,) = _COUNT.unpack_from(view, len(MAGIC))
        if count > _MOST:
            raise BuffersError(f"a table of {count} buffers, and {_MOST} are the most")
        at = len(MAGIC) + _COUNT.size
        sizes = struct.unpack_from(f"<{count}Q", view, at)
    except struct.error as error:
        raise BuffersError(f"a payload of {view.nbytes} bytes ends within its table of buffers") from error
    at += 8 * count
    parts: list[memoryview] = []
    for size in sizes:
        at += -at % ALIGNMENT
        if at + size > view.nbytes:
            raise BuffersError(f"a payload of {view.nbytes} bytes ends within a buffer of {size} bytes")
        parts.append(view[at : at + size])
        at += size
    if not parts:
        raise BuffersError("a payload with a table of buffers has no pickle")
    return parts


def is_joined(payload: Part) -> bool:
    """Return whether a payload has a table of buffers."""
    return bytes(payload[: len(MAGIC)]) == MAGIC
