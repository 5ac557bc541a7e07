"""What a request wants run: the function, the options, the key, the stream. The arguments are `body_intake`'s.

Owns how those are read out of a request; raises `Refusal` and changes nothing.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import Request

from harvester.domain.model.functions import FunctionVersion
from harvester_api.http.auth import Caller
from harvester_api.http.parameters import DEADLINE, KEY, PARENT, PRIORITY, STREAM, TTL, VERSION, headers_of
from harvester_api.problems import invalid
from harvester_api.service.gateway import Gateway
from harvester_api.validation.capacity import check_fits, check_python

OPTIONS = (VERSION, PRIORITY, TTL, DEADLINE)
_STREAM = re.compile(STREAM.schema["pattern"])


async def function_of(request: Request, gateway: Gateway, caller: Caller) -> FunctionVersion:
    """Return the function that is to be invoked, if a configured pilot can still run it."""
    function = await gateway.catalog.find(caller, request.path_params["name"], VERSION.integer(request))
    offers = gateway.settings.offers
    if offers:
        if function.python:
            check_python(function.python, offers, "function", "Register it anew from")
        check_fits(function, offers)
    return function


def options_of(request: Request, caller: Caller) -> dict[str, Any]:
    """Return the options of an `Order` that a request names."""
    headers = headers_of(request)
    stream = stream_of(request)
    parent = headers.get("harvester-parent") or caller.run
    if len(parent) > PARENT.schema["maxLength"]:
        raise invalid(PARENT.name, f"{parent[:80]!r} is no invocation's id", "Name an invocation, or leave it out.")
    if not request.scope["query_string"]:
        return {"stream": stream, "parent": parent}
    return {
        "priority": PRIORITY.integer(request) or 0,
        "ttl_s": TTL.duration(request),
        "deadline_s": DEADLINE.duration(request),
        "stream": stream,
        "parent": parent,
    }


def stream_of(request: Request) -> str | None:
    """Return the stream that is to be told of ends."""
    stream = headers_of(request).get("harvester-stream")
    if stream is not None and _STREAM.fullmatch(stream) is None:
        raise invalid(STREAM.name, f"{stream[:80]!r} is no stream's id", STREAM_REMEDY)
    return stream


STREAM_REMEDY = "Choose 8 to 64 letters, digits and hyphens; a UUID is a good id."


def key_of(request: Request) -> str | None:
    """Return the idempotency key."""
    key = headers_of(request).get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 200:
        raise invalid(KEY.name, f"it has {len(key)} characters", "Send 1 to 200 characters; a UUID is a good key.")
    return key
