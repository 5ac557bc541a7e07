"""The FastAPI application: one gateway, its routes, its errors, its document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from harvester.domain import wire
from harvester.store.store import Store
from harvester_api import openapi, problems
from harvester_api.auth import Auth
from harvester_api.gateway import Gateway
from harvester_api.link import serve_pilot
from harvester_api.routes import daemon, functions, health, invocations, pilots, results
from harvester_api.routes.common import gateway_of
from harvester_api.settings import GatewaySettings


def create_app(settings: GatewaySettings, store: Store) -> FastAPI:
    """Return the application of one gateway.

    Parameters
    ----------
    settings: what the gateway is told.
    store: open; whoever opened it closes it, after the application has ended.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        gateway = Gateway(settings, store)
        app.state.gateway = gateway
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = FastAPI(
        title="HPC Harvester",
        version=version("hpc-harvester"),
        summary="Functions on the node-time that batch jobs leave idle.",
        lifespan=life,
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.auth = Auth(settings.tokens)
    problems.install(app)
    openapi.install(app)
    for noun in (functions, invocations, results, pilots, daemon, health):
        app.include_router(noun.router)
    app.router.routes.append(WebSocketRoute(wire.LINK_PATH, _link, name="link"))
    return app


async def _link(websocket: WebSocket) -> None:
    await serve_pilot(websocket, gateway_of(websocket))
