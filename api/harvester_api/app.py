"""The FastAPI application: one gateway, its routes, its errors, its document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import cast

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from harvester.domain.protocol import wire
from harvester.domain.steady import Clock
from harvester.store.store import Store
from harvester_api import problems
from harvester_api.connections import Connections
from harvester_api.http import docs_page, openapi
from harvester_api.http.auth import Auth, Caller
from harvester_api.http.routing import Table, serve
from harvester_api.pilot_connection import serve_pilot
from harvester_api.routes import batches, daemon, directory, functions, health, invocations, pilots, results, streams
from harvester_api.service.gateway import Gateway
from harvester_api.settings import GatewaySettings

_NOUNS = (invocations, results, batches, streams, functions, pilots, daemon, directory, health)


class Application(FastAPI):
    """FastAPI, which draws the document and says what there is not, behind the table of the declared routes."""

    table: Table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or carry one connection."""
        kind = scope["type"]
        if kind == "http" and (target := self.table.find(scope)) is not None:
            scope["app"] = self
            await serve(target, scope, receive, send)
        elif kind == "websocket" and scope["path"] == wire.LINK_PATH:
            await serve_pilot(scope, receive, send, self.state.gateway)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: GatewaySettings, store: Store, clock: Clock | None = None) -> FastAPI:
    """Return the application of one gateway.

    Parameters
    ----------
    settings: what the gateway is told.
    store: open; whoever opened it closes it, after the application has ended.
    clock: the daemon's, where both are in one process; None for one of its own.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        gateway = app.state.gateway = await Gateway.opened(settings, store, clock)
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = Application(
        title="HPC Harvester",
        version=version("hpc-harvester"),
        summary="Functions on the node-time that batch jobs leave idle.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the redirect would name whatever host the caller has named
    )

    def run_caller(token: str) -> Caller | None:
        return cast("Gateway", app.state.gateway).parts.runs.caller(token)

    app.state.auth = Auth(settings.tokens, run_caller)
    app.state.connections = Connections(settings.connections)
    problems.install(app)
    openapi.install(app)
    docs_page.install(app)
    app.table = Table(noun.router for noun in _NOUNS)
    for noun in _NOUNS:
        app.include_router(noun.router)
    return app
