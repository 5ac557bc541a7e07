"""Batches: invoke a function many times at once."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from harvester.domain.blobs import BlobRef
from harvester_api.bodies import json_response
from harvester_api.documents import BatchAnswer
from harvester_api.gateway import Gateway
from harvester_api.intake import TakenBatch, read_batch, set_aside
from harvester_api.openapi import BATCH_BODY, json_of, operation
from harvester_api.order import Order
from harvester_api.orders import OPTIONS, function_of, key_of, options_of
from harvester_api.parameters import FUNCTION_NAME, KEY, PARENT, PYTHON, STREAM
from harvester_api.repeats import batch_key, fresh_ids
from harvester_api.routes.common import caller_of, gateway_of

router = APIRouter(tags=["invocations"])


@router.post(
    "/v1/functions/{name}/batches",
    **operation(
        "Invoke a function many times: all are accepted, or none.",
        {202: ("Accepted, and on disk.", json_of(BatchAnswer))},
        parameters=(FUNCTION_NAME, *OPTIONS, KEY, PYTHON, STREAM, PARENT),
        body=BATCH_BODY,
        refuses=(400, 404, 409, 413, 415, 422, 429, 507),
    ),
)
async def batch(request: Request) -> Response:
    """The ids come in the order of the batch. POST /v1/wait waits for many, a stream tells of their ends."""
    caller = caller_of(request)
    gateway = gateway_of(request)
    function = await function_of(request, gateway)
    options, key = options_of(request, caller), key_of(request)
    with gateway.pressure.holding() as held:
        taken = await read_batch(request, function, gateway.settings, held)
        order = Order(function=function, owner=caller.name, encoding=taken.encoding, arguments=b"", **options)
        ids = await _accepted(gateway, order, taken, key)
    return json_response(BatchAnswer(invocation_ids=ids), 202)


async def _accepted(gateway: Gateway, order: Order, taken: TakenBatch, key: str | None) -> list[str]:
    """Return the ids of the batch, also where it is one that came before under the same key.

    `order` is what all have in common.
    """
    count = len(taken.arguments)
    fresh, arguments = fresh_ids(count), list[bytes | BlobRef](taken.arguments)
    blobs = gateway.blobs
    if blobs is not None and max(map(len, taken.arguments), default=0) >= blobs.least:
        arguments = await set_aside(taken.arguments, fresh, blobs)
    # Nothing gives way to another request between this look and the moment when `accept` has taken the batch in.
    known = key and await gateway.repeats.batch(order.owner, key, order.function.name, count)
    if known:
        gateway.payloads.discard(arguments)
        gateway.restream(known, order.owner, order.stream)
        return known
    if not count:
        return []
    orders = [
        msgspec.structs.replace(order, arguments=each, invocation_id=invocation_id)
        for each, invocation_id in zip(arguments, fresh, strict=True)
    ]
    if key:
        orders[0] = msgspec.structs.replace(orders[0], key=batch_key(key))
    return await gateway.accept(orders, is_awaited=False)
