"""Refusals: every error that a caller sees is an RFC 9457 problem document.

Owns the document, the exception that carries it, and the handlers that turn whatever FastAPI, Starlette or the store
raise into one. The detail says what was wrong and where, the remedy what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from harvester.domain.model.invocations import Failure
from harvester.store.store import StoreError, StoreFull, Unstorable
from harvester_api.doubt import InDoubt
from harvester_api.failures import FailureDocument, failure_document

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_LONGEST_PATH = 500  # characters
_encoder = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document."""

    type: str  # "urn:harvester:problem:…": the kind of problem, for programs
    title: str  # the same for people
    status: int
    detail: str  # what was wrong, and where
    field: str = ""  # the part of the request that was wrong
    remedy: str = ""  # what to do
    failure: FailureDocument | None = None  # of the invocation whose result was asked for
    invocation_ids: tuple[str, ...] = ()  # what was accepted in doubt


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
        failure=failure_document(failure),
    )
    return Refusal(problem, headers)


def invalid(field: str, detail: str, remedy: str) -> Refusal:
    """Return the refusal for a part of the request that is not what it should be (422)."""
    return refusal(422, "invalid-field", f"{field}: {detail}", field=field, remedy=remedy)


def store_refusal(error: StoreError) -> Refusal:
    """Return the refusal for a store that cannot write or answer."""
    if isinstance(error, InDoubt):
        return _doubt(error)
    if isinstance(error, Unstorable):
        return refusal(
            500,
            "cannot-be-stored",
            f"the store cannot hold this: {error}",
            remedy="It was not kept, and is stopped if it has started. Report it with the gateway's log.",
        )
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
        f"the store does not answer: {error}",
        remedy="Nothing new was accepted. Try again in a moment; if that fails, ask the admin to check the store.",
        headers={"Retry-After": "2"},
    )


def _doubt(error: InDoubt) -> Refusal:
    first, *more = error.invocation_ids
    which = f"invocation {first}" + (f" and {len(more)} more" if more else "")
    refused = refusal(
        503,
        "accepted-in-doubt",
        f"{which} may run or have run, and is not on disk yet: {error}",
        remedy="It is kept, and written as soon as the store accepts writes. Do not send it as a new request: repeat "
        "it under the same Idempotency-Key, or ask GET /v1/invocations/ID, until the answer changes.",
        headers={"Retry-After": "2"},
    )
    return Refusal(msgspec.structs.replace(refused.problem, invocation_ids=error.invocation_ids), refused.headers)


def malformed(error: Exception, field: str) -> Refusal:
    """Return the refusal for a body that does not decode (400), or that is not what it should be (422)."""
    if isinstance(error, msgspec.ValidationError):
        text, _, path = str(error).partition(" - at ")
        within = path.strip("`").removeprefix("$").lstrip(".")
        where = f"{field}: {within}" if within and " " in field else within or field
        return refusal(
            422, "invalid-field", f"{where}: {text}", field=where, remedy="/openapi.json describes the body."
        )
    detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return refusal(
        400, "malformed", f"{field}: {detail}", field=field, remedy="Send a whole, well-formed body in UTF-8."
    )


def too_large(field: str, size: int | None, limit: int) -> Refusal:
    """Return the refusal for a payload over the limit. `size` is None while nobody knows it."""
    what = f"more than {limit}" if size is None else str(size)
    return refusal(
        413,
        "payload-too-large",
        f"{field}: {what} bytes, and the limit is {limit} bytes",
        field=field,
        remedy="Put large data into a file that the compute nodes see and send its path, or ask the admin for a "
        "higher limit.",
    )


def too_many(count: int | None, limit: int) -> Refusal:
    """Return the refusal for a batch of more invocations than the limit. `count` is None while nobody knows it."""
    what = f"more than {limit}" if count is None else str(count)
    return refusal(
        413,
        "payload-too-large",
        f"batch: {what} invocations, and the limit is {limit}",
        field="batch",
        remedy="Send them in several batches.",
    )


def unsupported(content_type: str, known: Iterable[str]) -> Refusal:
    """Return the refusal for a body of a type that is not supported here (415)."""
    *most, last = known
    return refusal(
        415,
        "unsupported-media-type",
        f"Content-Type {content_type or '(none)'} is not supported here",
        field="Content-Type",
        remedy=f"Send {', '.join(most)}{' or ' if most else ''}{last}.",
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
    """Make what `app` says of paths and methods that it does not know a problem document."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)


def answered(request: Request, error: Exception) -> Response:
    """Return the response for what a route raised."""
    if isinstance(error, Refusal):
        return answer(error)
    if isinstance(error, StoreError):
        return answer(store_refusal(error))
    path = _path(request)
    log.error("defect in %s %s", request.method, path, exc_info=error)
    return answer(
        refusal(
            500,
            "internal-error",
            f"{request.method} {path} failed because of a defect in the gateway ({type(error).__name__})",
            remedy="Report it with the gateway's log. What was acknowledged before is safe.",
        )
    )


async def _on_defect(request: Request, error: Exception) -> Response:
    return answered(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette hands each handler what it is installed for
    kind, remedy = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-"), ""
    path = _path(request)
    detail = f"{request.method} {path}: {error.detail}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        kind, detail = "unknown-path", f"there is nothing at {path}"
        remedy = "/openapi.json lists every path."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework's own Allow names the first route of a path only.
        allowed = ", ".join(_methods(request)) or (error.headers or {}).get("Allow", "")
        detail = f"{path} does not take {request.method}"
        remedy = f"It takes {allowed}." if allowed else "/openapi.json lists what each path takes."
        return answer(refusal(error.status_code, kind, detail, remedy=remedy, headers={"Allow": allowed}))
    return answer(refusal(error.status_code, kind, detail, remedy=remedy, headers=error.headers))


def _path(request: Request) -> str:
    """Return the path as an answer and the log tell it: enough of it to know it again."""
    path = request.url.path
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"


def _methods(request: Request) -> list[str]:
    """Return what the path of a request takes, as the OpenAPI document has it."""
    paths = request.app.openapi()["paths"]
    fitting = [paths[path] for path in paths if compile_path(path)[0].match(request.url.path)]
    return sorted({method.upper() for operations in fitting for method in operations})
