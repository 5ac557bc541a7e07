"""Pilots and their slots: read, and send away."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from harvester.domain.model.pilots import PILOT
from harvester.store.records import PilotRecord
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import json_of, operation
from harvester_api.http.parameters import PILOT_ID, Parameter
from harvester_api.problems import refusal
from harvester_api.routes.common import admin_of, caller_of, site_of
from harvester_api.schemas.pilot_responses import (
    PilotDocument,
    PilotPage,
    SlotActivation,
    SlotDocument,
    SlotPage,
    pilot_document,
)
from harvester_api.service.site import Live, PilotRoom

router = APIRouter(tags=["pilots"])

ALL = Parameter(
    name="all",
    description="1: also pilots that have ended, newest first.",
    schema={"type": "boolean", "default": False},
)


@router.get(
    "/v1/pilots",
    **operation("List the pilots.", {200: ("The pilots.", json_of(PilotPage))}, parameters=(ALL,), refuses=(422,)),
)
async def pilots(request: Request) -> Response:
    """At most the newest thousand."""
    caller_of(request)
    found = await site_of(request).pilots(live=not ALL.flag(request))
    items = [pilot_document(pilot, live) for pilot, live in found]
    return json_response(PilotPage(items=items))


@router.get(
    "/v1/pilots/{pilot_id}",
    **operation(
        "Read a pilot.",
        {200: ("The pilot.", json_of(PilotDocument))},
        parameters=(PILOT_ID,),
        refuses=(404,),
    ),
)
async def pilot(request: Request) -> Response:
    """Pilots that have ended can be read too."""
    caller_of(request)
    return json_response(pilot_document(*await _pilot(request)))


@router.post(
    "/v1/pilots/{pilot_id}/evict",
    **operation(
        "Ask a pilot to hand over its work and exit; for admins.",
        {202: ("The pilot was asked.", json_of(PilotDocument))},
        parameters=(PILOT_ID,),
        refuses=(403, 404, 409),
    ),
)
async def evict(request: Request) -> Response:
    """A pilot that has not connected yet is cancelled, and refused when it connects."""
    admin_of(request)
    found, _live = await _pilot(request)
    if found.state in PILOT.final:
        raise refusal(
            409,
            "pilot-ended",
            f"pilot {found.pilot_id} has already ended ({found.state.value})",
            field="pilot_id",
            remedy="GET /v1/pilots lists running pilots.",
        )
    return json_response(pilot_document(*await site_of(request).evict(found)), 202)


@router.get(
    "/v1/slots",
    **operation(
        "List the capacity of the connected pilots and its use.", {200: ("Capacity and use.", json_of(SlotPage))}
    ),
)
async def slots(request: Request) -> Response:
    """Capacity, what of it is free, and the activations that use the rest. Other users' invocations are not named."""
    caller = caller_of(request)
    return json_response(SlotPage(items=[_slots(room, caller) for room in site_of(request).rooms()]))


def _slots(room: PilotRoom, caller: Caller) -> SlotDocument:
    pilot, activations = room.pilot, []
    for invocation_id, lease in pilot.leases.items():
        is_theirs = caller.may_see(lease.lane.owner.name)
        activations.append(
            SlotActivation(
                invocation_id=invocation_id if is_theirs else None,
                function_id=lease.lane.function.function_id if is_theirs else None,
                since=room.started_at[invocation_id],
            )
        )
    return SlotDocument(
        pilot_id=pilot.pilot_id, node=room.node, capacity=pilot.capacity, free=pilot.free, activations=activations
    )


async def _pilot(request: Request) -> tuple[PilotRecord, Live]:
    pilot_id = request.path_params["pilot_id"]
    found = await site_of(request).pilot(pilot_id)
    if found is None:
        raise refusal(
            404,
            "unknown-pilot",
            f"there is no pilot {pilot_id[:80]!r}",
            field="pilot_id",
            remedy="GET /v1/pilots lists running pilots; ?all=1 lists all of them.",
        )
    return found
