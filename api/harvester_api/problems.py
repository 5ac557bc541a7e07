"""Refusals: every error that a caller sees is an RFC 9457 problem document.

Owns the document, the exception that carries it, and the handlers that turn whatever FastAPI, Starlette or the store
raise into one. The detail says what was wrong and where, the remedy what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from harvester.domain.invocations import Failure
from harvester.store.store import StoreError, StoreFull

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_encoder = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document."""

    type: str  # "urn:harvester:problem:…": the kind of problem, for programs
    title: str  # the same for people
    status: int
    detail: str  # what was wrong, and where
    field: str = ""  # the part of the request that was wrong
    remedy: str = ""  # what to do
    failure: Failure | None = None  # of the invocation whose result was asked for


class Refusal(Exception):
    """A request that is refused; raised anywhere below a route."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = headers


def refusal(
    status: int,
    kind: str,
    detail: str,
    *,
    field: str = "",
    remedy: str = "",
    failure: Failure | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """Return a refusal to raise.

    Parameters
    ----------
    status: the HTTP status.
    kind: short name of the kind of problem, words joined by hyphens.
    detail: what was wrong and where; field: the part of the request; remedy: what to do.
    """
    problem = Problem(
        type=f"urn:harvester:problem:{kind}",
        title=kind.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        field=field,
        remedy=remedy,
        failure=failure,
    )
    return Refusal(problem, headers)


def invalid(field: str, detail: str, remedy: str) -> Refusal:
    """Return the refusal for a part of the request that is not what it should be (422)."""
    return refusal(422, "invalid-field", f"{field}: {detail}", field=field, remedy=remedy)


def store_refusal(error: StoreError) -> Refusal:
    """Return the refusal for a store that cannot write or answer."""
    if isinstance(error, StoreFull):
        return refusal(
            507,
            "store-full",
            f"the store cannot take more: {error}",
            remedy="Nothing was accepted. Tell the admin to free space for the store, then try again.",
            headers={"Retry-After": "5"},
        )
    return refusal(
        503,
        "store-unavailable",
        f"the store did not take it: {error}",
        remedy="Nothing was accepted. Try again in a moment; if it lasts, the admin has to look at the store.",
        headers={"Retry-After": "2"},
    )


def answer(refused: Refusal) -> Response:
    """Return the response for a refusal."""
    return Response(
        _encoder.encode(refused.problem),
        status_code=refused.problem.status,
        media_type=MEDIA_TYPE,
        headers=refused.headers,
    )


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(StoreError, _on_store_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_defect)


async def _on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - Starlette hands each handler what it was installed for
    return answer(error)


async def _on_store_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)  # noqa: S101 - as above
    return answer(store_refusal(error))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    kind, remedy = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-"), ""
    detail = f"{request.method} {request.url.path}: {error.detail}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        kind, detail = "unknown-path", f"there is nothing at {request.url.path}"
        remedy = "/openapi.json lists every path."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework's own Allow names the first route of a path only.
        allowed = ", ".join(_methods(request)) or (error.headers or {}).get("Allow", "")
        detail = f"{request.url.path} does not take {request.method}"
        remedy = f"It takes {allowed}." if allowed else "/openapi.json lists what each path takes."
        return answer(refusal(error.status_code, kind, detail, remedy=remedy, headers={"Allow": allowed}))
    return answer(refusal(error.status_code, kind, detail, remedy=remedy, headers=error.headers))


def _methods(request: Request) -> list[str]:
    """Return what the path of a request takes, as the OpenAPI document has it."""
    paths = request.app.openapi()["paths"]
    fitting = [paths[path] for path in paths if compile_path(path)[0].match(request.url.path)]
    return sorted({method.upper() for operations in fitting for method in operations})


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return answer(refusal(422, "invalid-field", f"{field}: {first['msg']}", field=field))


async def _on_defect(request: Request, error: Exception) -> Response:
    log.error("defect in %s %s", request.method, request.url.path, exc_info=error)
    return answer(
        refusal(
            500,
            "internal-error",
            f"{request.method} {request.url.path} met a defect of the gateway ({type(error).__name__})",
            remedy="Report it with the gateway's log. What was acknowledged before is safe.",
        )
    )
