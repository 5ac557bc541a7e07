"""A transport that sends the head of an answer together with its body.

Uvicorn writes them one after the other: two packets, which may wake a caller that waits twice. Owns the head of one
answer until its body follows, or the turn of the event loop is over.
"""

from __future__ import annotations

import asyncio
from typing import Any

MOST_BYTES = 64 * 1024  # of a body that is copied behind its head; a larger one follows it


class JoinedWrites:
    """Writes to a transport; all else is the transport's own."""

    __slots__ = ("_flushing", "_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self._flushing: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Send `data`; the head of an answer waits for what is written next, until the turn of the loop is over."""
        if self._flushing is None:
            if data[:5] == b"HTTP/":
                self._head, self._flushing = data, self._loop.call_soon(self._flush)
            else:
                self._transport.write(data)
        elif len(data) <= MOST_BYTES:
            head = self._head
            self._flushing.cancel()
            self._flushing = None
            self._transport.write(head + data)
        else:
            self._flush()
            self._transport.write(data)

    def close(self) -> None:
        """Close it, once all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
            self._transport.write(self._head)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)
