"""The connections of an asyncio client, one request at a time on each. Belongs to one event loop.

Owns which are free, and who waits for one.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator

from harvester.sdk.http.async_connection import AsyncConnection, flow, has_head, is_whole
from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.messages import Request, Response
from harvester.sdk.http.response_parser import ResponseParser
from harvester.sdk.http.sync_pool import ANSWER_S

MAX_CONNECTIONS = 16


class AsyncConnectionPool:
    """At most `MAX_CONNECTIONS`, the stream's among them."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._free: list[AsyncConnection] = []
        self._all: set[AsyncConnection] = set()
        self._count = 0
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()

    async def ask(self, request: Request) -> Response:
        """Return the answer. Raises `OSError` when there is none, `ValueError` for a request that can't be sent."""
        head = self._peer.head(request)
        while True:
            connection, is_new = await self._take()
            hearing = ResponseParser(connection.scratch)
            try:
                await connection.ask(head, request.content, hearing, is_whole, ANSWER_S + request.wait_s)
            except TimeoutError:
                raise
            except OSError:
                # The gateway closes connections that were not used for a while; any request may be sent twice.
                if is_new or hearing.has_begun:
                    raise
            else:
                return hearing.answer()
            finally:
                self._give_back(connection)

    @contextlib.asynccontextmanager
    async def listen(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Yield the status of an answer and its pieces, as they come. Raises as `ask`, in the middle too.

        It has a connection of its own, which ends with it: an answer without an end is not worth waiting for.
        """
        head, silence_s = self._peer.head(request), ANSWER_S + request.wait_s
        connection = await self._open()
        try:
            pieces: collections.deque[bytes] = collections.deque()
            hearing = ResponseParser(connection.scratch, pieces.append)
            await connection.ask(head, request.content, hearing, has_head, silence_s)
            yield hearing.status, flow(connection, hearing, pieces, silence_s)
        finally:
            connection.abort()
            self._give_back(connection)

    async def close(self) -> None:
        """Close all of them."""
        closing = tuple(self._all)
        for connection in closing:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in closing), return_exceptions=True)

    async def _take(self) -> tuple[AsyncConnection, bool]:
        while True:
            while self._free:
                connection = self._free.pop()
                if connection.is_usable:
                    return connection, False
                self._count -= 1
            if self._count < MAX_CONNECTIONS:
                return await self._open(), True
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # the turn goes to the next one
                raise

    async def _open(self) -> AsyncConnection:
        self._count += 1
        connection = AsyncConnection()
        try:
            await connection.open(self._peer)
        except BaseException:
            self._count -= 1
            self._wake_one()
            connection.abort()
            raise
        self._all.add(connection)
        connection.lost.add_done_callback(lambda _: self._all.discard(connection))
        return connection

    def _give_back(self, connection: AsyncConnection) -> None:
        if connection.is_usable:
            self._free.append(connection)
        else:
            connection.abort()
            self._count -= 1
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
