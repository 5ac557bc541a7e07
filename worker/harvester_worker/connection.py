"""The connection: the one WebSocket to a gateway, opened again whenever it is lost.

Owns connecting, frames and back-off. Must not know what the messages mean.
"""

import asyncio
import logging
import os
import random
import re
from collections.abc import Callable, Sequence
from typing import assert_never

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from harvester.domain import tls
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol import wire
from harvester.domain.supervision import pilot_output

log = logging.getLogger(__name__)

FRAME_BYTES = 1024 * 1024
"""A frame is closed when its payloads are over this, so that no frame is much larger than its largest message."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
OPEN_S = 5.0
FIRST_WORD_S = 10.0
"""A gateway answers `Hello` at once: a connection that is silent for this long does not carry both ways."""
UNANSWERED_S = 3.0
"""After so long without an answer of any gateway a pilot writes a line that the daemon looks for in its output."""
CLOSE_S = 0.3
PING_S, PONG_S = 10.0, 30.0
"""A pong queues behind a large checkpoint on a slow link, so it is given time."""


class Refused(Exception):
    """The gateway refuses this pilot: its token is not valid, or no longer."""


class GatewayConnection:
    """A connection to one of several gateways.

    Parameters
    ----------
    gateways: their base URLs, tried in turn.
    token: the pilot's own.
    tls_ca: certificates in PEM by which a gateway's is verified; empty: by the system's authorities.
    hello: makes the first message of a connection.
    on_messages: called with the messages of each frame.
    on_loss: called when a connection is gone.
    """

    def __init__(
        self,
        gateways: Sequence[str],
        token: str,
        *,
        tls_ca: str,
        hello: Callable[[], wire.Hello],
        on_messages: Callable[[list[wire.ToPilot]], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._gateways = tuple(gateways)
        self._token = token
        self._tls = tls.trusting(tls_ca) if tls_ca else True
        self._hello, self._on_messages, self._on_loss = hello, on_messages, on_loss
        self._unsent: list[wire.ToGateway] = []
        self._wake = asyncio.Event()
        self._connection: ClientConnection | None = None
        self.gateway = self._gateways[0]  # the address that the newest connection was made to

    def send(self, message: wire.ToGateway) -> None:
        """Send a message with the next frame. Without a connection it is dropped."""
        if self._connection is not None:
            self._unsent.append(message)
            self._wake.set()

    def drop(self) -> None:
        """Abort the connection, and open another one."""
        if self._connection is not None:
            self._connection.transport.abort()

    async def close(self) -> None:
        """Send what is left, and close the connection within `CLOSE_S`."""
        if (connection := self._connection) is not None:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._flush(connection)
                    await connection.close()
            except (TimeoutError, OSError, WebSocketException) as error:
                log.info("link.closed: not cleanly: %s", error)

    async def run(self) -> None:
        """Keep a connection open, for ever. Raises `Refused`."""
        tried = failures = 0
        unanswered = Unanswered(since=asyncio.get_running_loop().time())
        while True:
            gateway = self._gateways[tried % len(self._gateways)]
            url = link_url(gateway)
            try:
                if await self._converse(gateway):
                    failures, unanswered.is_over = 0, True
                else:
                    failures += 1
            except InvalidStatus as error:
                status = error.response.status_code
                if status in {401, 403}:
                    why = "it does not know this pilot, or has given it up"
                    raise Refused(f"{url} refuses this pilot's token (HTTP {status}): {why}") from error
                failures += 1
                unanswered.tell(gateway, error, asyncio.get_running_loop().time())
                log.warning("link.failed url=%s: HTTP %d", url, status)
            except (OSError, WebSocketException) as error:
                failures += 1
                unanswered.tell(gateway, error, asyncio.get_running_loop().time())
                log.warning("link.failed url=%s: %s", url, words_of(error))
            tried += failures > 0
            pause = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2 ** min(failures, 8))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _converse(self, gateway: str) -> bool:
        """Keep one connection until it is lost; return whether the gateway said anything."""
        url = link_url(gateway)
        was_heard = False
        connection = await connect(
            url,
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,
            max_size=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            ssl=self._tls if url.startswith("wss:") else None,
            proxy=None,  # a node's proxy is for the internet; the gateway is on the cluster
        )
        log.info("%s url=%s", pilot_output.CONNECTED, url)
        self._connection, self._unsent, self.gateway = connection, [self._hello()], gateway
        self._wake.set()
        writer = asyncio.create_task(self._write(connection))
        silence = asyncio.get_running_loop().call_later(FIRST_WORD_S, connection.transport.abort)
        try:
            async for frame in connection:
                silence.cancel()
                was_heard = True
                self._on_messages(wire.decode_to_pilot(frame if isinstance(frame, bytes) else frame.encode()))
        except wire.WireError as error:
            log.error("link.misunderstood url=%s: %s", url, error)  # noqa: TRY400 - the sentence says it all
        finally:
            self._connection = None
            silence.cancel()
            writer.cancel()
            connection.transport.abort()
            log.info("link.down url=%s code=%s", url, connection.close_code)
            self._on_loss()
        return was_heard

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                await self._wake.wait()
                await self._flush(connection)
        except WebSocketException:
            pass  # the reader meets it too, and reports it

    async def _flush(self, connection: ClientConnection) -> None:
        self._wake.clear()
        messages, self._unsent = self._unsent, []
        for frame in frames(messages):
            await connection.send(frame)


def frames(messages: Sequence[wire.ToGateway]) -> list[bytes]:
    """Return `messages` as frames, in order, none much larger than its largest message."""
    done: list[bytes] = []
    batch: list[wire.ToGateway] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += wire.MESSAGE_BYTES + _payload_bytes(message)
        if size > FRAME_BYTES:
            done.append(wire.encode(batch))
            batch, size = [], 0
    if batch:
        done.append(wire.encode(batch))
    return done


def _payload_bytes(message: wire.ToGateway) -> int:
    match message:
        case wire.Finished():
            return 0 if isinstance(message.value, BlobRef) else len(message.value)
        case wire.Checkpoint():
            return len(message.state)
        case (
            wire.Hello()
            | wire.Heartbeat()
            | wire.Started()
            | wire.Waits()
            | wire.GoesOn()
            | wire.GivenBack()
            | wire.Draining()
            | wire.Goodbye()
            | wire.SharesBlobs()
        ):
            return 0
        case _:
            assert_never(message)


class Unanswered:
    """The one line that says that no gateway has answered since the pilot started."""

    def __init__(self, *, since: float) -> None:
        self._since = since
        self.is_over = False  # said, or not true any more

    def tell(self, gateway: str, error: Exception, now: float) -> None:
        """Record one more failure; write the line when it is due."""
        if self.is_over or now - self._since < UNANSWERED_S:
            return
        self.is_over = True
        todo = tls.remedy(error, ca="gateway.tls_ca", address="gateway.url") or (
            "set gateway.url to an address that compute nodes reach, and see that no firewall is in between"
        )
        log.error("%s: no gateway answers at %s (%s): %s", pilot_output.UNREACHABLE, gateway, words_of(error), todo)


def words_of(error: Exception) -> str:
    """Return why a connection failed, in a few words such as `Connection refused`."""
    if isinstance(error, InvalidStatus):
        return f"what answers there is not a gateway: HTTP {error.response.status_code}"
    if words := tls.trouble(error):
        return words
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error) or type(error).__name__
    numbers = re.findall(r"\[Errno (\d+)\]", text)  # asyncio's words name the address once more
    return os.strerror(int(numbers[0])) if numbers else re.sub(r"^\[Errno -\d+\] ", "", text)


def link_url(gateway: str) -> str:
    """Return where to open the WebSocket. Raises `ValueError` unless `gateway` is an http or https address."""
    scheme, separator, rest = gateway.rstrip("/").partition("://")
    schemes = {"http": "ws", "https": "wss"}
    scheme = scheme.lower()
    if not separator or scheme not in schemes:
        raise ValueError(f"gateway {gateway!r} is not an http:// or https:// address")
    return f"{schemes[scheme]}://{rest}{wire.LINK_PATH}"
