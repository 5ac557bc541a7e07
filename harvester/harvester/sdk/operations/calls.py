"""Invocations by name: call, start, wait for a result. What runs many at once is `session`.

Owns the routes of a single invocation, as operations that know no socket.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from harvester.domain.model.functions import Encoding
from harvester.domain.payload.decoding import UNREADABLE
from harvester.sdk.errors import GatewayError
from harvester.sdk.http.messages import Operation, Request, json_request, wrong_answer
from harvester.sdk.options import make_options
from harvester.sdk.payload.payloads import (
    CONTENT_TYPE,
    PICKLE_TYPE,
    EndedDocument,
    decode_result,
    encode_arguments,
    encoding_of,
)
from harvester.sdk.payload.shipping import PYTHON
from harvester.sdk.registration.target import Target

WAIT_S = 20.0  # of one long-poll


def invoke(
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    version: int | None = None,
    encoding: Encoding | str = Encoding.JSON,
    timeout: float | None = None,
    priority: int | None = None,
    ttl: timedelta | float | None = None,
    deadline: timedelta | float | None = None,
) -> Operation[Any]:
    """Invoke a registered function by its name and wait for its result.

    Parameters
    ----------
    version: None for the newest.
    encoding: "json" or "pickle", for arguments and result.
    timeout: in seconds; `TimeoutError` when it is over, and the invocation goes on.
    priority, ttl, deadline: see `make_options`.

    Raises `InvocationFailed`, `CancelledError`, `GatewayError`.
    """
    end_at = None if timeout is None else time.monotonic() + timeout
    asked = make_options(priority, ttl, deadline).params()
    target = Target(name=name, version=version)
    answer = yield _submission(target, args, kwargs or {}, _encoding(encoding), _slice(end_at), asked=asked)
    if answer.content_type == PICKLE_TYPE:
        return decode_result(answer.headers.get("harvester-invocation", ""), Encoding.PICKLE, answer.body)
    document = answer.json()
    if document.get("state") == "succeeded" and "result" in document:
        return document["result"]
    return (yield from _result(document["invocation_id"], end_at))


def start(
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    version: int | None = None,
    encoding: Encoding | str = Encoding.JSON,
    priority: int | None = None,
    ttl: timedelta | float | None = None,
    deadline: timedelta | float | None = None,
) -> Operation[str]:
    """Invoke a registered function by its name and return the invocation's id. Parameters as for `invoke`."""
    asked = make_options(priority, ttl, deadline).params()
    target = Target(name=name, version=version)
    answer = yield _submission(target, args, kwargs or {}, _encoding(encoding), 0.0, asked=asked)
    if "harvester-invocation" in answer.headers:
        return answer.headers["harvester-invocation"]
    return str(answer.json()["invocation_id"])


def result(invocation_id: str, timeout: float | None = None) -> Operation[Any]:
    """Wait for an invocation and return its result.

    Raises `InvocationFailed`, `CancelledError`, `GatewayError`, and `TimeoutError` after `timeout` seconds.
    """
    return _result(invocation_id, None if timeout is None else time.monotonic() + timeout)


def fetch(invocation_id: str) -> Operation[Any]:
    """Return the result of an invocation that has succeeded. Raises `InvocationFailed`, `GatewayError`."""
    answer = yield Request(method="GET", path=_result_path(invocation_id))
    if answer.status != 200:
        raise wrong_answer(answer.status, f"invocation {invocation_id} has succeeded and has no result yet")
    return decode_result(invocation_id, encoding_of(answer.content_type), answer.body)


class WaitReply(msgspec.Struct, frozen=True, kw_only=True):
    """What /v1/wait says."""

    ended: list[EndedDocument]
    pending: list[str]


def ends(ids: Sequence[str], stream_id: str = "") -> Operation[WaitReply]:
    """Return which of these have ended by now, and how. Of the others the stream that is named tells from now on."""
    question = {"invocation_ids": list(ids), "wait_s": 0, "results": True}
    answer = yield json_request(
        "POST", "/v1/wait", question, headers={"Harvester-Stream": stream_id} if stream_id else None
    )
    try:
        return msgspec.json.decode(answer.body, type=WaitReply)
    except UNREADABLE as error:
        raise wrong_answer(answer.status, f"POST /v1/wait: {error}") from error


def _result_path(invocation_id: str) -> str:
    return f"/v1/invocations/{quote(invocation_id, safe='')}/result"


def _result(invocation_id: str, end_at: float | None) -> Operation[Any]:
    while True:
        wait_s = _slice(end_at)
        request = Request(
            method="GET", path=_result_path(invocation_id), params={"wait_s": f"{wait_s:g}"}, wait_s=wait_s
        )
        refusal = None
        try:
            answer = yield request
        except GatewayError as error:
            if error.status != 409:
                raise
            refusal = error
        if refusal is not None:
            # It ended without a result; this answer tells why. Not raised above: `from None` would take its cause away.
            said = yield from ends([invocation_id])
            raise next(filter(None, (ended.error() for ended in said.ended)), refusal)
        if answer.status == 200:
            return decode_result(invocation_id, encoding_of(answer.content_type), answer.body)
        if end_at is not None and time.monotonic() >= end_at:
            raise TimeoutError(f"invocation {invocation_id} has not ended yet; it goes on, ask for its result later")


def _submission(
    target: Target,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    encoding: Encoding,
    wait_s: float,
    *,
    asked: Mapping[str, str],
) -> Request:
    headers = {
        "Content-Type": CONTENT_TYPE[encoding],
        "Accept": CONTENT_TYPE[encoding],
        # A repeated request must not become a second invocation.
        "Idempotency-Key": str(uuid.uuid4()),
    }
    if encoding is Encoding.PICKLE:
        headers["Harvester-Python"] = PYTHON
    return Request(
        method="POST",
        path=f"{target.path}/invocations",
        params={**target.params, **asked, "wait_s": f"{wait_s:g}"},
        headers=headers,
        content=encode_arguments(args, kwargs, encoding),
        wait_s=wait_s,
    )


def _encoding(said: Encoding | str) -> Encoding:
    if said not in CONTENT_TYPE or said == Encoding.CALLS:  # which is the SDK's own
        raise ValueError(f'encoding must be "json" or "pickle", not {said!r}')
    return Encoding(said)


def _slice(end_at: float | None) -> float:
    """Return how long the gateway may hold the next request."""
    return WAIT_S if end_at is None else max(0.0, min(WAIT_S, end_at - time.monotonic()))
