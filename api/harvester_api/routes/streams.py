"""Streams: ends as they come, for clients that hold a connection open."""

from __future__ import annotations

import asyncio
import logging
import re

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from harvester.domain.protocol.stream import STREAM_TYPE
from harvester_api.http.openapi import BINARY, operation
from harvester_api.http.parameters import STREAM_ID, headers_of
from harvester_api.invoking.invocation_request import STREAM_REMEDY
from harvester_api.problems import invalid, refusal
from harvester_api.routes.common import caller_of, streams_of
from harvester_api.runtime.streams import Events, Frames, Streams

router = APIRouter(tags=["streams"])
log = logging.getLogger(__name__)

EVENTS_TYPE = "text/event-stream"
ALIVE_S = 10.0  # a sign of life after so long without news
GONE_S = 1.0  # within which the server tells of a client that has gone

_ID = re.compile(STREAM_ID.schema["pattern"])
_EVENTS_CONTENT = {EVENTS_TYPE: {"schema": {"type": "string"}}}


class StreamResponse(Response):
    """Carries what a listener has to say, until it is over or the client has gone."""

    def __init__(self, streams: Streams, listener: Frames | Events) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self._streams, self._listener = streams, listener
        self.media_type = EVENTS_TYPE if isinstance(listener, Events) else STREAM_TYPE
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]  # nobody knows it

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        listener = self._listener
        watching = asyncio.create_task(_until_gone(receive, listener))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            piece: bytes | None = listener.sign_of_life()  # at once: so the client knows that it is listened to
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await listener.piece(ALIVE_S)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, RuntimeError) as error:  # uvloop's word for a connection that was reset a moment ago
            log.debug("a listener of %s has gone: %s", listener.owner, error)
            await asyncio.wait({watching}, timeout=GONE_S)  # uvicorn learns of it in a moment
        finally:
            self._streams.close(listener)
            watching.cancel()
            await asyncio.wait({watching})


async def _until_gone(receive: Receive, listener: Frames | Events) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()


@router.get(
    "/v1/streams/{stream_id}",
    **operation(
        "Receive the ends of the invocations that name this stream.",
        {
            200: (
                "Ends, once they are on disk, until the client or the gateway disconnects.",
                {STREAM_TYPE: {"schema": BINARY}, **_EVENTS_CONTENT},
            )
        },
        parameters=(STREAM_ID,),
        refuses=(406, 422, 429),
    ),
)
async def stream(request: Request) -> Response:
    """As frames of MessagePack, or with Accept: text/event-stream as server-sent events. Each end is sent
    once: a client that was not connected asks for it. Opening the stream again ends the former connection.
    """
    caller, streams = caller_of(request), streams_of(request)
    stream_id = request.path_params["stream_id"]
    if _ID.fullmatch(stream_id) is None:
        raise invalid(STREAM_ID.name, f"{stream_id[:80]!r} is not a stream's id", STREAM_REMEDY)
    as_events = _accepted(request, STREAM_TYPE, EVENTS_TYPE) == EVENTS_TYPE
    return StreamResponse(streams, streams.open(caller.name, stream_id, as_events=as_events))


@router.get(
    "/v1/events",
    **operation(
        "Receive states and results of your invocations; an admin receives everybody's.",
        {200: ("Server-sent events `state` and `result`, each with the invocation's document.", _EVENTS_CONTENT)},
        refuses=(406, 429),
    ),
)
async def events(request: Request) -> Response:
    """The result is part of the document where it is JSON and small."""
    caller, streams = caller_of(request), streams_of(request)
    _accepted(request, EVENTS_TYPE)
    return StreamResponse(streams, streams.watch(caller.name, sees_all=caller.may_see("")))


def _accepted(request: Request, *offered: str) -> str:
    """Return which of `offered` a request accepts, the first one where it accepts any. Raises `Refusal` (406)."""
    accepted = headers_of(request).get("accept", "*/*").lower()
    for media_type in offered:
        if media_type in accepted:
            return media_type
    if "*/*" in accepted or any(f"{media_type.partition('/')[0]}/*" in accepted for media_type in offered):
        return offered[0]
    raise refusal(
        406,
        "not-acceptable",
        f"Accept: {accepted[:100]} does not name what is served here",
        field="Accept",
        remedy=f"Accept {' or '.join(offered)}.",
    )
