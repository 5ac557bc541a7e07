"""What every route needs: the gateway behind the app, who calls, an invocation as they may see it, and its result."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from harvester.domain.model.functions import Encoding
from harvester.domain.payload.blobs import BlobRef
from harvester.store.records import ActivationRecord
from harvester_api.functions.catalog import Catalog
from harvester_api.http.auth import Auth, Caller
from harvester_api.http.bodies import SENT_BYTES, LargeResponse, bytes_response, json_response
from harvester_api.media_types import JSON_TYPE, RESULT_TYPES
from harvester_api.outcome import Outcome
from harvester_api.problems import Refusal, answer, refusal
from harvester_api.runtime.streams import Streams
from harvester_api.schemas.responses import invocation_document
from harvester_api.service.gateway import Gateway
from harvester_api.service.site import Site


def gateway_of(connection: HTTPConnection) -> Gateway:
    """Return the gateway that the app runs."""
    return cast("Gateway", connection.app.state.gateway)


def catalog_of(connection: HTTPConnection) -> Catalog:
    """Return the functions of the gateway."""
    return gateway_of(connection).catalog


def site_of(connection: HTTPConnection) -> Site:
    """Return the pilots, the daemon and the cluster of the gateway."""
    return gateway_of(connection).site


def streams_of(connection: HTTPConnection) -> Streams:
    """Return the streams of the gateway."""
    return gateway_of(connection).streams


def caller_of(connection: HTTPConnection) -> Caller:
    """Return who calls. Raises `Refusal` (401)."""
    return cast("Auth", connection.app.state.auth).user(connection)


def admin_of(connection: HTTPConnection) -> Caller:
    """Return the admin who calls. Raises `Refusal` (401, 403)."""
    return cast("Auth", connection.app.state.auth).admin(connection)


async def visible(gateway: Gateway, caller: Caller, invocation_id: str, wait_s: float = 0.0) -> Outcome:
    """Return an invocation that the caller may see, waiting up to `wait_s` for its end. Raises `Refusal` (404)."""
    before = gateway.at_hand(invocation_id)
    if before is not None and not caller.may_see(before.record.owner):
        raise unknown_invocation(invocation_id)
    outcome = await gateway.look(invocation_id, wait_s)
    if outcome is None or not caller.may_see(outcome.record.owner):
        raise unknown_invocation(invocation_id)
    return outcome


def raw_result(gateway: Gateway, outcome: Outcome, value: bytes | BlobRef) -> Response:
    """Return the bytes of a result as the whole answer; those of a file as they are read."""
    record = outcome.record
    headers = {"Harvester-Invocation": record.invocation_id, "Harvester-State": record.state.value}
    media_type = RESULT_TYPES[record.encoding]
    if isinstance(value, BlobRef):
        return ResultFile(gateway.path(value), value.size, media_type, headers)
    return bytes_response(value, media_type, headers)


def document_response(
    outcome: Outcome, activations: list[ActivationRecord] | None = None, status: int = 200
) -> Response:
    """Return the document of an invocation, with its result where that is JSON and at hand."""
    value = outcome.value
    if not isinstance(value, bytes) or len(value) <= SENT_BYTES or outcome.record.encoding is not Encoding.JSON:
        return json_response(invocation_document(outcome, activations), status)
    # Put together here: the encoder would copy the result.
    rest = msgspec.json.encode(invocation_document(Outcome(record=outcome.record), activations))
    return LargeResponse([rest[:-1] + b',"result":', value, b"}"], JSON_TYPE)


class ResultFile(FileResponse):
    """The file of a result, whole or the ranges that were asked for; a problem where it is not as it was written."""

    def __init__(self, path: Path, size: int, media_type: str, headers: dict[str, str]) -> None:
        """`size` is what was written, in bytes."""
        super().__init__(path, media_type=media_type, headers=headers)
        self._size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        try:
            self.stat_result = await asyncio.to_thread(os.stat, self.path)
        except OSError as error:
            await self._lost(error.strerror or str(error))(scope, receive, send)
            return
        if self.stat_result.st_size != self._size:
            why = f"it has {self.stat_result.st_size} bytes, and {self._size} were written"
            await self._lost(why)(scope, receive, send)
            return
        self.set_stat_headers(self.stat_result)
        try:
            await super().__call__(scope, receive, _unless_plain(send))
        except _NoRange as refused:
            if refused.status == 416:
                await self._unsatisfiable()(scope, receive, send)
                return
            # A range that nobody understands is as none: RFC 9110, 14.2.
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": headers}, receive, send)

    def _lost(self, why: str) -> Response:
        return answer(
            refusal(
                503,
                "result-unreadable",
                f"the result cannot be read from its file, {self.path}: {why}",
                remedy="Try again in a moment; if the problem lasts, ask the admin to check the disk.",
                headers={"Retry-After": "2"},
            )
        )

    def _unsatisfiable(self) -> Response:
        return answer(
            refusal(
                416,
                "range-not-satisfiable",
                f"Range: the result has {self._size} bytes",
                field="Range",
                remedy="Ask for a range within its size, or for all of it.",
                headers={"Content-Range": f"bytes */{self._size}"},
            )
        )


class _NoRange(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _unless_plain(send: Send) -> Send:
    """Return a `send` that raises `_NoRange` where the framework is about to refuse a range in words of its own."""

    async def checked(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            raise _NoRange(message["status"])
        await send(message)

    return checked


def unknown_invocation(invocation_id: str) -> Refusal:
    """Return the refusal for an invocation that is not there, or not the caller's."""
    return refusal(
        404,
        "unknown-invocation",
        f"there is no invocation {invocation_id[:80]!r} of yours",
        field="invocation_id",
        remedy="GET /v1/invocations lists yours, newest first.",
    )


def expired_result(invocation_id: str, purged_at: float) -> Refusal:
    """Return the refusal for a result that was deleted, its time being over."""
    when = datetime.fromtimestamp(purged_at, UTC).isoformat(timespec="seconds")
    return refusal(
        410,
        "result-expired",
        f"the result of invocation {invocation_id} was deleted at {when}, when its retention time ended",
        field="invocation_id",
        remedy="Invoke it again. How long results are kept is the admin's setting.",
    )
