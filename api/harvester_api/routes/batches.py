"""Batches: invoke a function many times at once."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import BATCH_BODY, json_of, operation
from harvester_api.http.parameters import FUNCTION_NAME, FUNCTION_PATH, KEY, PARENT, PYTHON, STREAM
from harvester_api.invoking.batch_intake import TakenBatch, pieces, read_batch, set_aside
from harvester_api.invoking.body_intake import Arguments
from harvester_api.invoking.idempotency import all_ids, batch_key, fresh_ids
from harvester_api.invoking.order import Arrivals, Order, opened_with
from harvester_api.routes.common import caller_of, gateway_of
from harvester_api.routes.orders import OPTIONS, function_of, key_of, options_of
from harvester_api.schemas.responses import BatchAnswer
from harvester_api.service.gateway import Gateway

router = APIRouter(tags=["invocations"])


@router.post(
    f"{FUNCTION_PATH}/batches",
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
    function = await function_of(request, gateway, caller)
    options, key = options_of(request, caller), key_of(request)
    with gateway.pressure.holding() as held:
        taken = await read_batch(request, function, gateway.door(caller.name), held)
        order = Order(function=function, owner=caller.name, encoding=taken.encoding, arguments=b"", **options)
        ids = await _accepted(gateway, order, taken, key)
    return json_response(BatchAnswer(invocation_ids=ids), 202)


async def _accepted(gateway: Gateway, order: Order, taken: TakenBatch, key: str | None) -> list[str]:
    """Return the ids of the batch, also where it is one that came before under the same key.

    `order` is what all have in common.
    """
    count = len(taken.arguments)
    fresh = await all_ids(fresh_ids(1)[0], count)
    arguments = await set_aside(taken.arguments, fresh, gateway.blobs)
    groups = [
        _arrivals(order, piece, key, gateway.clock())
        async for piece in pieces(list(enumerate(zip(fresh, arguments, strict=True))))
    ]
    # Nothing gives way to another request between this look and the moment when `accept_many` has begun the batch.
    known = key and await gateway.repeats.batch(order.owner, key, order.function, count)
    if known:
        gateway.payloads.discard(arguments)
        async for piece in pieces(known):
            gateway.restream(piece, order.owner, order.stream)
        return known
    if groups:
        await gateway.acceptances.accept_many(groups, is_awaited=False)
    return fresh


def _arrivals(
    order: Order, piece: Sequence[tuple[int, tuple[str, Arguments]]], key: str | None, now: float
) -> Arrivals:
    """Return a few invocations of a batch; the first one of all has the key."""
    entries = []
    for index, (invocation_id, arguments) in piece:
        its_key = batch_key(key) if key and not index else None
        entries.append(opened_with(invocation_id, order, now, arguments, its_key))
    return Arrivals.of(entries)
