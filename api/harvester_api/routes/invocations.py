"""Invocations: invoke one, read, cancel, explain. Many at once are `batches`', waiting for results `results`' noun."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from harvester.domain.model.function_names import normal
from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import InvocationState
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import ARGUMENTS_BODY, RAW_RESULT, json_of, operation
from harvester_api.http.parameters import (
    DRAFT,
    FUNCTION_NAME,
    FUNCTION_PATH,
    INVOCATION_ID,
    KEY,
    OPTIONS,
    PARENT,
    PYTHON,
    RAW,
    STREAM,
    VERSION,
    WAIT,
    Parameter,
    choice_of,
    limit_of,
)
from harvester_api.invoking.body_intake import read_one
from harvester_api.invoking.invocation_request import invocation_request
from harvester_api.outcome import Outcome
from harvester_api.routes.common import (
    caller_of,
    document_response,
    expired_result,
    gateway_of,
    raw_result,
    site_of,
    visible,
)
from harvester_api.schemas.pilot_responses import pilot_document
from harvester_api.schemas.responses import (
    ExplanationDocument,
    InvocationDocument,
    InvocationPage,
    invocation_document,
)
from harvester_api.service.gateway import Gateway

router = APIRouter(tags=["invocations"])

STATE = choice_of("state", InvocationState, "Only those in this state.")
FUNCTION = Parameter(
    name="function", description="Only those of this function: a name, owner/name, or either with @version."
)
BEFORE = Parameter(name="before", description="Start after this id: `next` of the page before.")
LIMIT = limit_of(100, 1000)


@router.post(
    f"{FUNCTION_PATH}/invocations",
    **operation(
        "Invoke a function; with wait_s, wait for its end.",
        {
            202: ("Accepted, and on disk; `Location` is its URL.", json_of(InvocationDocument)),
            200: (
                "It has ended. The result's bytes alone if the caller asked for them and it succeeded.",
                RAW_RESULT,
            ),
        },
        parameters=(FUNCTION_NAME, *OPTIONS, WAIT, RAW, KEY, PYTHON, STREAM, DRAFT, PARENT),
        body=ARGUMENTS_BODY,
        refuses=(400, 404, 409, 410, 413, 415, 422, 429, 507),
    ),
)
async def invoke(request: Request) -> Response:
    """A failed invocation is answered with 200 and its document too, since the call itself was valid."""
    caller, gateway = caller_of(request), gateway_of(request)
    function = await gateway.function_to_call(caller, request.path_params["name"], VERSION.integer(request))
    wanted = invocation_request(request, caller, function, gateway.offers)
    with gateway.receiving(caller.name) as reception:
        new_id, arguments = await read_one(request, wanted.encoding, reception)
        invocation_id, is_new = await gateway.invoke(wanted, new_id, arguments, is_awaited=wanted.wait_s > 0)
    outcome = await gateway.look(invocation_id, wanted.wait_s)
    assert outcome is not None  # noqa: S101 - it was accepted, and nothing that is new is deleted
    if (
        is_new and not wanted.wait_s
    ):  # it may be over by now, and who does not wait still gets the answer that they expect
        return _accepted(outcome)
    return await _answered(gateway, outcome, wanted.is_raw)


def _accepted(outcome: Outcome) -> Response:
    record = outcome.record
    location = {"Location": f"/v1/invocations/{record.invocation_id}"}
    return json_response(invocation_document(Outcome(record=record)), 202, location)


async def _answered(gateway: Gateway, outcome: Outcome, is_raw: bool) -> Response:
    record = outcome.record
    if not outcome.is_ended:
        return _accepted(outcome)
    if record.purged_at is not None and is_raw:
        raise expired_result(record.invocation_id, record.purged_at)
    if record.state is not InvocationState.SUCCEEDED or record.purged_at is not None:
        return json_response(invocation_document(outcome))
    if is_raw:
        return raw_result(gateway, outcome, await gateway.located_result(outcome))
    if record.encoding is Encoding.JSON:
        outcome = Outcome(record=record, value=await gateway.result(outcome))
    return document_response(outcome)


@router.get(
    "/v1/invocations",
    **operation(
        "List invocations, newest first: yours, or everybody's for an admin.",
        {200: ("A page.", json_of(InvocationPage))},
        parameters=(STATE, FUNCTION, BEFORE, LIMIT),
        refuses=(422,),
    ),
)
async def invocations(request: Request) -> Response:
    """`next` is the `before` of the following page, null on the last."""
    caller = caller_of(request)
    limit = LIMIT.integer(request) or 100
    state, function, before = (
        STATE.choice(request, InvocationState),
        normal(FUNCTION.text(request) or "") or None,
        BEFORE.text(request) or None,
    )
    found = await gateway_of(request).invocations(_owner(caller), function, state, before, limit)
    items = [invocation_document(Outcome(record=record)) for record in found]
    return json_response(InvocationPage(items=items, next=found[-1].invocation_id if len(found) == limit else None))


def _owner(caller: Caller) -> str | None:
    return None if caller.may_see("") else caller.name


@router.get(
    "/v1/invocations/{invocation_id}",
    **operation(
        "Read an invocation with its activations; with wait_s, wait for its end.",
        {200: ("The invocation in its present state.", json_of(InvocationDocument))},
        parameters=(INVOCATION_ID, WAIT),
        refuses=(404, 422),
    ),
)
async def invocation(request: Request) -> Response:
    """A JSON result is part of the document; a pickled one is at …/result."""
    caller, gateway = caller_of(request), gateway_of(request)
    outcome = await visible(gateway, caller, request.path_params["invocation_id"], WAIT.seconds(request))
    return await _whole(gateway, outcome)


async def _whole(gateway: Gateway, outcome: Outcome, status: int = 200) -> Response:
    record = outcome.record
    is_kept = record.state is InvocationState.SUCCEEDED and record.purged_at is None
    if is_kept and record.encoding is Encoding.JSON:
        outcome = Outcome(record=record, value=await gateway.result(outcome))
    activations = await gateway.activations(record)
    return document_response(outcome, activations, status)


@router.post(
    "/v1/invocations/{invocation_id}/cancel",
    **operation(
        "Cancel an invocation; a slot that runs it is told to stop.",
        {
            200: ("It has ended: cancelled now, or ended before.", json_of(InvocationDocument)),
            202: ("It will end soon.", json_of(InvocationDocument)),
        },
        parameters=(INVOCATION_ID,),
        refuses=(404,),
    ),
)
async def cancel(request: Request) -> Response:
    """An invocation that has ended does not change."""
    caller, gateway = caller_of(request), gateway_of(request)
    before = await visible(gateway, caller, request.path_params["invocation_id"])
    if not before.is_ended:
        await gateway.cancel(before.record.invocation_id)
    after = await visible(gateway, caller, before.record.invocation_id)
    return await _whole(gateway, after, 200 if after.is_ended else 202)


@router.get(
    "/v1/invocations/{invocation_id}/explain",
    **operation(
        "Say why an invocation waits, or how it ended.",
        {200: ("The explanation.", json_of(ExplanationDocument))},
        parameters=(INVOCATION_ID,),
        refuses=(404,),
    ),
)
async def explained(request: Request) -> Response:
    """The summary is one sentence. The details of a waiting invocation say why there are no more pilots."""
    caller, gateway = caller_of(request), gateway_of(request)
    outcome = await visible(gateway, caller, request.path_params["invocation_id"])
    record = outcome.record
    why, pilots = await site_of(request).explain(outcome)
    document = ExplanationDocument(
        invocation_id=record.invocation_id,
        state=record.state,
        summary=why.summary,
        details=list(why.details),
        pilots=[pilot_document(pilot, live) for pilot, live in pilots],
    )
    return json_response(document)
