"""The daemon, as far as a gateway knows it: how it stands, and an admin's word to it.

Both travel through the store, so that daemon and gateway may be two processes. The daemon heeds the word at its next
tick.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from harvester.domain.cluster import nodelist
from harvester.domain.protocol import control
from harvester.domain.protocol.control import Control
from harvester_api.http.bodies import json_response, read_json
from harvester_api.http.openapi import body_of, json_of, operation
from harvester_api.problems import refusal
from harvester_api.routes.common import admin_of, caller_of, site_of
from harvester_api.schemas.requests import NodesRequest, PauseRequest
from harvester_api.schemas.responses import DaemonDocument

router = APIRouter(tags=["daemon"])
log = logging.getLogger(__name__)

_MOST = 65_536  # bytes of a request
_OF_NODES: dict[str, Any] = {"body": body_of(NodesRequest), "refuses": (400, 403, 413, 415, 422, 507)}


@router.get(
    "/v1/daemon",
    **operation(
        "Show the daemon's state: whether it is paused, when it last looked, and its own note.",
        {200: ("The daemon.", json_of(DaemonDocument))},
    ),
)
async def daemon(request: Request) -> Response:
    """`note` is written by the daemon; it is empty before its first tick."""
    caller_of(request)
    return json_response((await site_of(request).daemon()).document)


@router.post(
    "/v1/daemon/pause",
    **operation(
        "Submit no more pilots until an admin resumes (the kill switch); for admins.",
        {200: ("What admins have told the daemon now.", json_of(Control))},
        body=body_of(PauseRequest, is_required=False),
        refuses=(400, 403, 413, 415, 422, 507),
    ),
)
async def pause(request: Request) -> Response:
    """Running pilots continue; idle pilots still time out. Repeated, it replaces the reason."""
    caller = admin_of(request)
    wanted = await read_json(request, PauseRequest, _MOST, PauseRequest())
    log.warning("%s pauses harvesting: %s", caller.name, wanted.reason or "no reason told")
    return await _say(request, lambda before, now: control.pause(before, wanted.reason.strip(), now))


@router.post(
    "/v1/daemon/resume",
    **operation(
        "End the pause, and all automatic pauses; for admins.",
        {200: ("What admins have told the daemon now.", json_of(Control))},
        refuses=(403, 507),
    ),
)
async def resume(request: Request) -> Response:
    """`harvest.paused = true` in the daemon's configuration stays."""
    caller = admin_of(request)
    log.warning("%s resumes harvesting", caller.name)
    return await _say(request, control.resume)


@router.post(
    "/v1/daemon/drain",
    **operation(
        "Make pilots leave nodes, and submit none to them until an admin undrains them; for admins.",
        {200: ("What admins have told the daemon now.", json_of(Control))},
        **_OF_NODES,
    ),
)
async def drain(request: Request) -> Response:
    """Their work is handed over to other pilots, as at an eviction. Nodes drained before stay drained.

    Refused where the scheduler's adapter sees no nodes: the next pilot could start where one has just left.
    """
    note = (await site_of(request).daemon()).note
    if note is not None and not note.knowledge.nodes:
        admin_of(request)
        why = " ".join(note.knowledge.lost[:1])
        remedy = "Close the nodes in the scheduler itself, and evict the pilots there (harvester evict PILOT)."
        problem = f"new pilots cannot be kept off a node here: {why}"
        raise refusal(422, "nodes-not-seen", problem, field="nodes", remedy=remedy)
    return await _say_of_nodes(request, "drains", control.drain)


@router.post(
    "/v1/daemon/undrain",
    **operation(
        "Let pilots use drained nodes again; for admins.",
        {200: ("What admins have told the daemon now.", json_of(Control))},
        **_OF_NODES,
    ),
)
async def undrain(request: Request) -> Response:
    """Nodes that are not drained do not change."""
    return await _say_of_nodes(request, "undrains", control.undrain)


async def _say_of_nodes(
    request: Request, verb: str, change: Callable[[Control, Iterable[str], float], Control]
) -> Response:
    """Change what is said of the nodes that a request names."""
    caller = admin_of(request)
    names = await _named(request)
    log.warning("%s %s %s", caller.name, verb, await asyncio.to_thread(nodelist.fold, names))
    return await _say(request, lambda before, now: change(before, names, now))


async def _named(request: Request) -> frozenset[str]:
    """Return the nodes that a request names. Raises `Refusal` where one is unknown to scheduler and admin alike."""
    wanted = await read_json(request, NodesRequest, _MOST)
    texts = [wanted.nodes] if isinstance(wanted.nodes, str) else wanted.nodes
    remedy = 'Write for example "n[1-4,7]", or ["n1", "n2"].'
    try:
        names = frozenset(await asyncio.to_thread(nodelist.expand, ",".join(texts).replace(" ", "")))
    except ValueError as error:
        raise refusal(422, "malformed-node-list", f"nodes: {error}", field="nodes", remedy=remedy) from None
    if not names:
        raise refusal(422, "malformed-node-list", "nodes: it names no node", field="nodes", remedy=remedy)
    known, drained = await site_of(request).nodes()
    unknown = sorted(names - known - drained) if known else []
    if unknown:
        some = nodelist.fold(unknown[:1000])[:200]
        remedy = f"The scheduler has {nodelist.fold(known)[:200]}."
        raise refusal(422, "unknown-node", f"nodes: there is no node {some}", field="nodes", remedy=remedy)
    return names


async def _say(request: Request, change: Callable[[Control, float], Control]) -> Response:
    return json_response(await site_of(request).instruct(change))
