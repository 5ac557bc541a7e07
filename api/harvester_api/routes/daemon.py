"""The daemon, as far as a gateway knows it: how it stands, and an admin's word to it.

Both travel through the store, so that daemon and gateway may be two processes. The daemon heeds the word at its next
tick.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from harvester.domain.cluster import nodelist
from harvester.domain.protocol import control
from harvester.domain.protocol.control import Control
from harvester.store.store import Store
from harvester_api.http.bodies import json_response, read_json
from harvester_api.http.openapi import body_of, json_of, operation
from harvester_api.problems import refusal
from harvester_api.routes.common import admin_of, caller_of, gateway_of
from harvester_api.schemas import daemon_status
from harvester_api.schemas.requests import NodesRequest, PauseRequest
from harvester_api.schemas.responses import DaemonDocument
from harvester_api.service import readiness

router = APIRouter(tags=["daemon"])
log = logging.getLogger(__name__)

_MOST = 65_536  # bytes of a request
_SAYING = threading.Lock()  # what an admin says is read, changed and kept by one at a time
_OF_NODES: dict[str, Any] = {"body": body_of(NodesRequest), "refuses": (400, 403, 413, 415, 422, 507)}


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
    gateway = gateway_of(request)
    status = await asyncio.to_thread(daemon_status.read, gateway.store, gateway.clock(), readiness.told(gateway))
    return json_response(status.document)


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
    wanted = await read_json(request, PauseRequest, _MOST, PauseRequest())
    log.warning("%s pauses harvesting: %s", caller.name, wanted.reason or "no reason told")
    return await _say(request, lambda before, now: control.pause(before, wanted.reason.strip(), now))


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
    return await _say(request, control.resume)


@router.post(
    "/v1/daemon/drain",
    **operation(
        "Have pilots leave nodes, and put none there until somebody undrains them; for admins.",
        {200: ("It is said.", json_of(Control))},
        **_OF_NODES,
    ),
)
async def drain(request: Request) -> Response:
    """What runs there is handed over to other pilots, as at an eviction. Nodes that were drained before stay so."""
    return await _say_of_nodes(request, "drains", control.drain)


@router.post(
    "/v1/daemon/undrain",
    **operation(
        "Let pilots use drained nodes again; for admins.",
        {200: ("It is said.", json_of(Control))},
        **_OF_NODES,
    ),
)
async def undrain(request: Request) -> Response:
    """Nodes that are not drained stay as they are."""
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
    known, drained = await asyncio.to_thread(_known, gateway_of(request).store)
    unknown = sorted(names - known - drained) if known else []
    if unknown:
        some = nodelist.fold(unknown[:1000])[:200]
        remedy = f"The scheduler has {nodelist.fold(known)[:200]}."
        raise refusal(422, "unknown-node", f"nodes: there is no node {some}", field="nodes", remedy=remedy)
    return names


def _known(store: Store) -> tuple[frozenset[str], frozenset[str]]:
    """Return the cluster's nodes, none before a first look, and those that are drained: one may be gone meanwhile."""
    return daemon_status.nodes(store), frozenset(control.decode(store.note(control.CONTROL_NOTE)).drained)


async def _say(request: Request, change: Callable[[Control, float], Control]) -> Response:
    gateway = gateway_of(request)
    store = gateway.store

    def say() -> Control:
        with _SAYING:
            said = change(control.decode(store.note(control.CONTROL_NOTE)), gateway.clock())
            store.put_note(control.CONTROL_NOTE, control.encode(said))
            return said

    return json_response(await asyncio.to_thread(say))
