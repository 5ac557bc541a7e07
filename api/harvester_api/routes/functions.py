"""Functions: register, list, read versions, share, delete."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from harvester.domain.model.functions import FunctionKind
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import decoded, is_quick, json_response, read_json, read_json_into
from harvester_api.http.body_spool import Spool
from harvester_api.http.openapi import body_of, json_of, operation
from harvester_api.http.parameters import FUNCTION_NAME, FUNCTION_PATH, VERSION, Parameter, limit_of
from harvester_api.problems import refusal
from harvester_api.routes.common import caller_of, catalog_of, gateway_of
from harvester_api.schemas.requests import FunctionDraft, SharingRequest
from harvester_api.schemas.responses import (
    FunctionDocument,
    FunctionPage,
    FunctionVersions,
    function_document,
)
from harvester_api.service.gateway import Gateway
from harvester_api.validation.functions import Opened, opened
from harvester_api.validation.large_bodies import LONGEST_SOURCE

router = APIRouter(tags=["functions"])

AFTER = Parameter(name="after", description="Start after this one: `next` of the page before.")
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
            200: ("The newest version already has this content.", json_of(FunctionDocument)),
        },
        body=body_of(FunctionDraft),
        refuses=(400, 409, 413, 415, 422, 507),
    ),
)
async def register(request: Request) -> Response:
    """Code comes as a base64 pickle, as `package.module:function`, or as a source file; it is not run here.

    The name is yours: functions of other users with the same name, and their calls, are not affected.
    """
    caller, gateway = caller_of(request), gateway_of(request)
    function, is_new = await gateway.register(caller, await _opened(request, gateway, caller))
    return json_response(function_document(function), 201 if is_new else 200)


async def _opened(request: Request, gateway: Gateway, caller: Caller) -> Opened:
    """Return the function that a request describes. Raises `Refusal` (400, 413, 415, 422)."""
    with Spool() as spool:
        await read_json_into(spool, request, gateway.function_body_limit)
        if spool.is_small and is_quick(spool.small()):
            draft = decoded(spool.small(), FunctionDraft)
            if draft.kind is not FunctionKind.SOURCE or len(draft.body) <= LONGEST_SOURCE:
                return opened(draft)
        return await gateway.opened_large(caller, spool)


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
    found = await catalog_of(request).page(caller, AFTER.text(request) or "", limit)
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
    found = await catalog_of(request).versions(caller, request.path_params["name"], before, limit)
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
    return json_response(function_document(await catalog_of(request).listed(caller, name, _version(request))))


@router.delete(
    f"{FUNCTION_PATH}/versions/{{version}}",
    **operation(
        "Delete a version of a function that has no open invocation; for its owner and admins.",
        {200: ("Deleted; the version as it was.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME, VERSION_PART),
        refuses=(403, 404, 409, 422, 507),
    ),
)
async def delete(request: Request) -> Response:
    """Results of its invocations are kept as long as others. Its number is never reused."""
    caller, name = caller_of(request), request.path_params["name"]
    gone = await gateway_of(request).delete_function(caller, name, _version(request))
    return json_response(function_document(gone))


@router.put(
    f"{FUNCTION_PATH}/sharing",
    **operation(
        "Set who may call a function; for its owner and admins.",
        {200: ("Its newest version.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME,),
        body=body_of(SharingRequest),
        refuses=(400, 403, 404, 409, 413, 415, 507),
    ),
)
async def share(request: Request) -> Response:
    """Applies to all versions, including later ones. Accepted invocations continue."""
    caller, name = caller_of(request), request.path_params["name"]
    wanted = await read_json(request, SharingRequest, 65_536)
    listed = await catalog_of(request).share(caller, name, wanted.share)
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
    return json_response(function_document(await catalog_of(request).listed(caller, request.path_params["name"])))


def _version(request: Request) -> int:
    text = request.path_params["version"]
    most = VERSION.schema["maximum"]
    # Its length first: `int` raises for thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise refusal(
            422, "invalid-field", f"version: {text[:40]!r} is not a version", field="version", remedy="Write 1, 2, 3 …"
        )
    return int(text)
