"""What every route needs: the gateway behind the app, who calls, an invocation as they may see it, and its result."""

from __future__ import annotations

from typing import cast

from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, Response

from harvester.domain.blobs import BlobRef
from harvester_api.auth import Auth, Caller
from harvester_api.book import Outcome
from harvester_api.encodings import RESULT_TYPES
from harvester_api.gateway import Gateway
from harvester_api.problems import Refusal, refusal


def gateway_of(connection: HTTPConnection) -> Gateway:
    """Return the gateway that the app runs."""
    return cast("Gateway", connection.app.state.gateway)


def caller_of(connection: HTTPConnection) -> Caller:
    """Return who calls. Raises `Refusal` (401)."""
    return cast("Auth", connection.app.state.auth).user(connection)


def admin_of(connection: HTTPConnection) -> Caller:
    """Return the admin who calls. Raises `Refusal` (401, 403)."""
    return cast("Auth", connection.app.state.auth).admin(connection)


async def visible(gateway: Gateway, caller: Caller, invocation_id: str, wait_s: float = 0.0) -> Outcome:
    """Return an invocation that the caller may see, waiting up to `wait_s` for its end. Raises `Refusal` (404)."""
    before = gateway.book.find(invocation_id)
    if before is not None and not caller.may_see(before.record.owner):
        raise unknown_invocation(invocation_id)
    outcome = await gateway.look(invocation_id, min(wait_s, gateway.settings.max_wait.total_seconds()))
    if outcome is None or not caller.may_see(outcome.record.owner):
        raise unknown_invocation(invocation_id)
    return outcome


def raw_result(gateway: Gateway, outcome: Outcome, value: bytes | BlobRef) -> Response:
    """Return the bytes of a result as the whole answer; those of a file as they are read."""
    record = outcome.record
    headers = {"Harvester-Invocation": record.invocation_id, "Harvester-State": record.state.value}
    media_type = RESULT_TYPES[record.encoding]
    if isinstance(value, BlobRef):
        headers["Content-Length"] = str(value.size)
        return FileResponse(gateway.payloads.path(value), media_type=media_type, headers=headers)
    return Response(value, media_type=media_type, headers=headers)


def unknown_invocation(invocation_id: str) -> Refusal:
    """Return the refusal for an invocation that is not there, or not the caller's."""
    return refusal(
        404,
        "unknown-invocation",
        f"there is no invocation {invocation_id[:80]!r} of yours",
        field="invocation_id",
        remedy="GET /v1/invocations lists yours, newest first.",
    )
