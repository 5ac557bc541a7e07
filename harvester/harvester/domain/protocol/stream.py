"""The stream of ends: what the gateway pushes to a client that holds a stream open, as frames of MessagePack.

Owns the format, which gateway and SDK share. A frame is four bytes of length (big-endian), then an array of `Ended`; an
empty array is a sign of life. A stream tells an end once: a client that was not connected asks for it by id.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import Failure, InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.payload.decoding import UNREADABLE

STREAM_TYPE = "application/vnd.harvester.stream+msgpack"
HEADER_BYTES = 4


class Ended(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An invocation that is over, its end on disk."""

    invocation_id: str
    state: InvocationState
    encoding: Encoding
    value: bytes | None = None  # None with SUCCEEDED: too large to push; GET its /result
    failure: Failure | None = None
    blob: BlobRef | None = None  # where a large value lies: a client that sees the directory may read it there


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Ended])


class StreamError(ValueError):
    """Bytes that are not a frame of a stream."""


def encode(ended: Sequence[Ended]) -> bytes:
    """Return one frame."""
    buffer = bytearray(HEADER_BYTES)
    _encoder.encode_into(ended, buffer, HEADER_BYTES)
    buffer[:HEADER_BYTES] = (len(buffer) - HEADER_BYTES).to_bytes(HEADER_BYTES, "big")
    return bytes(buffer)


def decode(body: bytes | bytearray | memoryview) -> list[Ended]:
    """Return what the frame with this body tells, its header taken off. Raises `StreamError`."""
    try:
        return _decoder.decode(body)
    except UNREADABLE as error:
        raise StreamError(f"not a frame of ends: {error}") from error
