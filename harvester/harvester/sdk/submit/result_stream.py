"""Listens to the stream on which the gateway tells of ends, and opens it again when it breaks off.

Owns the stream's connection and its frames. Runs on the line's event loop. What the ends mean is the collector's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from harvester.domain.protocol import stream
from harvester.sdk.http.drivers import AsyncDriver
from harvester.sdk.http.messages import LOG, Request

SILENCE_S = 35.0  # the gateway gives a sign of life each 10 s; a stream without one is dead
FIRST_WAIT_S = 2.0  # the first submission waits so long for the stream; later it is not waited for
_PAUSES_S = (0.05, 0.2, 0.5, 1.0, 2.0)
_ASK_AGAIN_S = 60.0  # a gateway without streams may be replaced by a newer one
_MAX_FRAME = 1 << 30


class Hearer(Protocol):
    """Who wants to know."""

    def connected(self) -> None:
        """The stream is open."""
        ...

    def cut(self) -> None:
        """The stream has broken off; it will be opened again."""
        ...

    def refused(self) -> None:
        """The gateway has no streams."""
        ...

    def hear(self, ended: Sequence[stream.Ended], /) -> None:
        """These have ended."""
        ...


class ResultStream:
    """One stream, for as long as `run` runs."""

    def __init__(self, gateway: AsyncDriver, stream_id: str, hearer: Hearer) -> None:
        self._gateway = gateway
        self._hearer = hearer
        self._request = Request(
            method="GET",
            path=f"/v1/streams/{stream_id}",
            headers={"Accept": stream.STREAM_TYPE},
            wait_s=SILENCE_S - 30.0,
        )
        self._is_settled = asyncio.Event()  # it is known whether there is a stream

    async def settled(self) -> None:
        """Wait until the stream is open or refused, but not for long."""
        if not self._is_settled.is_set():
            try:
                async with asyncio.timeout(FIRST_WAIT_S):  # not `wait_for`: see `sender`
                    await self._is_settled.wait()
            except TimeoutError:
                self._is_settled.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        while True:
            try:
                is_refused = await self._listen()
                failures = 0
            except (OSError, stream.StreamError) as error:
                LOG.debug("the stream of results broke off: %s", error)
                is_refused = False
            if is_refused:
                self._hearer.refused()
                self._is_settled.set()
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            self._hearer.cut()
            pause = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            failures += 1
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - as with all retries: not all at once

    async def _listen(self) -> bool:
        """Listen until the stream ends. Return whether it was refused."""
        async with self._gateway.listen(self._request) as (status, pieces):
            if status != 200:
                if 400 <= status < 500 and status != 429:
                    return True  # no such route, or one that speaks otherwise: polls do as well
                raise ConnectionError(f"the stream was answered with {status}")
            self._hearer.connected()
            self._is_settled.set()
            await frames(pieces, self._hearer.hear)
        return False


async def frames(pieces: AsyncIterator[bytes], hear: Callable[[Sequence[stream.Ended]], None]) -> None:
    """Tell `hear` of each frame in a flow of bytes that is cut anywhere. Raises `StreamError`."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        at = 0
        with memoryview(buffer) as view:
            while len(buffer) - at >= stream.HEADER_BYTES:
                size = int.from_bytes(view[at : at + stream.HEADER_BYTES], "big")
                if size > _MAX_FRAME:
                    raise stream.StreamError(f"a frame of {size} bytes is larger than a stream has")
                end = at + stream.HEADER_BYTES + size
                if end > len(buffer):
                    break
                hear(stream.decode(view[at + stream.HEADER_BYTES : end]))
                at = end
        del buffer[:at]
