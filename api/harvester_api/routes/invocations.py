"""Invocations: invoke one or many, read, cancel, explain. Waiting for results is `results`' noun."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import msgspec
from fastapi import APIRouter, Request, Response

from harvester.domain.explain import Explanation, explain
from harvester.domain.functions import Encoding, FunctionVersion
from harvester.domain.invocations import InvocationState
from harvester_api import standing
from harvester_api.admission import (
    JSON_TYPE,
    PICKLE_TYPE,
    check_arguments,
    check_batch,
    too_many,
)
from harvester_api.auth import Caller
from harvester_api.bodies import json_response, read_body
from harvester_api.book import Outcome
from harvester_api.declared import DeclaredRoute
from harvester_api.documents import (
    BatchAnswer,
    ExplanationDocument,
    InvocationDocument,
    InvocationPage,
    invocation_document,
    pilot_document,
)
from harvester_api.gateway import Gateway, Order
from harvester_api.offers import check_fits, check_python
from harvester_api.openapi import ARGUMENTS_BODY, BATCH_BODY, RAW_RESULT, json_of, operation
from harvester_api.parameters import FUNCTION_NAME, INVOCATION_ID, VERSION, WAIT, Parameter, choice_of, limit_of
from harvester_api.problems import refusal
from harvester_api.repeats import batch_key
from harvester_api.routes.common import caller_of, gateway_of, visible

router = APIRouter(tags=["invocations"], route_class=DeclaredRoute)

RAW = Parameter(
    name="raw",
    description="1: answer a result within wait_s with its bytes alone.",
    schema={"type": "boolean", "default": False},
)
KEY = Parameter(
    name="Idempotency-Key",
    where="header",
    description="The same key of the same caller makes a repeated call the same invocation, or the same batch.",
    schema={"type": "string", "minLength": 1, "maxLength": 200},
)
PYTHON = Parameter(
    name="Harvester-Python",
    where="header",
    description="For pickles: the minor version of the Python that made them, like 3.11.",
)
STATE = choice_of("state", InvocationState, "Only those in this state.")
FUNCTION = Parameter(name="function", description="Only those of this function.")
BEFORE = Parameter(name="before", description="Start behind this id: `next` of the page before.")
LIMIT = limit_of(100, 1000)


async def _function(request: Request, gateway: Gateway) -> FunctionVersion:
    """Return the function that is to be invoked, if a configured pilot can still run it."""
    function = await gateway.catalog.find(request.path_params["name"], VERSION.integer(request))
    offers = gateway.settings.offers
    if function.python:
        check_python(function.python, offers, "function", "Register it anew from")
    check_fits(function, offers)
    return function


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 200:
        raise refusal(
            422,
            "invalid-field",
            f"Idempotency-Key: it has {len(key)} characters",
            field="Idempotency-Key",
            remedy="Send 1 to 200 characters; a UUID is a good key.",
        )
    return key


@router.post(
    "/v1/functions/{name}/invocations",
    **operation(
        "Invoke a function, and wait for its end if you like.",
        {
            202: ("Accepted, and on disk; Location leads to it.", json_of(InvocationDocument)),
            200: (
                "It has ended. The result's bytes alone where they were asked for and it succeeded.",
                {JSON_TYPE: {"schema": {}}, PICKLE_TYPE: RAW_RESULT[PICKLE_TYPE]},
            ),
        },
        parameters=(FUNCTION_NAME, VERSION, WAIT, RAW, KEY, PYTHON),
        body=ARGUMENTS_BODY,
        refuses=(400, 404, 409, 413, 415, 422, 507),
    ),
)
async def invoke(request: Request) -> Response:
    """A FAILED invocation is answered with its document too: the call itself was in order."""
    caller = caller_of(request)
    gateway = gateway_of(request)
    settings = gateway.settings
    function = await _function(request, gateway)
    wait_s = min(WAIT.seconds(request), settings.max_wait.total_seconds())
    is_raw = RAW.flag(request) or PICKLE_TYPE in request.headers.get("accept", "")
    body = await read_body(request, settings.payload_limit_bytes)
    encoding, arguments = check_arguments(body, request.headers, function, settings.offers)
    order = Order(function=function, owner=caller.name, encoding=encoding, arguments=arguments, key=_key(request))
    # Nothing gives way to another request between this look at a new key and the moment when `accept` has it.
    invocation_id = order.key and await gateway.repeats.invocation(
        caller.name, order.key, function, arguments, is_version_asked="version" in request.query_params
    )
    if invocation_id is None:
        (invocation_id,) = await gateway.accept([order], is_awaited=wait_s > 0)
    outcome = await gateway.look(invocation_id, wait_s)
    assert outcome is not None  # noqa: S101 - it was accepted, and nothing deletes invocations
    return await _answered(gateway, outcome, is_raw)


async def _answered(gateway: Gateway, outcome: Outcome, is_raw: bool) -> Response:
    record = outcome.record
    if not outcome.is_ended:
        location = {"Location": f"/v1/invocations/{record.invocation_id}"}
        return json_response(invocation_document(outcome), 202, location)
    if record.state is InvocationState.SUCCEEDED:
        value = await gateway.value(outcome)
        if is_raw:
            return raw_result(outcome, value)
        outcome = Outcome(record=record, value=value)
    return json_response(invocation_document(outcome))


def raw_result(outcome: Outcome, value: bytes) -> Response:
    """Return the bytes of a result as the whole answer."""
    record = outcome.record
    headers = {"Harvester-Invocation": record.invocation_id, "Harvester-State": record.state.value}
    media_type = JSON_TYPE if record.encoding is Encoding.JSON else PICKLE_TYPE
    return Response(value, media_type=media_type, headers=headers)


@router.post(
    "/v1/functions/{name}/batches",
    **operation(
        "Invoke a function many times: all are accepted, or none.",
        {202: ("Accepted, and on disk.", json_of(BatchAnswer))},
        parameters=(FUNCTION_NAME, VERSION, KEY, PYTHON),
        body=BATCH_BODY,
        refuses=(400, 404, 409, 413, 415, 422, 507),
    ),
)
async def batch(request: Request) -> Response:
    """The ids come in the order of the batch. POST /v1/wait waits for many."""
    caller = caller_of(request)
    gateway = gateway_of(request)
    settings = gateway.settings
    function = await _function(request, gateway)
    body = await read_body(request, settings.batch_limit_bytes, "batch")
    encoding, items = check_batch(body, request.headers, function, settings.offers)
    if len(items) > settings.batch_limit:
        raise too_many(len(items), settings.batch_limit)
    key = _key(request)
    # Nothing gives way to another request between this look and the moment when `accept` has taken the batch in.
    ids = key and await gateway.repeats.batch(caller.name, key, function.name, len(items))
    if not ids:
        orders = [
            Order(function=function, owner=caller.name, encoding=encoding, arguments=arguments) for arguments in items
        ]
        if key and orders:
            orders[0] = msgspec.structs.replace(orders[0], key=batch_key(key))
        ids = await gateway.accept(orders, is_awaited=False) if orders else []
    return json_response(BatchAnswer(invocation_ids=ids), 202)


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
        FUNCTION.text(request) or None,
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
    return json_response(await _whole(gateway, outcome))


async def _whole(gateway: Gateway, outcome: Outcome) -> InvocationDocument:
    record = outcome.record
    if record.state is InvocationState.SUCCEEDED and record.encoding is Encoding.JSON:
        outcome = Outcome(record=record, value=await gateway.value(outcome))
    activations = await asyncio.to_thread(gateway.store.activations, record.invocation_id)
    if len(activations) < record.attempts:  # the newest is known here and about to be written
        await gateway.journal.settle(timedelta(seconds=1))
        activations = await asyncio.to_thread(gateway.store.activations, record.invocation_id)
    return invocation_document(outcome, activations)


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
    return json_response(await _whole(gateway, after), 200 if after.is_ended else 202)


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
    why = explain(gateway.dispatcher, record.invocation_id, time.time())
    if why is None or outcome.is_ended:
        failure = f": {record.failure.message}" if record.failure is not None else ""
        why = Explanation(summary=f"It is {record.state.value}{failure}.")
    details = list(why.details)
    if record.state is InvocationState.ACCEPTED:
        details += standing.words(await asyncio.to_thread(standing.read, gateway.store, time.time()))
    pilots = await asyncio.to_thread(gateway.store.pilots, live=True)
    document = ExplanationDocument(
        invocation_id=record.invocation_id,
        state=record.state,
        summary=why.summary,
        details=details,
        pilots=[pilot_document(pilot, gateway.dispatcher.pilot(pilot.pilot_id)) for pilot in pilots],
    )
    return json_response(document)
