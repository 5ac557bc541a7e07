"""Health, and what else is asked about the whole: the cluster, and who the caller is."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from harvester.domain.model.functions import split_name
from harvester.store.records import Demand, PilotRecord
from harvester.store.store import Store
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import json_of, operation
from harvester_api.problems import refusal
from harvester_api.routes.common import caller_of, gateway_of
from harvester_api.schemas import daemon_status
from harvester_api.schemas.responses import ClusterDocument, DemandOfOthers, Health, Identity
from harvester_api.service.readiness import missing

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    **operation("Tell whether the gateway is alive.", {200: ("It is.", json_of(Health))}, is_open=True),
)
async def healthz(_: Request) -> Response:
    """Answers as long as the event loop turns."""
    return json_response(Health(status="alive"))


@router.get(
    "/readyz",
    **operation(
        "Tell whether the gateway takes work: recovery is done, and the store answers and writes.",
        {200: ("It does.", json_of(Health))},
        is_open=True,
        refuses=(503,),
    ),
)
async def readyz(request: Request) -> Response:
    """503 says what is missing."""
    why = await missing(gateway_of(request))
    if why:
        raise refusal(503, "not-ready", f"the gateway is not ready: {why}", remedy="Ask again in a moment.")
    return json_response(Health(status="ready"))


@router.get("/v1/whoami", **operation("Tell whose token this is.", {200: ("You.", json_of(Identity))}))
async def whoami(request: Request) -> Response:
    """A cheap way to try a token. `version` is the gateway's own."""
    caller = caller_of(request)
    return json_response(Identity(name=caller.name, role=caller.role, version=request.app.version))


@router.get(
    "/v1/cluster",
    **operation("Show the cluster as the daemon last saw it.", {200: ("The cluster.", json_of(ClusterDocument))}),
)
async def cluster(request: Request) -> Response:
    """Without a daemon's note there are no nodes, and `taken_at` is null. Others' functions are counted, not named."""
    caller = caller_of(request)
    return json_response(await asyncio.to_thread(_cluster, gateway_of(request).store, caller))


def _cluster(store: Store, caller: Caller) -> dict[str, Any]:
    alive: list[PilotRecord] = store.pilots(live=True)
    demand: list[Demand] = store.demand()
    seen = daemon_status.cluster_note(store)
    own = [each for each in demand if caller.may_see(split_name(each.function_id)[0])]
    return {
        "scheduler": "",
        "taken_at": None,
        "nodes": [],
        **({} if seen is None else msgspec.structs.asdict(seen)),
        "pilots": Counter(pilot.state.value for pilot in alive),  # these are newer than any note
        "demand": own,
        "demand_of_others": DemandOfOthers(
            waiting=sum(each.waiting for each in demand) - sum(each.waiting for each in own),
            held=sum(each.held for each in demand) - sum(each.held for each in own),
        ),
        "daemon": daemon_status.shown(daemon_status.daemon_note(store)),
    }
