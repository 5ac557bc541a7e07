"""Health, and what else is asked about the whole: the cluster, and who the caller is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from harvester.domain.model.functions import split_name
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import json_of, operation
from harvester_api.problems import refusal
from harvester_api.routes.common import caller_of, gateway_of, site_of
from harvester_api.schemas import daemon_status
from harvester_api.schemas.responses import ClusterDocument, DemandOfOthers, Health, Identity
from harvester_api.service.site import ClusterNotes

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    **operation("Check that the gateway is alive.", {200: ("It is alive.", json_of(Health))}, is_open=True),
)
async def healthz(_: Request) -> Response:
    """Answers while the event loop runs."""
    return json_response(Health(status="alive"))


@router.get(
    "/readyz",
    **operation(
        "Check that the gateway accepts work: recovery is done, and the store reads and writes.",
        {200: ("It accepts work.", json_of(Health))},
        is_open=True,
        refuses=(503,),
    ),
)
async def readyz(request: Request) -> Response:
    """A 503 names what is missing."""
    why = await gateway_of(request).missing()
    if why:
        raise refusal(503, "not-ready", f"the gateway is not ready: {why}", remedy="Ask again in a moment.")
    return json_response(Health(status="ready"))


@router.get("/v1/whoami", **operation("Show the owner of the token.", {200: ("The caller.", json_of(Identity))}))
async def whoami(request: Request) -> Response:
    """A cheap way to check a token. `version` is the gateway's."""
    caller = caller_of(request)
    return json_response(Identity(name=caller.name, role=caller.role, version=request.app.version))


@router.get(
    "/v1/cluster",
    **operation("Show the cluster as the daemon last saw it.", {200: ("The cluster.", json_of(ClusterDocument))}),
)
async def cluster(request: Request) -> Response:
    """Before the daemon's first look `taken_at` is null. Other users' functions are counted, not named."""
    caller = caller_of(request)
    return json_response(_shown(await site_of(request).cluster(), caller))


def _shown(notes: ClusterNotes, caller: Caller) -> dict[str, Any]:
    """Return what the caller may see of the cluster."""
    demand = notes.demand
    own = [each for each in demand if caller.may_see(split_name(each.function_id)[0])]
    return {
        "scheduler": "",
        "taken_at": None,
        "nodes": [],
        **({} if notes.cluster is None else msgspec.structs.asdict(notes.cluster)),
        "pilots": Counter(pilot.state.value for pilot in notes.pilots),  # these are newer than any note
        "demand": own,
        "demand_of_others": DemandOfOthers(
            waiting=sum(each.waiting for each in demand) - sum(each.waiting for each in own),
            held=sum(each.held for each in demand) - sum(each.held for each in own),
        ),
        "daemon": daemon_status.shown(notes.daemon),
    }
