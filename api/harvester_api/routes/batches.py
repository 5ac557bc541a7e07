"""Batches: invoke a function many times at once."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import BATCH_BODY, json_of, operation
from harvester_api.http.parameters import FUNCTION_NAME, FUNCTION_PATH, KEY, OPTIONS, PARENT, PYTHON, STREAM, VERSION
from harvester_api.invoking.batch_intake import read_batch
from harvester_api.invoking.invocation_request import invocation_request
from harvester_api.routes.common import caller_of, gateway_of
from harvester_api.schemas.responses import BatchAnswer

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
    """The ids are in the order of the batch. Wait for them with POST /v1/wait, or receive their ends on a stream."""
    caller, gateway = caller_of(request), gateway_of(request)
    function = await gateway.function_to_call(caller, request.path_params["name"], VERSION.integer(request))
    wanted = invocation_request(request, caller, function, gateway.offers, is_batch=True)
    with gateway.receiving(caller.name) as reception:
        new_ids, arguments = await read_batch(request, wanted.encoding, reception)
        ids = await gateway.invoke_batch(wanted, new_ids, arguments)
    return json_response(BatchAnswer(invocation_ids=ids), 202)
