"""An invocation request: what one request asks to run, as its headers and its query say it.

Owns the record, and how it is read out of a request. A batch has one for all of its invocations; the arguments come
beside it. Raises `Refusal` and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from fastapi import Request

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.payload.blobs import BlobRef
from harvester_api.http.auth import Caller
from harvester_api.http.parameters import DEADLINE, KEY, PARENT, PRIORITY, RAW, STREAM, TTL, VERSION, WAIT, headers_of
from harvester_api.media_types import CALLS_TYPE, PICKLE_TYPE
from harvester_api.problems import invalid
from harvester_api.runtime.open_invocations import OpenInvocation
from harvester_api.settings import Offer
from harvester_api.validation.arguments import encoding_of

STREAM_REMEDY = "Choose 8 to 64 letters, digits and hyphens; a UUID is a good id."

_STREAM = re.compile(STREAM.schema["pattern"])


class InvocationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What one request asks to run."""

    function: FunctionVersion
    owner: str
    encoding: Encoding
    key: str | None = None  # idempotency key; of a batch, its first invocation has it
    stream: str | None = None  # of its owner's: where its end is pushed
    parent: str = ""  # the invocation whose function has submitted it
    priority: int = 0
    ttl_s: float | None = None  # it is to start within this
    deadline_s: float | None = None  # it is to end within this
    is_version_asked: bool = False  # the version was named, so it is not merely the newest
    wait_s: float = 0.0  # how long the caller waits for its end
    is_raw: bool = False  # the caller wants the bytes of a result alone

    def opened(
        self, invocation_id: str, arguments: bytes | BlobRef, key: str | None, accepted_at: float
    ) -> OpenInvocation:
        """Return the entry of an invocation that is being accepted."""
        return OpenInvocation(
            invocation_id=invocation_id,
            function=self.function,
            owner=self.owner,
            encoding=self.encoding,
            accepted_at=accepted_at,
            arguments=arguments,
            key=key,
            priority=self.priority,
            start_by=None if self.ttl_s is None else accepted_at + self.ttl_s,
            end_by=None if self.deadline_s is None else accepted_at + self.deadline_s,
            stream=self.stream,
            parent=self.parent,
        )


def invocation_request(
    request: Request, caller: Caller, function: FunctionVersion, offers: Sequence[Offer], *, is_batch: bool = False
) -> InvocationRequest:
    """Return what `caller` asks to run. Raises `Refusal` (415, 422)."""
    headers = headers_of(request)
    stream, key, parent = (
        headers.get("harvester-stream"),
        headers.get("idempotency-key"),
        headers.get("harvester-parent") or caller.run,
    )
    if stream is not None and _STREAM.fullmatch(stream) is None:
        raise _invalid_stream(stream)
    if len(parent) > PARENT.schema["maxLength"]:
        raise invalid(PARENT.name, f"{parent[:80]!r} is not an invocation's id", "Name an invocation, or leave it out.")
    if key is not None and not 1 <= len(key) <= KEY.schema["maxLength"]:
        raise invalid(KEY.name, f"it has {len(key)} characters", "Send 1 to 200 characters; a UUID is a good key.")
    encoding = encoding_of(headers, function, offers, is_batch=is_batch)
    accepted = headers.get("accept", "")
    is_raw = PICKLE_TYPE in accepted or CALLS_TYPE in accepted
    if not request.scope["query_string"]:
        return InvocationRequest(
            function=function,
            owner=caller.name,
            encoding=encoding,
            key=key,
            stream=stream,
            parent=parent,
            is_raw=is_raw,
        )
    return InvocationRequest(
        function=function,
        owner=caller.name,
        encoding=encoding,
        key=key,
        stream=stream,
        parent=parent,
        priority=PRIORITY.integer(request) or 0,
        ttl_s=TTL.duration(request),
        deadline_s=DEADLINE.duration(request),
        is_version_asked=VERSION.text(request) is not None,
        wait_s=WAIT.seconds(request),
        is_raw=is_raw or RAW.flag(request),
    )


def stream_of(request: Request) -> str | None:
    """Return the stream that is to be told of ends. Raises `Refusal` (422)."""
    stream = headers_of(request).get("harvester-stream")
    if stream is not None and _STREAM.fullmatch(stream) is None:
        raise _invalid_stream(stream)
    return stream


def _invalid_stream(stream: str) -> Exception:
    return invalid(STREAM.name, f"{stream[:80]!r} is not a stream's id", STREAM_REMEDY)
