"""Many calls in one invocation: how arguments and outcomes of `Encoding.CALLS` are written.

Owns the two formats, both MessagePack: the arguments are an array of payloads, each as `Encoding.PICKLE` has it; the
result is an array of the same length, of a payload for a call that returned and a `Failure` for one that did not. A
call that raises does not end the invocation: the others run. The calls run one after another in one slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from harvester.domain.model.invocations import Failure
from harvester.domain.payload.decoding import UNREADABLE

Outcome = bytes | Failure

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(list[bytes])
_outcomes = msgspec.msgpack.Decoder(list[Outcome])


class CallsError(ValueError):
    """Bytes that are not an array of calls, or not one of outcomes."""


def encode_calls(arguments: Sequence[bytes]) -> bytes:
    """Return the arguments of an invocation that makes these calls."""
    return _encoder.encode(arguments)


def decode_calls(body: bytes | memoryview) -> list[bytes]:
    """Return the arguments of each call. Raises `CallsError`."""
    try:
        return _calls.decode(body)
    except UNREADABLE as error:
        raise CallsError(f"not an array of pickled calls: {error}") from error


def count_calls(body: bytes | memoryview) -> int:
    """Return how many calls these arguments hold, from their first bytes. Raises `CallsError`."""
    return _head(body)[0]


def spans_of_calls(body: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Yield where in `body` the arguments of each call lie, without copying them. Raises `CallsError`."""
    count, at = _head(body)
    for index in range(count):
        width = _BIN.get(body[at]) if at < len(body) else None
        begin = at + 1 + (width or 0)
        if width is None or begin > len(body):
            raise CallsError(f"not an array of pickled calls: number {index} is not a string of bytes")
        at = begin + int.from_bytes(body[at + 1 : begin], "big")
        if at > len(body):
            raise CallsError(f"not an array of pickled calls: it ends within number {index}")
        yield begin, at
    if at < len(body):
        raise CallsError(f"not an array of pickled calls: {len(body) - at} bytes too many")


_BIN = {0xC4: 1, 0xC5: 2, 0xC6: 4}  # bytes of the length behind the first byte of a bin


def _head(body: bytes | memoryview) -> tuple[int, int]:
    """Return how many elements an array has, and where the first begins."""
    head = bytes(body[:5])
    if head and head[0] & 0xF0 == 0x90:
        return head[0] & 0x0F, 1
    for mark, size in ((b"\xdc", 2), (b"\xdd", 4)):
        if head[:1] == mark and len(head) > size:
            return int.from_bytes(head[1 : 1 + size], "big"), 1 + size
    raise CallsError(f"not an array of pickled calls: it begins with {head!r}")


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Return the result of an invocation whose calls ended so."""
    return _encoder.encode(outcomes)


def decode_outcomes(body: bytes | memoryview) -> list[Outcome]:
    """Return how each call ended. Raises `CallsError`."""
    try:
        return _outcomes.decode(body)
    except UNREADABLE as error:
        raise CallsError(f"not an array of outcomes: {error}") from error
