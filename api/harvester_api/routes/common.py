"""What every route needs: the gateway behind the app, and who calls."""

from __future__ import annotations

from typing import cast

from starlette.requests import HTTPConnection

from harvester_api.auth import Auth, Caller
from harvester_api.book import Outcome
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


def unknown_invocation(invocation_id: str) -> Refusal:
    """Return the refusal for an invocation that is not there, or not the caller's."""
    return refusal(
        404,
        "unknown-invocation",
        f"there is no invocation {invocation_id[:80]!r} of yours",
        field="invocation_id",
        remedy="GET /v1/invocations lists yours, newest first.",
    )
