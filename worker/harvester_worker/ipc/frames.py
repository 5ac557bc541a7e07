"""Frames: many messages at a time on the main line between agent and slot, and large payloads beside them.

Owns the layout: the size of the messages and the size of what is beside them, eight bytes each, little-endian; a
MessagePack array of messages; then the payloads of at least `BESIDE_BYTES` that the messages hold as `Beside`, in their
order. So a large payload is copied by the kernel only, and arrives in memory of its own, which may be written to.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, assert_never

import msgspec

from harvester.domain.payload.buffers import Part
from harvester.domain.payload.decoding import UNREADABLE
from harvester_worker.ipc.slot_messages import (
    Beside,
    Counted,
    Home,
    Load,
    Payload,
    Progress,
    Run,
    RunEnded,
    ShareDirectory,
    ToAgent,
    ToSlot,
    Waits,
)

MESSAGES_BYTES = 16 * 1024 * 1024
"""A frame of a slot is larger than its largest payload by no more than this."""

BESIDE_BYTES = 64 * 1024
CHUNK = 64 * 1024
"""What is read at a time; a frame that is larger gets a buffer of its own, so what lies beside is never in here."""

_HEAD = struct.Struct("<QQ")
_encoder = msgspec.msgpack.Encoder()
Message = TypeVar("Message", ToSlot, ToAgent)


class FrameError(Exception):
    """What was received is not a frame of messages."""


class FrameBuilder:
    """Messages that are collected for one frame."""

    def __init__(self) -> None:
        self.messages: list[ToSlot | ToAgent] = []
        self._beside: list[Part] = []

    def add(self, message: ToSlot | ToAgent, beside: Sequence[Part] = ()) -> None:
        """Add a message, and the pieces of the payload that it has beside it."""
        self.messages.append(message)
        self._beside += beside

    def take(self) -> list[Part]:
        """Return what is to be written for all of them, in order, and start an empty frame."""
        frame = bytearray(_HEAD.size)
        _encoder.encode_into(self.messages, frame, _HEAD.size)
        beside, self.messages, self._beside = self._beside, [], []
        _HEAD.pack_into(frame, 0, len(frame) - _HEAD.size, sum(len(piece) for piece in beside))
        return [frame, *beside]


class Incoming(Generic[Message]):
    """Frames as they arrive, in pieces.

    Parameters
    ----------
    sock: where they arrive.
    decoder: of an array of messages.
    limit_bytes: the largest frame; None where the sender is trusted.
    """

    def __init__(
        self, sock: socket.socket, decoder: msgspec.msgpack.Decoder[list[Message]], limit_bytes: int | None = None
    ) -> None:
        self._sock = sock
        self._limit_bytes = limit_bytes
        self._decoder: msgspec.msgpack.Decoder[list[Message]] = decoder
        self._chunk = self._buffer = bytearray(CHUNK)
        self._filled = 0

    def receive(self, flags: int = 0) -> list[tuple[Message, memoryview | None]]:
        """Read once, and return the messages that are complete with what each has beside it.

        Raises `ConnectionResetError` at the end, `FrameError`, and what the socket raises.
        """
        with memoryview(self._buffer) as view, view[self._filled :] as room:
            count = self._sock.recv_into(room, 0, flags)
        if count == 0:
            raise ConnectionResetError
        self._filled += count
        return list(self._complete())

    def _complete(self) -> Iterator[tuple[Message, memoryview | None]]:
        start, size = 0, 0
        while self._filled - start >= _HEAD.size:
            messages_size, beside_size = _HEAD.unpack_from(self._buffer, start)
            size = _HEAD.size + messages_size + beside_size
            if self._limit_bytes is not None and size > self._limit_bytes:
                raise FrameError(f"a frame of {size} bytes is over the limit of {self._limit_bytes}")
            if self._filled - start < size:
                break
            at = start + _HEAD.size + messages_size
            view = memoryview(self._buffer)
            for message in self._decoded(view[start + _HEAD.size : at]):
                payload = _payload(message)
                if payload is None:
                    yield message, None
                else:
                    if not 0 <= payload.size <= start + size - at:
                        raise FrameError(
                            f"a payload of {payload.size} bytes, and {start + size - at} are left beside it"
                        )
                    yield message, view[at : at + payload.size]
                    at += payload.size
            if at != start + size:
                raise FrameError(f"{start + size - at} bytes beside the messages are no payload of theirs")
            start, size = start + size, 0
        self._make_room(start, size)

    def _decoded(self, view: memoryview) -> list[Message]:
        try:
            return self._decoder.decode(view)
        except UNREADABLE as error:
            raise FrameError(f"not an array of messages: {error}") from None

    def _make_room(self, start: int, size: int) -> None:
        """Keep what is left of the buffer from `start` on, of a frame of `size` bytes where that is known."""
        left = self._buffer[start : self._filled] if start < self._filled else b""
        if size > CHUNK:
            if start or len(self._buffer) != size:
                self._buffer = bytearray(size)
                self._buffer[: len(left)] = left
        else:
            if self._buffer is not self._chunk:
                self._buffer = self._chunk  # the other one is its messages' now
            if start and left:
                self._buffer[: len(left)] = left
        self._filled = len(left)


def _payload(message: ToSlot | ToAgent) -> Beside | None:
    found: Payload
    match message:
        case RunEnded():
            found = message.value
        case Run():
            found = message.arguments
        case Load() | ShareDirectory() | Home() | Progress() | Counted() | Waits():
            return None
        case _:
            assert_never(message)
    return found if type(found) is Beside else None


to_slot: msgspec.msgpack.Decoder[list[ToSlot]] = msgspec.msgpack.Decoder(list[ToSlot])
to_agent: msgspec.msgpack.Decoder[list[ToAgent]] = msgspec.msgpack.Decoder(list[ToAgent])
