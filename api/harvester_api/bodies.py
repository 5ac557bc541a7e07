"""Bodies of requests, read raw and only up to a limit; answers, written raw.

Owns the limit and the JSON door; what a body means is the routes'.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from harvester_api.admission import JSON_TYPE, malformed, media_type, too_large
from harvester_api.problems import refusal

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


async def read_body(request: Request, limit: int, field: str = "arguments") -> bytes:
    """Return the body. Raises `Refusal` (413) as soon as it is known to be over `limit` bytes."""
    declared = request.headers.get("content-length")
    if declared is not None and declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise too_large(field, int(declared), limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(field, None, limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_json(request: Request, kind: type[T], limit: int, default: T | None = None) -> T:
    """Return the body as the record that it describes; `default`, where there is one, for no body.

    Raises `Refusal` (400, 413, 415, 422).
    """
    content_type = media_type(request.headers)
    if content_type not in {JSON_TYPE, ""}:
        raise refusal(
            415,
            "unsupported-media-type",
            f"Content-Type {content_type} is not understood here",
            field="Content-Type",
            remedy=f"Send {JSON_TYPE}.",
        )
    body = await read_body(request, limit, "body")
    if default is not None and not body:
        return default
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error, "body") from None


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401 - any record that encodes
    """Return `document` as JSON."""
    return Response(_encoder.encode(document), status_code=status, media_type=JSON_TYPE, headers=headers)
