"""Who is calling: bearer tokens of users and admins, and of runs. A pilot's are `pilot_connection`'s.

Tokens are looked up by their SHA-256: how long that takes depends on the digest, from which nothing of a token can be
felt out, neither its length nor its beginning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec
from starlette.requests import HTTPConnection

from harvester_api.connections import SCOPE_KEY, has_shown_token
from harvester_api.http.parameters import headers_of
from harvester_api.problems import Refusal, refusal
from harvester_api.settings import Role, Token


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with a valid token."""

    name: str
    role: Role
    run: str = ""  # the invocation whose function calls, with the credential of its run

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to `owner` is this caller's to see and to cancel."""
        return self.role is Role.ADMIN or owner == self.name


def token_sha256(token: str) -> str:
    """Return the digest under which a token is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def bearer(connection: HTTPConnection) -> str | None:
    """Return the bearer token of a request, None where there is none."""
    scheme, _, token = headers_of(connection).get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


class Auth:
    """The tokens of one gateway.

    Parameters
    ----------
    tokens: of users and admins.
    run: returns the caller behind the token of a run, None for another token; may refuse it.
    """

    def __init__(self, tokens: Iterable[Token], run: Callable[[str], Caller | None]) -> None:
        self._run = run
        self._callers = {token_sha256(token.token): Caller(name=token.name, role=token.role) for token in tokens}

    def user(self, request: HTTPConnection) -> Caller:
        """Return who calls. Raises `Refusal` (401, and 503 for a run whose pilot is not back after a restart)."""
        token = bearer(request)
        if token is None:
            raise _unauthorized("the request has no bearer token")
        found = self._callers.get(token_sha256(token)) or self._run(token)
        if found is None:
            raise _unauthorized("this gateway does not know the bearer token")
        connection = request.scope.get(SCOPE_KEY)
        if connection is not None and not connection.is_known:
            has_shown_token(request.scope)
        return found

    def admin(self, request: HTTPConnection) -> Caller:
        """Return the admin who calls. Raises `Refusal` (401, 403)."""
        caller = self.user(request)
        if caller.role is not Role.ADMIN:
            raise refusal(
                403,
                "admin-only",
                f"{caller.name!r} is a user, and this operation is for admins",
                field="Authorization",
                remedy="Use an admin's token.",
            )
        return caller


def _unauthorized(detail: str) -> Refusal:
    return refusal(
        401,
        "unauthorized",
        detail,
        field="Authorization",
        remedy="Send 'Authorization: Bearer TOKEN'; `harvester up` prints where the tokens are, "
        "and clients read HARVESTER_TOKEN.",
        headers={"WWW-Authenticate": "Bearer"},
    )
