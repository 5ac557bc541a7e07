"""A WebSocket client that costs next to nothing, for one process that plays thousands of pilots.

Owns frames of RFC 6455 as a client sends and hears them: whole binary messages, a mask of zeros (which the RFC allows
and which leaves the bytes as they are), pings answered. For tests of load only: it trusts what it hears.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import cast

_BINARY, _CLOSE, _PING, _PONG = 0x82, 0x88, 0x89, 0x8A
_MASK = bytes(4)


class WebSocket(asyncio.Protocol):
    """One connection. `on_message` is called with each message, `on_end` when it is gone."""

    def __init__(
        self, path: str, host: str, token: str, on_message: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._head = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        ).encode()
        self._on_message, self._on_end = on_message, on_end
        self._got = b""
        self._is_open = False
        self._why = ""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        why = self._why or str(exc or "closed")
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(why))
        self._on_end(why)

    def send(self, message: bytes) -> None:
        self._transport.write(_framed(_BINARY, message))

    def close(self) -> None:
        self._transport.close()  # after what was sent

    def data_received(self, data: bytes) -> None:
        got = self._got + data if self._got else data
        if not self._is_open:
            got = self._answered(got)
        at, end = 0, len(got)
        while end - at >= 2:
            kind, size, head = got[at], got[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(got[at + 2 : at + 4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(got[at + 2 : at + 10], "big"), 10
            if end - at < head + size:
                break
            self._heard(kind, got[at + head : at + head + size])
            at += head + size
        self._got = got[at:]

    def _answered(self, got: bytes) -> bytes:
        """Take the answer to the upgrade off; return what follows it."""
        head, found, rest = got.partition(b"\r\n\r\n")
        if not found:
            self._got = got
            return b""
        if b" 101 " not in head[:20]:
            self._why = got[:300].decode(errors="replace")
            self._transport.abort()
            return b""
        self._is_open, self._got = True, b""
        self.opened.set_result(None)
        return rest

    def _heard(self, kind: int, body: bytes) -> None:
        if kind == _BINARY:
            self._on_message(body)
        elif kind == _PING:
            self._transport.write(_framed(_PONG, body))
        elif kind == _CLOSE:
            self._why = f"{int.from_bytes(body[:2], 'big')} {body[2:].decode(errors='replace')}"
            self._transport.abort()


def _framed(kind: int, body: bytes) -> bytes:
    size = len(body)
    if size < 126:
        head = bytes((kind, 0x80 | size))
    elif size < 65536:
        head = bytes((kind, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((kind, 0xFF)) + size.to_bytes(8, "big")
    return head + _MASK + body
