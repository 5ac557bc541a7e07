"""The connections of one gateway: how many there may be, and how long one may keep silent.

Owns the counts and the limits on time; who has shown no valid token is a stranger, and the first to be sent away. Knows
no socket: `sockets` has those.
"""

from __future__ import annotations

import asyncio
import resource
from datetime import timedelta
from typing import Protocol

import msgspec
from starlette.types import Scope

from harvester.config import GatewayConfig

SCOPE_KEY = "harvester.connection"
RESERVED = 256  # descriptors for the store, payloads and logs
LEAST = 64
_LOOKS = 4  # at all connections, within the shortest of the limits

_SITE = GatewayConfig()


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection may do, and how many there may be."""

    head: timedelta = timedelta(seconds=_SITE.head_s)  # until a request's headers are whole; also a stranger's silence
    body: timedelta = timedelta(seconds=_SITE.body_s)  # without a byte of a body that is not whole
    idle: timedelta = timedelta(seconds=_SITE.idle_s)  # between two requests
    most: int | None = _SITE.max_connections  # None: as many as there are descriptors for
    strangers: int = _SITE.max_strangers  # of them without a valid token


class OpenConnection(Protocol):
    """A connection as something that can be looked at and ended."""

    is_known: bool  # a valid token was shown on it
    keeper: Connections

    def is_overdue(self, limits: ConnectionLimits) -> bool:
        """Whether it has kept silent for too long."""
        ...

    def end(self, why: str) -> None:
        """Send it away, telling it why if there is somebody who waits for an answer."""
        ...


class Connections:
    """All that are open."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._strangers: dict[OpenConnection, None] = {}  # oldest first
        self._known: set[OpenConnection] = set()
        self._watching: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def came(self, connection: OpenConnection) -> None:
        """Take in a connection; the oldest stranger goes if there are too many, or it does itself."""
        if len(self) >= self._most():
            if not self._strangers:
                connection.end("The gateway has reached its limit of connections.")
                return
            self._send_away_oldest()
        elif len(self._strangers) >= self.limits.strangers:
            self._send_away_oldest()
        self._strangers[connection] = None
        if self._watching is None:
            self._watch()

    def knows(self, connection: OpenConnection) -> None:
        """Record that a valid token was shown."""
        connection.is_known = True
        if connection in self._strangers:
            del self._strangers[connection]
            self._known.add(connection)

    def left(self, connection: OpenConnection) -> None:
        """Forget a connection that has ended."""
        self._strangers.pop(connection, None)
        self._known.discard(connection)

    def look(self) -> None:
        """End connections that are silent for too long."""
        for connection in [*self._strangers, *self._known]:
            if connection.is_overdue(self.limits):
                connection.end("The connection was silent for too long.")

    def _send_away_oldest(self) -> None:
        oldest = next(iter(self._strangers))
        del self._strangers[oldest]
        oldest.end("This connection has shown no valid token, and other callers need it.")

    def _most(self) -> int:
        if self.limits.most is not None:
            return self.limits.most
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(LEAST, descriptors - RESERVED)

    def _watch(self) -> None:
        """Look from time to time, as long as there are connections."""
        self._watching = None
        self.look()
        if len(self):
            shortest = min(self.limits.head, self.limits.body, self.limits.idle)
            self._watching = asyncio.get_running_loop().call_later(shortest.total_seconds() / _LOOKS, self._watch)


def has_shown_token(scope: Scope) -> None:
    """Record that the sender of a request has a valid token."""
    connection: OpenConnection | None = scope.get(SCOPE_KEY)
    if connection is not None and not connection.is_known:
        connection.keeper.knows(connection)
