"""The directory of large payloads, for clients that see it: they write and read there what HTTP need not carry."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import json_of, operation
from harvester_api.routes.common import caller_of, site_of
from harvester_api.schemas.responses import DirectoryDocument

router = APIRouter(tags=["directory"])


@router.get(
    "/v1/directory",
    **operation("Show where large payloads are kept as files.", {200: ("The directory.", json_of(DirectoryDocument))}),
)
async def directory(request: Request) -> Response:
    """Only the gateway's own Unix user can read it. A client that finds `mark` in its file MARK shares it."""
    caller_of(request)
    blobs = site_of(request).directory()
    if blobs is None:
        return json_response(DirectoryDocument(path=None, mark="", least=0, boot=""))
    return json_response(
        DirectoryDocument(path=str(blobs.folder.absolute()), mark=blobs.mark, least=blobs.least, boot=blobs.boot)
    )
