"""Functions: register, list, read versions, share, delete."""

from __future__ import annotations

import asyncio
from functools import partial

from fastapi import APIRouter, Request, Response

from harvester.domain.model.functions import FunctionKind
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import decoded, json_response, read_json, read_json_into
from harvester_api.http.body_spool import Spool
from harvester_api.http.openapi import body_of, json_of, operation
from harvester_api.http.parameters import FUNCTION_NAME, FUNCTION_PATH, VERSION, Parameter, limit_of
from harvester_api.problems import refusal
from harvester_api.routes.common import caller_of, gateway_of
from harvester_api.schemas.requests import FunctionDraft, SharingRequest
from harvester_api.schemas.responses import (
    FunctionDocument,
    FunctionPage,
    FunctionVersions,
    function_document,
)
from harvester_api.service.gateway import Gateway
from harvester_api.settings import Role
from harvester_api.validation.functions import Opened, check_function, opened
from harvester_api.validation.large_bodies import LONGEST_SOURCE, is_quick

router = APIRouter(tags=["functions"])

AFTER = Parameter(name="after", description="Start behind this one: `next` of the page before.")
LIMIT = limit_of(100, 1000)
BEFORE = Parameter(
    name="before", description="Only versions older than this one: `next` of the page before.", schema=VERSION.schema
)
VERSION_PART = Parameter(name="version", where="path", description="The version.", schema=VERSION.schema)


@router.post(
    "/v1/functions",
    **operation(
        "Register a function, or a new version of one.",
        {
            201: ("Registered.", json_of(FunctionDocument)),
            200: ("It is the newest version already.", json_of(FunctionDocument)),
        },
        body=body_of(FunctionDraft),
        refuses=(400, 409, 413, 415, 422, 507),
    ),
)
async def register(request: Request) -> Response:
    """Code comes as a base64 pickle, as `package.module:function`, or as a source file; it is not run here.

    The name is among your own: nobody else's function of that name changes, nor what anybody else's call means.
    """
    caller = caller_of(request)
    gateway = gateway_of(request)
    limit = gateway.settings.payload_limit_bytes
    found = await _opened(request, gateway, caller)
    wanted = check_function(found, gateway.settings.offers, limit)
    function, is_new = await gateway.catalog.register(caller, wanted, found.draft.share, gateway.clock())
    return json_response(function_document(function), 201 if is_new else 200)


async def _opened(request: Request, gateway: Gateway, caller: Caller) -> Opened:
    """Return the function that a request describes. Raises `Refusal` (400, 413, 415, 422)."""
    # Base64 and escapes make the document larger than the body that it holds; `check_function` looks at that one.
    limit = 2 * gateway.settings.payload_limit_bytes + 65_536
    with Spool() as spool:
        await read_json_into(spool, request, limit)
        if spool.is_small and is_quick(spool.small()):
            draft = decoded(spool.small(), FunctionDraft)
            if draft.kind is not FunctionKind.SOURCE or len(draft.body) <= LONGEST_SOURCE:
                return opened(draft)
        return await gateway.door(caller.name).large.function(spool)


@router.get(
    "/v1/functions",
    **operation(
        "List the functions that you may call, each in its newest version: your own, and those shared with you.",
        {200: ("A page, by name and owner.", json_of(FunctionPage))},
        parameters=(AFTER, LIMIT),
        refuses=(422,),
    ),
)
async def functions(request: Request) -> Response:
    """`next` is the `after` of the following page, null on the last. An admin is shown everybody's."""
    caller = caller_of(request)
    limit = LIMIT.integer(request) or 100
    seen_by = None if caller.role is Role.ADMIN else caller.name
    store, after = gateway_of(request).store, AFTER.text(request) or ""
    found = await asyncio.to_thread(partial(store.functions, after, limit, seen_by=seen_by))
    page = FunctionPage(
        items=[function_document(listed) for listed in found],
        next=found[-1].function.full_name if len(found) == limit else None,
    )
    return json_response(page)


# Of the paths below the first that fits is taken, and owner/name fits where a name does: somebody else's function that
# is called `versions` can be invoked, and not be read.


@router.get(
    f"{FUNCTION_PATH}/versions",
    **operation(
        "List the versions of a function.",
        {200: ("A page, newest first.", json_of(FunctionVersions))},
        parameters=(FUNCTION_NAME, BEFORE, LIMIT),
        refuses=(404, 409, 422),
    ),
)
async def versions(request: Request) -> Response:
    """`next` is the `before` of the following page, null on the last."""
    caller = caller_of(request)
    before, limit = BEFORE.integer(request), LIMIT.integer(request) or 100
    found = await gateway_of(request).catalog.versions(caller, request.path_params["name"], before, limit)
    page = FunctionVersions(
        items=[function_document(listed) for listed in found],
        next=found[-1].function.version if len(found) == limit else None,
    )
    return json_response(page)


@router.get(
    f"{FUNCTION_PATH}/versions/{{version}}",
    **operation(
        "Read one version of a function.",
        {200: ("The function.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME, VERSION_PART),
        refuses=(404, 409, 422),
    ),
)
async def version(request: Request) -> Response:
    """A version never changes."""
    caller, name = caller_of(request), request.path_params["name"]
    return json_response(function_document(await gateway_of(request).catalog.listed(caller, name, _version(request))))


@router.delete(
    f"{FUNCTION_PATH}/versions/{{version}}",
    **operation(
        "Delete a version of a function: its owner or an admin may, while no invocation of it is open.",
        {200: ("It is deleted; this is how it was.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME, VERSION_PART),
        refuses=(403, 404, 409, 422, 507),
    ),
)
async def delete(request: Request) -> Response:
    """Results of its invocations stay as long as others. Its number is not given again."""
    caller, name = caller_of(request), request.path_params["name"]
    gone = await gateway_of(request).catalog.delete(caller, name, _version(request), gateway_of(request).clock())
    return json_response(function_document(gone))


@router.put(
    f"{FUNCTION_PATH}/sharing",
    **operation(
        "Say who may call a function: its owner or an admin may.",
        {200: ("Its newest version.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME,),
        body=body_of(SharingRequest),
        refuses=(400, 403, 404, 409, 413, 415, 507),
    ),
)
async def share(request: Request) -> Response:
    """Of all versions, also of those to come. Invocations that were accepted go on."""
    caller, name = caller_of(request), request.path_params["name"]
    wanted = await read_json(request, SharingRequest, 65_536)
    listed = await gateway_of(request).catalog.share(caller, name, wanted.share)
    return json_response(function_document(listed))


@router.get(
    FUNCTION_PATH,
    **operation(
        "Read the newest version of a function.",
        {200: ("The function.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME,),
        refuses=(404, 409),
    ),
)
async def function(request: Request) -> Response:
    """The body is not sent back."""
    caller = caller_of(request)
    return json_response(
        function_document(await gateway_of(request).catalog.listed(caller, request.path_params["name"]))
    )


def _version(request: Request) -> int:
    text = request.path_params["version"]
    most = VERSION.schema["maximum"]
    # Its length first: `int` raises for thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise refusal(
            422, "invalid-field", f"version: {text[:40]!r} is no version", field="version", remedy="Write 1, 2, 3 …"
        )
    return int(text)
