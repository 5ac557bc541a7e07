"""The daemon, as far as a gateway knows it: how it stands, and an admin's word to it.

Both travel through the store, so that daemon and gateway may be two processes. The daemon heeds the word at its next
tick.
"""

from __future__ import annotations

import asyncio
import logging
import time

from fastapi import APIRouter, Request, Response

from harvester.domain import control
from harvester.domain.control import Control
from harvester_api import standing
from harvester_api.bodies import json_response, read_json
from harvester_api.documents import DaemonDocument
from harvester_api.drafts import PauseRequest
from harvester_api.openapi import body_of, json_of, operation
from harvester_api.routes.common import admin_of, caller_of, gateway_of

router = APIRouter(tags=["daemon"])
log = logging.getLogger(__name__)


@router.get(
    "/v1/daemon",
    **operation(
        "Show how the daemon stands: paused or not, when it last looked, what it says.",
        {200: ("The daemon.", json_of(DaemonDocument))},
    ),
)
async def daemon(request: Request) -> Response:
    """`note` is the daemon's own, and empty before its first tick."""
    caller_of(request)
    return json_response(await asyncio.to_thread(standing.read, gateway_of(request).store, time.time()))


@router.post(
    "/v1/daemon/pause",
    **operation(
        "The kill switch: submit no pilots until somebody resumes; for admins.",
        {200: ("It is said.", json_of(Control))},
        body=body_of(PauseRequest, is_required=False),
        refuses=(400, 403, 413, 415, 422, 507),
    ),
)
async def pause(request: Request) -> Response:
    """Pilots that live go on; idle ones leave as ever. Said again, the newest reason counts."""
    caller = admin_of(request)
    wanted = await read_json(request, PauseRequest, 65_536, PauseRequest())
    log.warning("%s pauses harvesting: %s", caller.name, wanted.reason or "no reason told")
    return await _say(request, Control(paused=True, reason=wanted.reason.strip(), at=time.time()))


@router.post(
    "/v1/daemon/resume",
    **operation(
        "End the pause, and every automatic one; for admins.",
        {200: ("It is said.", json_of(Control))},
        refuses=(403, 507),
    ),
)
async def resume(request: Request) -> Response:
    """`harvest.paused = true` in the daemon's configuration stays."""
    caller = admin_of(request)
    log.warning("%s resumes harvesting", caller.name)
    return await _say(request, Control(at=time.time()))


async def _say(request: Request, said: Control) -> Response:
    store = gateway_of(request).store
    await asyncio.to_thread(store.put_note, control.CONTROL_NOTE, control.encode(said))
    return json_response(said)
