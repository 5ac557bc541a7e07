"""Functions: register, list, read versions."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from harvester_api.admission import check_function
from harvester_api.bodies import json_response, read_json
from harvester_api.documents import (
    FunctionDocument,
    FunctionPage,
    FunctionVersions,
    function_document,
)
from harvester_api.drafts import FunctionDraft
from harvester_api.openapi import body_of, json_of, operation
from harvester_api.parameters import FUNCTION_NAME, VERSION, Parameter, limit_of
from harvester_api.problems import refusal
from harvester_api.routes.common import caller_of, gateway_of

router = APIRouter(tags=["functions"])

AFTER = Parameter(name="after", description="Start behind this name: `next` of the page before.")
LIMIT = limit_of(100, 1000)
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
        refuses=(400, 413, 415, 422, 507),
    ),
)
async def register(request: Request) -> Response:
    """Code comes as a base64 pickle, as `package.module:function`, or as a source file; it is not run here."""
    caller_of(request)
    gateway = gateway_of(request)
    limit = gateway.settings.payload_limit_bytes
    # Base64 and escapes make the document larger than the body that it holds; `check_function` looks at that one.
    draft = await read_json(request, FunctionDraft, 2 * limit + 65_536)
    wanted = check_function(draft, gateway.settings.offers, limit)
    function, is_new = await gateway.catalog.register(wanted, gateway.clock())
    return json_response(function_document(function), 201 if is_new else 200)


@router.get(
    "/v1/functions",
    **operation(
        "List the newest version of each function, by name.",
        {200: ("A page.", json_of(FunctionPage))},
        parameters=(AFTER, LIMIT),
        refuses=(422,),
    ),
)
async def functions(request: Request) -> Response:
    """`next` is the `after` of the following page, null on the last."""
    caller_of(request)
    limit = LIMIT.integer(request) or 100
    found = await asyncio.to_thread(gateway_of(request).store.functions, AFTER.text(request) or "", limit)
    page = FunctionPage(
        items=[function_document(function) for function in found],
        next=found[-1].name if len(found) == limit else None,
    )
    return json_response(page)


@router.get(
    "/v1/functions/{name}",
    **operation(
        "Read the newest version of a function.",
        {200: ("The function.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME,),
        refuses=(404,),
    ),
)
async def function(request: Request) -> Response:
    """The body is not sent back."""
    caller_of(request)
    return json_response(function_document(await gateway_of(request).catalog.find(request.path_params["name"])))


@router.get(
    "/v1/functions/{name}/versions",
    **operation(
        "List all versions of a function.",
        {200: ("All versions.", json_of(FunctionVersions))},
        parameters=(FUNCTION_NAME,),
        refuses=(404,),
    ),
)
async def versions(request: Request) -> Response:
    """Newest first."""
    caller_of(request)
    gateway, name = gateway_of(request), request.path_params["name"]
    await gateway.catalog.find(name)
    found = await asyncio.to_thread(gateway.store.function_versions, name)
    return json_response(FunctionVersions(items=[function_document(version) for version in found]))


@router.get(
    "/v1/functions/{name}/versions/{version}",
    **operation(
        "Read one version of a function.",
        {200: ("The function.", json_of(FunctionDocument))},
        parameters=(FUNCTION_NAME, VERSION_PART),
        refuses=(404, 422),
    ),
)
async def version(request: Request) -> Response:
    """A version never changes."""
    caller_of(request)
    text = request.path_params["version"]
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= VERSION.schema["maximum"]):
        raise refusal(
            422, "invalid-field", f"version: {text[:40]!r} is no version", field="version", remedy="Write 1, 2, 3 …"
        )
    return json_response(
        function_document(await gateway_of(request).catalog.find(request.path_params["name"], int(text)))
    )
