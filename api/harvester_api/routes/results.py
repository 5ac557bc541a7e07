"""Results: read one, wait for many."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request, Response

from harvester.domain.model.invocations import InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.store import StoreError
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response, read_json
from harvester_api.http.openapi import RAW_RESULT, body_of, json_of, operation
from harvester_api.http.parameters import INVOCATION_ID, STREAM, WAIT
from harvester_api.invoking.invocation_request import stream_of
from harvester_api.outcome import Outcome
from harvester_api.problems import refusal
from harvester_api.routes.common import caller_of, expired_result, gateway_of, raw_result, unknown_invocation, visible
from harvester_api.schemas.requests import WaitRequest
from harvester_api.schemas.responses import InvocationDocument, WaitAnswer, invocation_document
from harvester_api.service.gateway import Gateway

router = APIRouter(tags=["results"])
log = logging.getLogger(__name__)

REQUEST_BYTES = 128 * 1024  # twice what a thousand ids take; decoding it takes a few milliseconds at most
RESULT_BYTES = 1024 * 1024  # a larger result is not part of an answer to /v1/wait
ANSWER_BYTES = 4 * 1024 * 1024  # results in one answer; the next call brings the rest


@router.get(
    "/v1/invocations/{invocation_id}/result",
    **operation(
        "Read the result; with wait_s, wait for it.",
        {
            200: ("The result's bytes, in the encoding of the arguments.", RAW_RESULT),
            206: ("The part of a large result that the header Range asks for.", RAW_RESULT),
            202: ("It has not ended yet.", json_of(InvocationDocument)),
        },
        parameters=(INVOCATION_ID, WAIT),
        refuses=(404, 409, 410, 416, 422),
    ),
)
async def result(request: Request) -> Response:
    """409 if there will never be a result: the problem document has the failure."""
    caller, gateway = caller_of(request), gateway_of(request)
    outcome = await visible(gateway, caller, request.path_params["invocation_id"], WAIT.seconds(request))
    record = outcome.record
    if not outcome.is_ended:
        return json_response(invocation_document(outcome), 202)
    if record.state is not InvocationState.SUCCEEDED:
        why = f": {record.failure.message}" if record.failure is not None else ""
        raise refusal(
            409,
            "no-result",
            f"invocation {record.invocation_id} is {record.state.value}{why}",
            failure=record.failure,
            remedy="Fix the cause, then invoke it again.",
        )
    if record.purged_at is not None:
        raise expired_result(record.invocation_id, record.purged_at)
    return raw_result(gateway, outcome, await gateway.located_result(outcome))


@router.post(
    "/v1/wait",
    **operation(
        "Wait until at least one of many invocations has ended.",
        {200: ("The invocations that have ended, and those that have not.", json_of(WaitAnswer))},
        body=body_of(WaitRequest),
        parameters=(STREAM,),
        refuses=(400, 404, 413, 415, 422),
    ),
)
async def wait(request: Request) -> Response:
    """Answers as soon as one has ended, or wait_s is over. Ask again for the pending, or listen to the named stream.

    A result over 1 MB is left out: read it at …/result.
    """
    caller, gateway = caller_of(request), gateway_of(request)
    wanted = await read_json(request, WaitRequest, REQUEST_BYTES)
    stream, ids = stream_of(request), list(dict.fromkeys(wanted.invocation_ids))
    found = await _found(gateway, caller, ids)
    if not any(outcome.is_ended for outcome in found):
        await gateway.wait_for_any(ids, wanted.wait_s)
        found = await _found(gateway, caller, ids)
    ended, size = [], 0
    taken = set()
    for outcome in found:
        if not outcome.is_ended or size > ANSWER_BYTES:
            continue
        record = outcome.record
        if wanted.results and record.state is InvocationState.SUCCEEDED and record.purged_at is None:
            value = await _read(gateway, outcome)
            size += len(value or b"")
            outcome = Outcome(record=record, value=value)  # noqa: PLW2901 - the same one, with its value
        else:
            outcome = Outcome(record=record)  # noqa: PLW2901 - the same one, without its value
            size += len(record.failure.exception) if record.failure is not None else 0
        taken.add(record.invocation_id)
        ended.append(invocation_document(outcome, with_bytes=wanted.results, reader=caller.name))
    pending = [key for key in ids if key not in taken]
    # A gateway that has started again does not know who is to be told, until somebody asks.
    gateway.follow(pending, caller.name, stream)
    return json_response(WaitAnswer(ended=ended, pending=pending))


async def _read(gateway: Gateway, outcome: Outcome) -> bytes | None:
    """Return a result; None for one that is large, or cannot be read: its own …/result has it, or says why not."""
    try:
        value = await gateway.located_result(outcome)
        if isinstance(value, BlobRef):
            return await gateway.result(outcome) if value.size <= RESULT_BYTES else None
        return value if len(value) <= RESULT_BYTES else None
    except StoreError as error:
        log.warning("the result of invocation %s cannot be read: %s", outcome.record.invocation_id, error)
        return None


async def _found(gateway: Gateway, caller: Caller, ids: list[str]) -> list[Outcome]:
    """Return all of `ids` as they stand. Raises `Refusal` (404) for one that is not the caller's."""
    outcomes = []
    for key, outcome in (await gateway.look_at_all(ids)).items():
        if outcome is None or not caller.may_see(outcome.record.owner):
            raise unknown_invocation(key)
        outcomes.append(outcome)
    return outcomes
