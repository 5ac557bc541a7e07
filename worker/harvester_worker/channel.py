"""The channel: the agent's end of a slot's socket pair, as callbacks of its event loop.

Owns frames and buffers. Knows nothing of what the messages mean.
"""

import asyncio
import socket
from collections.abc import Callable

from harvester_worker import slot_wire

CHUNK = 256 * 1024


class Channel:
    """Sends and receives frames without ever blocking the loop.

    Parameters
    ----------
    loop: the agent's.
    sock: a connected stream socket; the channel owns it from now on.
    on_message: called with every message.
    on_end: called once when the other side is gone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        on_message: Callable[[slot_wire.ToAgent], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._received = bytearray()
        self._unsent = bytearray()
        self._is_open = True
        sock.setblocking(False)
        loop.add_reader(sock, self._read)

    def send(self, message: slot_wire.ToSlot) -> None:
        """Send a message; what the socket does not take now follows when it can."""
        if not self._is_open:
            return
        frame = slot_wire.frame(message)
        if not self._unsent:
            sent = self._write(frame)
            if sent == len(frame):
                return
            self._loop.add_writer(self._sock, self._flush)
            self._unsent += memoryview(frame)[sent:]
        else:
            self._unsent += frame

    def close(self) -> None:
        """Let go of the socket, without a last call."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def drain(self) -> None:
        """Read what the other side sent before it died."""
        while self._is_open and self._read():
            pass

    def _write(self, data: bytearray | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, ConnectionError):
            return 0  # a slot that is gone is noticed by reading

    def _flush(self) -> None:
        sent = self._write(memoryview(self._unsent)[: 4 * CHUNK])
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _read(self) -> bool:
        """Read what is there; tell whether there was anything."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            self._on_end()
            return False
        self._received += data
        self._deliver()
        return True

    def _deliver(self) -> None:
        start = 0
        while self._is_open and len(self._received) - start >= slot_wire.HEADER_BYTES:
            body = start + slot_wire.HEADER_BYTES
            end = body + int.from_bytes(self._received[start:body], "little")
            if len(self._received) < end:
                break
            with memoryview(self._received) as view:
                message = slot_wire.decode_to_agent(view[body:end])
            start = end
            self._on_message(message)
        del self._received[:start]
