"""One connection of an asyncio client, over asyncio's transports. Belongs to one event loop.

Owns the transport, and when nobody is waited for any longer. What is written is `endpoint`'s, what is read
`response_parser`'s.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable

from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.response_parser import ResponseParser
from harvester.sdk.http.sync_pool import CONNECT_S

SLICE_BYTES = 256 * 1024  # of a body at a time: a transport copies what it cannot send at once
Until = Callable[[ResponseParser], bool]


def is_whole(hearing: ResponseParser) -> bool:
    """Whether all of an answer is there."""
    return hearing.is_done


def has_head(hearing: ResponseParser) -> bool:
    """Whether the head of an answer is there."""
    return hearing.has_head


async def flow(
    connection: AsyncConnection, hearing: ResponseParser, pieces: collections.deque[bytes], silence_s: float
) -> AsyncIterator[bytes]:
    """Yield the pieces of an answer that has a head, as the parser puts them into `pieces`. Raises `OSError`."""

    def has_more(hearing: ResponseParser) -> bool:
        return bool(pieces) or hearing.is_done

    while True:
        await connection.wait(has_more, silence_s)
        if not pieces:
            return
        while pieces:
            yield pieces.popleft()


class AsyncConnection(asyncio.BufferedProtocol):
    """One request at a time. `open` comes first."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.scratch = memoryview(bytearray(SLICE_BYTES))
        self._hearing: ResponseParser | None = None
        self._until: Until = is_whole
        self._answered: asyncio.Future[None] | None = None
        self._can_write: asyncio.Future[None] | None = None
        self._silence_s = 0.0
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # ---- life ------------------------------------------------------------------------------------------------------

    async def open(self, peer: Peer) -> None:
        """Connect. Raises `OSError`."""
        host, port = peer.connect_to
        has_tunnel = peer.tunnel is not None
        tls = None if has_tunnel else peer.tls
        try:
            async with asyncio.timeout(CONNECT_S):
                if peer.unix_socket:
                    await self._loop.create_unix_connection(lambda: self, peer.unix_socket)
                else:
                    await self._loop.create_connection(
                        lambda: self, host, port, ssl=tls, server_hostname=peer.host if tls else None
                    )
                if peer.tunnel is not None and peer.tls is not None:
                    await self._tunnel(peer.tunnel, peer)
        except TimeoutError:
            raise TimeoutError(f"no connection within {CONNECT_S:g} s") from None

    async def _tunnel(self, request: bytes, peer: Peer) -> None:
        hearing = ResponseParser(self.scratch, is_tunnel=True)
        await self.ask(request, b"", hearing, is_whole, CONNECT_S)
        peer.check_tunnel(hearing.status)
        self._hearing = None
        if self._transport is not None and peer.tls is not None:
            self._transport = await self._loop.start_tls(self._transport, self, peer.tls, server_hostname=peer.host)

    @property
    def is_usable(self) -> bool:
        """Whether another request can be made."""
        hearing = self._hearing
        return not self._is_closed and (hearing is None or (hearing.is_done and hearing.may_stay))

    def abort(self) -> None:
        """Close at once."""
        self._is_closed = True
        if self._transport is None:
            if not self.lost.done():
                self.lost.set_result(None)
        else:
            self._transport.abort()

    # ---- one exchange ----------------------------------------------------------------------------------------------

    async def ask(self, head: bytes, content: bytes, hearing: ResponseParser, until: Until, silence_s: float) -> None:
        """Send a request; return when enough has come of the answer, the whole of it or its head.

        Raises `OSError`, after which the connection is of no use. `wait` waits for the rest.
        """
        if self._transport is None or self._is_closed:
            raise ConnectionError("the connection was closed")
        self._hearing = hearing
        answered = self._expect(until, silence_s)
        try:
            if len(content) < SLICE_BYTES:
                self._transport.write(head + content if content else head)
            else:
                self._transport.write(head)
                await self._write(content, answered)
            await answered
        except BaseException:
            self.abort()
            raise
        finally:
            self._answered = None

    async def wait(self, until: Until, silence_s: float) -> None:
        """Wait for more of the answer. Raises as `ask`."""
        assert self._hearing is not None  # noqa: S101 - `ask` comes first
        if until(self._hearing):
            return
        if self._is_closed:
            raise ConnectionError("the connection was closed in the middle of the answer")
        try:
            await self._expect(until, silence_s)
        except BaseException:
            self.abort()
            raise
        finally:
            self._answered = None

    async def _write(self, content: bytes, answered: asyncio.Future[None]) -> None:
        with memoryview(content) as view:
            for at in range(0, len(view), SLICE_BYTES):
                if answered.done():  # a refusal, before all was read
                    self._is_closed = True
                    return
                assert self._transport is not None  # noqa: S101 - there is one from the beginning
                self._transport.write(view[at : at + SLICE_BYTES])
                self._heard_at = self._loop.time()
                if self._can_write is not None:
                    await asyncio.wait((self._can_write, answered), return_when=asyncio.FIRST_COMPLETED)

    def _expect(self, until: Until, silence_s: float) -> asyncio.Future[None]:
        self._until, self._silence_s = until, silence_s
        self._answered = self._loop.create_future()
        self._heard_at = self._loop.time()
        # A timer outlives what it was set for: most are never needed, and to set one for each request is dear.
        due_at = self._heard_at + silence_s
        if self._timer is None or self._timer.when() > due_at:
            self._stop_timer()
            self._timer = self._loop.call_at(due_at, self._check)
        return self._answered

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._answered is None:
            return
        due_at = self._heard_at + self._silence_s
        if self._loop.time() < due_at:
            self._timer = self._loop.call_at(due_at, self._check)
        else:
            self._fail(TimeoutError(f"nothing came for {self._silence_s:g} s"))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)

    # ---- what asyncio calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection makes
        self._transport = transport
        if self._is_closed:
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return memory for what comes next."""
        del sizehint
        return self.scratch if self._hearing is None else self._hearing.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Read what came."""
        self._heard_at = self._loop.time()
        hearing = self._hearing
        if hearing is None or hearing.is_done:
            self.abort()  # nobody has asked for it
            return
        try:
            hearing.took(nbytes)
        except OSError as error:
            self._fail(error)
            self.abort()
            return
        self._tell(hearing)

    def _tell(self, hearing: ResponseParser) -> None:
        if self._answered is not None and self._until(hearing) and not self._answered.done():
            self._answered.set_result(None)

    def eof_received(self) -> None:
        """Leave the rest to `connection_lost`."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the task that waits."""
        self._is_closed = True
        self._stop_timer()
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        hearing = self._hearing
        if hearing is not None:
            try:
                hearing.ended()
                self._tell(hearing)
            except ConnectionError as error:
                self._fail(exc or error)
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """Give the transport no more for now."""
        self._can_write = self._loop.create_future()

    def resume_writing(self) -> None:
        """Give it more."""
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None
