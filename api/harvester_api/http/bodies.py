"""Bodies of requests, read raw and only up to a limit; answers, written raw.

Owns the limit and the JSON door; what a body means is the routes'.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from harvester_api.http.body_spool import KEPT_BYTES, Spool
from harvester_api.http.parameters import headers_of
from harvester_api.media_types import JSON_TYPE, media_type
from harvester_api.problems import malformed, too_large, unsupported

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_JSON_TYPE = JSON_TYPE.encode()

_MOST_DIGITS = 18  # of a length that may be told
MOST_ELEMENTS = 10_000  # decoding more of them would hold the event loop for more than a few milliseconds
COUNTED_BYTES = 64 * 1024  # smaller bodies are bounded by the number of connections


async def read_body(request: Request, limit: int, field: str = "arguments") -> bytes:
    """Return a body that is small, by what it declares (`check_length`) or by `limit`.

    Raises `Refusal` (413) as soon as it is known to be over `limit` bytes.
    """
    first = await request.receive()
    if first["type"] == "http.request" and not first.get("more_body", False):  # the usual case, without a generator
        body: bytes = first.get("body", b"")
        if len(body) > limit:
            raise too_large(field, len(body), limit)
        return body
    chunks: list[bytes] = []
    size = 0
    async for chunk in chunks_of(first, request.receive):
        size += len(chunk)
        check_size(size, limit, field)
        chunks.append(chunk)
    return b"".join(chunks)


async def chunks_of(message: Message, receive: Receive) -> AsyncIterator[bytes]:
    """Yield the chunks of a body that begins with `message`. Raises `ClientDisconnect`."""
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if chunk := message.get("body"):
            yield chunk
        if not message.get("more_body", False):
            return
        message = await receive()


def check_size(size: int, limit: int, field: str) -> None:
    """Check what has come of a body so far. Raises `Refusal` (413)."""
    if size > limit:
        raise too_large(field, None, limit)


def check_length(headers: Mapping[str, str], limit: int, field: str) -> int | None:
    """Return the length that a request declares, if it does. Raises `Refusal` (413) for one over `limit`."""
    declared = headers.get("content-length")
    if declared is None or not declared.isascii() or not declared.isdigit():
        return None
    digits = declared.lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS:  # first: `int` raises for thousands of them
        raise too_large(field, None, limit)
    if int(digits) > limit:
        raise too_large(field, int(digits), limit)
    return int(digits)


async def read_json(request: Request, kind: type[T], limit: int, default: T | None = None) -> T:
    """Return a small body as the record that it describes; `default`, where there is one, for no body.

    Raises `Refusal` (400, 413, 415, 422).
    """
    _check_is_json(request)
    check_length(headers_of(request), limit, "body")
    body = await read_body(request, limit, "body")
    return default if default is not None and not body else decoded(body, kind)


async def read_json_into(spool: Spool, request: Request, limit: int) -> None:
    """Read a body that may be large. Raises `Refusal` (413, 415)."""
    _check_is_json(request)
    check_length(headers_of(request), limit, "body")
    async for chunk in chunks_of(await request.receive(), request.receive):
        check_size(spool.size + len(chunk), limit, "body")
        spool.write(chunk)


def _check_is_json(request: Request) -> None:
    content_type = media_type(headers_of(request))
    if content_type not in {JSON_TYPE, ""}:
        raise unsupported(content_type, [JSON_TYPE])


def decoded(body: bytes, kind: type[T]) -> T:
    """Return the record that a body describes. Raises `Refusal` (400, 422)."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error, "body") from None


class JsonResponse(Response):
    """An answer in JSON. Its headers are written as they leave: Starlette's own way costs as much as the encoding."""

    media_type = JSON_TYPE

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", _JSON_TYPE)]
        if headers:
            self.raw_headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ANN401 - any record that encodes
    """Return `document` as JSON."""
    return JsonResponse(_encoder.encode(document), status, headers)


def is_quick(body: bytes) -> bool:
    """Whether JSON is decoded on the event loop: each object that comes out of it has a comma before or after it."""
    return len(body) <= KEPT_BYTES and body.count(b",") + body.count(b"\n") <= MOST_ELEMENTS


SENT_BYTES = 1024 * 1024  # of a large answer at a time


class LargeResponse(Response):
    """An answer made of parts, sent a piece at a time, so that the event loop never copies or encrypts much at once."""

    def __init__(self, parts: Sequence[bytes], media_type: str, headers: dict[str, str] | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.media_type = media_type
        self._parts = parts
        self.init_headers({**(headers or {}), "Content-Length": str(sum(map(len, parts)))})

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer the request."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for part in self._parts:
            for at in range(0, len(part), SENT_BYTES):
                await send({"type": "http.response.body", "body": part[at : at + SENT_BYTES], "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def bytes_response(body: bytes, media_type: str, headers: dict[str, str] | None = None) -> Response:
    """Return bytes as they are."""
    if len(body) <= SENT_BYTES:
        return Response(body, media_type=media_type, headers=headers)
    return LargeResponse([body], media_type, headers)
