"""Uvicorn's protocols, with limits for connections that have shown no token.

Owns the size of a request's head, and what silence is on a connection; `connections` counts and has the limits.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from harvester_api.connections import SCOPE_KEY, ConnectionLimits, Connections
from harvester_api.http.joined_writes import JoinedWrites

HEAD_BYTES = 64 * 1024  # request line and headers
LEAST_RATE = 1024  # bytes of a body a second, on average beyond the first seconds


class ServerConfig(Config):
    """Uvicorn's configuration, with who counts the connections."""

    keeper: Connections


class HttpConnection(HttpToolsProtocol):
    """A connection that speaks HTTP."""

    is_known = False
    _head_bytes: int | None = None  # of a head that is not whole yet
    _body_bytes: int | None = None  # of a body that is not whole yet
    _since = 0.0  # when that head or body began, by the loop's clock
    _heard_at = 0.0  # the last of the caller's bytes, or the end of the last answer

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **more)
        self.keeper = _keeper(self.config)

    # ---- what the server says ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._bare = cast("asyncio.Transport", transport)
        super().connection_made(cast("asyncio.Transport", JoinedWrites(self._bare, self.loop)))
        self._heard_at = self.loop.time()
        self.keeper.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.keeper.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._heard_at = self.loop.time()
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The request line and its headers have more than {HEAD_BYTES} bytes.")

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the protocol of pilots."""
        self.keeper.left(self)
        self.transport = self._bare
        super().handle_websocket_upgrade()

    # ---- what the parser says ----

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes, self._since = 0, self._heard_at
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._head_bytes, self._body_bytes, self._since = None, 0, self._heard_at
        cast("Scope", self.scope)[SCOPE_KEY] = self
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body has come."""
        if self._body_bytes is not None:
            self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        self._body_bytes = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered."""
        self._heard_at = self.loop.time()
        super().on_response_complete()

    # ---- what `connections` says ----

    def is_overdue(self, limits: ConnectionLimits) -> bool:
        """Whether it has kept silent for too long."""
        now = self.loop.time()
        if self._head_bytes is not None:
            return now - self._since > limits.head.total_seconds()
        if self._body_bytes is not None:
            if self.flow.read_paused:  # we have not taken what has come
                self._heard_at = now
            body_s = limits.body.total_seconds()
            is_slow = now - self._since > body_s + self._body_bytes / LEAST_RATE
            return now - self._heard_at > body_s or (is_slow and not self.flow.read_paused)
        if self._cycle is not None and not self._cycle.response_complete:
            return False  # it waits for us
        return now - self._heard_at > (limits.idle if self.is_known else limits.head).total_seconds()

    def end(self, why: str) -> None:
        """Send it away, telling it why if there is somebody who waits for an answer."""
        if self.transport.is_closing():
            self.transport.abort()  # it does not read what it was told
            return
        has_asked = self._head_bytes is not None or self._body_bytes is not None
        if has_asked and (self._cycle is None or not self._cycle.response_started):
            self.transport.write(_timed_out(why))
        self.transport.close()

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn says that there is one before the first request, too


class PilotConnection(WebSocketsSansIOProtocol):
    """A connection that speaks WebSocket: a pilot's, once its token was looked at."""

    is_known = False

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **more)
        self.keeper = _keeper(self.config)
        self._since = self.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        super().connection_made(transport)
        self.keeper.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.keeper.left(self)
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        """Hand it to the application."""
        cast("Scope", self.scope)[SCOPE_KEY] = self
        await super().run_asgi()

    def is_overdue(self, limits: ConnectionLimits) -> bool:
        """Whether it has kept silent for too long; `pilot_connection` watches a pilot that is known."""
        return not self.is_known and self.loop.time() - self._since > limits.head.total_seconds()

    def end(self, _why: str) -> None:
        """Send it away."""
        self.transport.abort()


def _keeper(config: Config) -> Connections:
    return cast("ServerConfig", config).keeper


def _timed_out(why: str) -> bytes:
    head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    return f"{head}content-length: {len(why)}\r\n\r\n{why}".encode("ascii")
