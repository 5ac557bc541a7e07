"""The channel: the agent's end of the lines to a slot, as callbacks of its event loop.

Owns buffers and sockets. Must not know what the messages mean.
"""

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

from harvester.domain.payload.buffers import Part
from harvester_worker.ipc import frames, slot_messages

log = logging.getLogger(__name__)

_PIECES = 64
"""Pieces that one system call takes; the limit of Linux is 1024."""

Message = tuple[slot_messages.ToAgent, memoryview | None]


class Channel:
    """Sends and receives without ever blocking the loop.

    Parameters
    ----------
    loop: the agent's.
    sock: the main line, a connected stream socket; the channel owns it from now on.
    orders: the other line, a connected packet socket; the channel owns it too.
    limit_bytes: the largest frame that the other side may send.
    on_messages: called with the messages that came together, and with what each has beside it.
    on_end: called once when the other side is gone, or sends what is not a frame: a function may have written there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        orders: socket.socket,
        *,
        limit_bytes: int,
        on_messages: Callable[[list[Message]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock, self._orders = sock, orders
        self._on_messages = on_messages
        self._on_end = on_end
        self._incoming = frames.Incoming(sock, frames.to_agent, limit_bytes=limit_bytes)
        self._outgoing = frames.FrameBuilder()
        self._unsent: deque[memoryview] = deque()
        self._is_open = True
        sock.setblocking(False)
        orders.setblocking(False)
        loop.add_reader(sock, self._read)

    def add(self, message: slot_messages.ToSlot, beside: Sequence[Part] = ()) -> None:
        """Send a message with the next `flush`."""
        self._outgoing.add(message, beside)

    def flush(self) -> None:
        """Send what was added; what the socket does not take now follows when it can."""
        if not self._is_open or not self._outgoing.messages:
            return
        was_idle = not self._unsent
        self._unsent.extend(memoryview(piece) for piece in self._outgoing.take())
        if was_idle:
            self._write()
            if self._unsent:
                self._loop.add_writer(self._sock, self._write_more)

    def order(self, order: slot_messages.Order) -> None:
        """Send an order to the slot in the middle of a run."""
        if self._is_open:
            # Nobody reads it: the slot is gone, which is noticed by reading, or hangs, and will be killed.
            with contextlib.suppress(OSError):
                self._orders.send(slot_messages.encode_order(order))

    def close(self) -> None:
        """Close the sockets; `on_end` is not called."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._orders.close()

    def fail(self, why: str) -> None:
        """Treat the other side as gone: nothing that it sends can be trusted."""
        log.warning("slot.garbage: a slot is ended because a function wrote to its line: %s", why)
        self.close()
        self._on_end()

    def drain(self) -> None:
        """Read what the other side sent before it died."""
        while self._is_open and self._read():
            pass

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = self._sock.sendmsg([self._unsent[index] for index in range(min(_PIECES, len(self._unsent)))])
                while self._unsent and sent >= len(self._unsent[0]):
                    sent -= len(self._unsent.popleft())
                if sent:
                    self._unsent[0] = self._unsent[0][sent:]
        except (BlockingIOError, ConnectionError):
            return  # a slot that is gone is noticed by reading

    def _write_more(self) -> None:
        self._write()
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _read(self) -> bool:
        """Read what is there; return whether there was anything."""
        try:
            messages = self._incoming.receive()
        except BlockingIOError:
            return False
        except ConnectionError:
            self.close()
            self._on_end()
            return False
        except frames.FrameError as error:
            self.fail(str(error))
            return False
        if messages:
            self._on_messages(messages)
        return True
