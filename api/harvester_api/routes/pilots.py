"""Pilots and their slots: read, and send away."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.model.pilots import PILOT, PilotEvent
from harvester.store.records import PilotRecord
from harvester.store.writes.changes import PilotMoved
from harvester_api.http.auth import Caller
from harvester_api.http.bodies import json_response
from harvester_api.http.openapi import json_of, operation
from harvester_api.http.parameters import PILOT_ID, Parameter
from harvester_api.problems import refusal
from harvester_api.routes.common import admin_of, caller_of, gateway_of
from harvester_api.schemas.pilot_responses import (
    PilotDocument,
    PilotPage,
    SlotActivation,
    SlotDocument,
    SlotPage,
    pilot_document,
)
from harvester_api.service.gateway import Gateway

router = APIRouter(tags=["pilots"])

ALL = Parameter(
    name="all",
    description="1: also those that are over, newest first.",
    schema={"type": "boolean", "default": False},
)


@router.get(
    "/v1/pilots",
    **operation("List the pilots.", {200: ("The pilots.", json_of(PilotPage))}, parameters=(ALL,), refuses=(422,)),
)
async def pilots(request: Request) -> Response:
    """At most the newest thousand."""
    caller_of(request)
    gateway = gateway_of(request)
    found = await asyncio.to_thread(gateway.store.pilots, live=not ALL.flag(request))
    items = [pilot_document(pilot, gateway.dispatcher.pilot(pilot.pilot_id)) for pilot in found]
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
    """One that is over can be read, too."""
    caller_of(request)
    gateway = gateway_of(request)
    found = await _pilot(gateway, request.path_params["pilot_id"])
    return json_response(pilot_document(found, gateway.dispatcher.pilot(found.pilot_id)))


@router.post(
    "/v1/pilots/{pilot_id}/evict",
    **operation(
        "Ask a pilot to hand its work over and leave; for admins.",
        {202: ("It was asked.", json_of(PilotDocument))},
        parameters=(PILOT_ID,),
        refuses=(403, 404, 409),
    ),
)
async def evict(request: Request) -> Response:
    """One that has not called yet is cancelled, and turned away when it calls."""
    admin_of(request)
    gateway = gateway_of(request)
    found = await _pilot(gateway, request.path_params["pilot_id"])
    if found.state in PILOT.final:
        raise refusal(
            409,
            "pilot-ended",
            f"pilot {found.pilot_id} is over already ({found.state.value})",
            field="pilot_id",
            remedy="GET /v1/pilots lists those that are alive.",
        )
    if not gateway.evict(found.pilot_id):
        move = PilotMoved(
            pilot_id=found.pilot_id, event=PilotEvent.CANCELLED, at=gateway.clock(), reason="an admin asked for it"
        )
        found = await asyncio.to_thread(gateway.store.move_pilot, move)
    return json_response(pilot_document(found, gateway.dispatcher.pilot(found.pilot_id)), 202)


@router.get(
    "/v1/slots",
    **operation("List the room on the connected pilots.", {200: ("The room.", json_of(SlotPage))}),
)
async def slots(request: Request) -> Response:
    """What each pilot has, what of it is free, and what takes the rest. Others' invocations are not named."""
    caller = caller_of(request)
    gateway = gateway_of(request)
    items = [_slots(gateway, live, caller) for live in gateway.dispatcher.pilots if live.is_connected]
    return json_response(SlotPage(items=items))


def _slots(gateway: Gateway, live: PilotEntry, caller: Caller) -> SlotDocument:
    link = gateway.links.get(live.pilot_id)
    activations = []
    for invocation_id, lease in live.leases.items():
        entry = gateway.book.open.get(invocation_id)
        is_theirs = caller.may_see(lease.lane.owner.name)
        activations.append(
            SlotActivation(
                invocation_id=invocation_id if is_theirs else None,
                function_id=lease.lane.function.function_id if is_theirs else None,
                since=None if entry is None else entry.started_at,
            )
        )
    return SlotDocument(
        pilot_id=live.pilot_id,
        node=link.hello.node if link is not None and link.hello is not None else "",
        capacity=live.capacity,
        free=live.free,
        activations=activations,
    )


async def _pilot(gateway: Gateway, pilot_id: str) -> PilotRecord:
    found = await asyncio.to_thread(gateway.store.pilot, pilot_id)
    if found is None:
        raise refusal(
            404,
            "unknown-pilot",
            f"there is no pilot {pilot_id[:80]!r}",
            field="pilot_id",
            remedy="GET /v1/pilots lists those that are alive, ?all=1 the others too.",
        )
    return found
