"""Invocations: invoke one, read, cancel, explain. Many at once are `batches`', waiting for results `results`' noun."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from harvester.domain.dispatch.explain import Explanation, explain
from harvester.domain.model.function_names import normal
from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import InvocationState
from harvester.store.store import StoreError
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import ARGUMENTS_BODY, RAW_RESULT, json_of, operation
from harvester_api.http.parameters import (
    DRAFT,
    FUNCTION_NAME,
    FUNCTION_PATH,
    INVOCATION_ID,
    KEY,
    PARENT,
    PYTHON,
    STREAM,
    WAIT,
    Parameter,
    choice_of,
    headers_of,
    limit_of,
)
from harvester_api.invoking.body_intake import read_one
from harvester_api.invoking.order import Order
from harvester_api.media_types import CALLS_TYPE, PICKLE_TYPE
from harvester_api.outcome import Outcome
from harvester_api.problems import Refusal
from harvester_api.routes.common import (
    caller_of,
    document_response,
    expired_result,
    gateway_of,
    raw_result,
    visible,
)
from harvester_api.routes.orders import OPTIONS, function_of, key_of, options_of
from harvester_api.schemas import daemon_status
from harvester_api.schemas.pilot_responses import pilot_document
from harvester_api.schemas.responses import (
    ExplanationDocument,
    InvocationDocument,
    InvocationPage,
    invocation_document,
)
from harvester_api.service import readiness
from harvester_api.service.gateway import Gateway

router = APIRouter(tags=["invocations"])

RAW = Parameter(
    name="raw",
    description="1: answer a result within wait_s with its bytes alone.",
    schema={"type": "boolean", "default": False},
)
STATE = choice_of("state", InvocationState, "Only those in this state.")
FUNCTION = Parameter(
    name="function", description="Only those of this function: a name, owner/name, or either with @version."
)
BEFORE = Parameter(name="before", description="Start behind this id: `next` of the page before.")
LIMIT = limit_of(100, 1000)


@router.post(
    f"{FUNCTION_PATH}/invocations",
    **operation(
        "Invoke a function, and wait for its end if you like.",
        {
            202: ("Accepted, and on disk; Location leads to it.", json_of(InvocationDocument)),
            200: (
                "It has ended. The result's bytes alone where they were asked for and it succeeded.",
                RAW_RESULT,
            ),
        },
        parameters=(FUNCTION_NAME, *OPTIONS, WAIT, RAW, KEY, PYTHON, STREAM, DRAFT, PARENT),
        body=ARGUMENTS_BODY,
        refuses=(400, 404, 409, 410, 413, 415, 422, 429, 507),
    ),
)
async def invoke(request: Request) -> Response:
    """A FAILED invocation is answered with its document too: the call itself was in order."""
    caller = caller_of(request)
    gateway = gateway_of(request)
    settings = gateway.settings
    function = await function_of(request, gateway, caller)
    wait_s = min(WAIT.seconds(request), settings.max_wait.total_seconds())
    is_raw = RAW.flag(request) or _asks_for_bytes(request)
    options, key = options_of(request, caller), key_of(request)
    with gateway.pressure.holding() as held:
        taken = await read_one(request, function, gateway.door(caller.name), held)
        order = Order(
            function=function,
            owner=caller.name,
            encoding=taken.encoding,
            arguments=taken.arguments,
            invocation_id=taken.invocation_id,
            key=key,
            **options,
        )
        invocation_id = key and await _repeated(request, gateway, order, key)
        is_fresh = invocation_id is None
        if invocation_id is None:
            invocation_id = await gateway.acceptances.accept(order, is_awaited=wait_s > 0)
    outcome = await gateway.look(invocation_id, wait_s)
    assert outcome is not None  # noqa: S101 - it was accepted, and nothing that is fresh is deleted
    if is_fresh and not wait_s:  # it may be over by now, and who does not wait still gets the answer that they expect
        return _accepted(outcome)
    return await _answered(gateway, outcome, is_raw)


def _asks_for_bytes(request: Request) -> bool:
    accepted = headers_of(request).get("accept")
    return accepted is not None and (PICKLE_TYPE in accepted or CALLS_TYPE in accepted)


async def _repeated(request: Request, gateway: Gateway, order: Order, key: str) -> str | None:
    """Return the invocation that came before under the same key.

    Nothing gives way to another request between this look at a new key and the moment when `accept` has it.
    """
    is_version_asked = "version" in request.query_params
    found: str | None = None
    try:
        found = await gateway.repeats.invocation(
            order.owner, key, order.function, order.arguments, is_version_asked=is_version_asked
        )
    except (Refusal, StoreError):
        gateway.payloads.discard([order.arguments])
        raise
    if found is not None:
        gateway.payloads.discard([order.arguments])
        gateway.restream([found], order.owner, order.stream)
    return found


def _accepted(outcome: Outcome) -> Response:
    location = {"Location": f"/v1/invocations/{outcome.record.invocation_id}"}
    return json_response(invocation_document(Outcome(record=outcome.record)), 202, location)


async def _answered(gateway: Gateway, outcome: Outcome, is_raw: bool) -> Response:
    record = outcome.record
    if not outcome.is_ended:
        return _accepted(outcome)
    if record.purged_at is not None and is_raw:
        raise expired_result(record.invocation_id, record.purged_at)
    if record.state is not InvocationState.SUCCEEDED or record.purged_at is not None:
        return json_response(invocation_document(outcome))
    if is_raw:
        return raw_result(gateway, outcome, await gateway.payloads.located(outcome))
    if record.encoding is Encoding.JSON:
        outcome = Outcome(record=record, value=await gateway.payloads.value(outcome))
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
    store = gateway_of(request).store
    found = await asyncio.to_thread(
        lambda: store.invocations(owner=_owner(caller), function=function, state=state, before=before, limit=limit)
    )
    items = [invocation_document(Outcome(record=record)) for record in found]
    return json_response(InvocationPage(items=items, next=found[-1].invocation_id if len(found) == limit else None))


def _owner(caller: Caller) -> str | None:
    return None if caller.may_see("") else caller.name


@router.get(
    "/v1/invocations/{invocation_id}",
    **operation(
        "Read an invocation with its activations, and wait for its end if you like.",
        {200: ("The invocation as it stands.", json_of(InvocationDocument))},
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
        outcome = Outcome(record=record, value=await gateway.payloads.value(outcome))
    activations = await asyncio.to_thread(gateway.store.activations, record.invocation_id)
    if len(activations) < record.attempts:  # the newest is known here and about to be written
        await gateway.journal.settle(timedelta(seconds=1))
        activations = await asyncio.to_thread(gateway.store.activations, record.invocation_id)
    return document_response(outcome, activations, status)


@router.post(
    "/v1/invocations/{invocation_id}/cancel",
    **operation(
        "Cancel an invocation; a slot that runs it is told to stop.",
        {
            200: ("It is over: cancelled, or it had ended before.", json_of(InvocationDocument)),
            202: ("It will be over soon.", json_of(InvocationDocument)),
        },
        parameters=(INVOCATION_ID,),
        refuses=(404,),
    ),
)
async def cancel(request: Request) -> Response:
    """One that has ended stays as it ended."""
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
    """The summary is one sentence. The details of one that waits end with why there are no more pilots."""
    caller, gateway = caller_of(request), gateway_of(request)
    outcome = await visible(gateway, caller, request.path_params["invocation_id"])
    record = outcome.record
    pilots = await asyncio.to_thread(gateway.store.pilots, live=True)
    why = explain(gateway.dispatcher, record.invocation_id, gateway.clock(), [pilot.state for pilot in pilots])
    if why is None or outcome.is_ended:
        failure = f": {record.failure.message}" if record.failure is not None else ""
        verb = "is" if record.state is InvocationState.CANCELLED or not outcome.is_ended else "has"
        why = Explanation(summary=f"It {verb} {record.state.value}{failure}.")
    details = list(why.details)
    if record.state is InvocationState.ACCEPTED:
        trouble = readiness.told(gateway)
        details += daemon_status.words(
            await asyncio.to_thread(daemon_status.read, gateway.store, gateway.clock(), trouble)
        )
    document = ExplanationDocument(
        invocation_id=record.invocation_id,
        state=record.state,
        summary=why.summary,
        details=details,
        pilots=[pilot_document(pilot, gateway.dispatcher.pilot(pilot.pilot_id)) for pilot in pilots],
    )
    return json_response(document)
