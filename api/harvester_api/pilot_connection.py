"""A pilot's connection: one WebSocket that carries the frames of `harvester.domain.protocol.wire`.

Owns the socket, its outbox and who may connect. A pilot's own token, whose SHA-256 is in the store, says which pilot it
is. What messages mean is the gateway's. A connection that cannot be written to is dropped: the pilot comes back, and
nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from datetime import timedelta
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from harvester.domain.model.pilots import PILOT
from harvester.domain.protocol import wire
from harvester.store.records import PilotRecord
from harvester.store.store import StoreError
from harvester_api import problems
from harvester_api.connections import has_shown_token
from harvester_api.http.auth import bearer, token_sha256
from harvester_api.runtime.effects import Loader
from harvester_api.runtime.pilot_messages import PilotMessages
from harvester_api.service.gateway import Gateway

log = logging.getLogger(__name__)

FRAME_BYTES = 1024 * 1024  # messages are put into one frame up to about this size
OUTBOX_MESSAGES = 20_000  # more than any pilot's slots can ask for: it does not read
HEARD_AT_ONCE = 100  # messages of a frame; between them others have the event loop
HELLO_WITHIN = timedelta(seconds=10)
CODE_BYTES = 32 * 1024 * 1024  # a pilot keeps the code that was used last, up to about this size; more is sent again
_RECORD_BYTES = 1024  # about what a function takes beside its body

# Close codes of our own; the reason says the rest.
NOT_UNDERSTOOD, REPLACED, TOO_SLOW, TRY_LATER = 4002, 4003, 4004, 4005


class LinkClosed(Exception):
    """We end the connection, for a reason that the pilot is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class PilotLink:
    """One connection of one pilot."""

    def __init__(self, pilot_id: str, receive: Receive, send: Send, patience: timedelta) -> None:
        """`patience` is how long one frame may take to leave."""
        self.pilot_id = pilot_id
        self._receive, self._send = receive, send
        self.hello: wire.Hello | None = None
        self.shares_blobs = False
        self._patience_s = patience.total_seconds()
        self._outbox: deque[wire.ToPilot | Loader] = deque()
        self._wake = asyncio.Event()
        self._functions: dict[str, int] = {}  # the bytes of the code that the pilot has, the least recently used first
        self._code_bytes = 0
        self._owners: set[str] = set()
        self._ending: asyncio.Future[LinkClosed] = asyncio.get_running_loop().create_future()

    def send(self, message: wire.ToPilot | Loader) -> None:
        """Queue a message; what one turn of the event loop queues leaves as one frame."""
        if self._ending.done():
            return
        if len(self._outbox) >= OUTBOX_MESSAGES:
            self.close(TOO_SLOW, f"{OUTBOX_MESSAGES} messages wait to be read")
            return
        if type(message) is wire.Function:
            self._keep_in_step(message)
        self._outbox.append(message)
        self._wake.set()

    def has_function(self, function_id: str) -> bool:
        """Whether the pilot has the function from this connection; whoever asks uses it, and sends it if not."""
        size = self._functions.pop(function_id, None)
        if size is None:
            return False
        self._functions[function_id] = size
        return True

    def _keep_in_step(self, message: wire.Function) -> None:
        """Have the pilot forget what was not used for longest. Order is kept, so no lease can miss its code."""
        function = message.function
        size = self._functions[function.function_id] = len(function.body) + _RECORD_BYTES
        self._code_bytes += size
        while self._code_bytes > CODE_BYTES and len(self._functions) > 1:
            function_id = next(iter(self._functions))
            self._code_bytes -= self._functions.pop(function_id)
            self._outbox.append(wire.Forget(function_id=function_id))

    def has_key(self, owner: str) -> bool:
        """Whether this connection was sent the key of an owner; remembers it as sent."""
        if owner in self._owners:
            return True
        self._owners.add(owner)
        return False

    def close(self, code: int, reason: str) -> None:
        """End the connection soon."""
        if not self._ending.done():
            self._ending.set_result(LinkClosed(code, reason))

    async def run(self, pilots: PilotMessages) -> None:
        """Carry messages until either side ends it."""
        reading = asyncio.create_task(self._read(pilots))
        writing = asyncio.create_task(self._write())
        try:
            parts: set[asyncio.Future[Any]] = {reading, writing, self._ending}
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pilots.detach(self.pilot_id, self)
            for task in (reading, writing):
                task.cancel()
            await asyncio.wait({reading, writing})
        end = self._end(reading, writing)
        if end is not None:
            log.warning("pilot %s: connection ended by us: %s", self.pilot_id, end.reason)
            with contextlib.suppress(Exception):  # it may be gone by now, which is what we want
                async with asyncio.timeout(self._patience_s):
                    await self._send({"type": "websocket.close", "code": end.code, "reason": end.reason[:120]})

    def _end(self, *tasks: asyncio.Task[None]) -> LinkClosed | None:
        if self._ending.done():
            return self._ending.result()
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, LinkClosed):
                return error
            if error is not None:
                log.error("pilot %s: defect on its connection", self.pilot_id, exc_info=error)
                return LinkClosed(TRY_LATER, f"the gateway failed here ({type(error).__name__}), connect again")
        return None

    async def _read(self, pilots: PilotMessages) -> None:
        try:
            async with asyncio.timeout(HELLO_WITHIN.total_seconds()):
                messages = await self._frame()
        except TimeoutError:
            raise LinkClosed(NOT_UNDERSTOOD, f"no Hello within {HELLO_WITHIN.total_seconds():g} s") from None
        if messages is None:
            return
        self.hello = self._checked(messages)
        replaced = pilots.attach(self.pilot_id, self)
        if isinstance(replaced, PilotLink):
            replaced.close(REPLACED, "the pilot has connected again")
        while messages is not None:
            for at in range(0, len(messages), HEARD_AT_ONCE):
                if at:
                    await asyncio.sleep(0)
                pilots.received(self.pilot_id, messages[at : at + HEARD_AT_ONCE])
            messages = await self._frame()

    def _checked(self, messages: list[wire.ToGateway]) -> wire.Hello:
        hello = messages[0] if messages else None
        if not isinstance(hello, wire.Hello):
            raise LinkClosed(NOT_UNDERSTOOD, "the first message must be Hello")
        if hello.protocol != wire.PROTOCOL_VERSION:
            raise LinkClosed(
                NOT_UNDERSTOOD,
                f"protocol {hello.protocol}, the gateway speaks {wire.PROTOCOL_VERSION}: "
                "install its version of hpc-harvester on the nodes",
            )
        if hello.pilot_id != self.pilot_id:
            raise LinkClosed(NOT_UNDERSTOOD, "the token belongs to another pilot")
        return hello

    async def _frame(self) -> list[wire.ToGateway] | None:
        """Return the messages of the next frame, None when the pilot has gone."""
        event = await self._receive()
        if event["type"] != "websocket.receive":
            return None
        data = event.get("bytes")
        if data is None:
            raise LinkClosed(NOT_UNDERSTOOD, "a text frame: this connection carries MessagePack in binary frames")
        try:
            return wire.decode_to_gateway(cast("bytes", data))
        except wire.WireError as error:
            raise LinkClosed(NOT_UNDERSTOOD, f"not a message of protocol {wire.PROTOCOL_VERSION}: {error}") from None

    async def _write(self) -> None:
        """Send what is queued; returns when the pilot has gone away during it, as it may at any time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                frame = wire.encode(await self._gathered())
                # A timer of our own: asyncio.timeout costs several times as much, and every lease comes this way.
                timer = loop.call_later(
                    self._patience_s, self.close, TOO_SLOW, f"a frame could not leave in {self._patience_s:g} s"
                )
                try:
                    await self._send({"type": "websocket.send", "bytes": frame})
                except OSError:  # uvicorn's word for a peer that has gone
                    return
                finally:
                    timer.cancel()

    async def _gathered(self) -> list[wire.ToPilot]:
        """Take what waits, up to about the size of a frame."""
        messages: list[wire.ToPilot] = []
        size = 0
        while self._outbox and size < FRAME_BYTES:
            item = self._outbox.popleft()
            message = await asyncio.to_thread(item) if callable(item) else item
            messages.append(message)
            size += wire.MESSAGE_BYTES
            match message:
                case wire.Lease(arguments=arguments, checkpoint=checkpoint):
                    size += len(arguments) if isinstance(arguments, bytes) else 0
                    size += len(checkpoint or b"")
                case wire.Function(function=function):
                    size += len(function.body)
                case _:  # the others are small
                    pass
        return messages


async def serve_pilot(scope: Scope, receive: Receive, send: Send, gateway: Gateway) -> None:
    """Take a pilot's call: the application behind `wire.LINK_PATH`.

    Frames go from here to the server without a layer between, since there are a few of them for every invocation.
    """
    websocket = WebSocket(scope, receive, send)
    try:
        pilot = await _authenticated(websocket, gateway)
    except problems.Refusal as refused:
        log.warning("a pilot's call was refused: %s", refused)
        await websocket.send_denial_response(problems.answer(refused))
        return
    await websocket.accept()
    # A frame that does not leave within the length of a lease would cost the pilot its leases anyway.
    await PilotLink(pilot.pilot_id, receive, send, gateway.parts.settings.lease).run(gateway.parts.pilots)


async def _authenticated(websocket: WebSocket, gateway: Gateway) -> PilotRecord:
    if not gateway.is_ready:
        raise problems.refusal(503, "not-ready", "the gateway is starting or stopping", remedy="Call again.")
    token = bearer(websocket)
    try:
        pilot = None if token is None else await gateway.site.pilot_of_token(token_sha256(token))
    except StoreError as error:
        raise problems.store_refusal(error) from error
    if pilot is None:
        raise problems.refusal(
            403,
            "unknown-pilot",
            "the token is not a pilot's",
            field="Authorization",
            remedy="A pilot connects with the token in its own pilot file; this one must exit.",
        )
    if pilot.state in PILOT.final:
        raise problems.refusal(
            403,
            "pilot-ended",
            f"pilot {pilot.pilot_id} has ended ({pilot.state.value}{': ' if pilot.reason else ''}{pilot.reason})",
            remedy="Its work was given to other pilots; it must exit.",
        )
    has_shown_token(websocket.scope)
    return pilot
