"""Submits what the outbox holds, in batches. Runs on the engine's event loop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec

from harvester.sdk.errors import GatewayError
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.gateway import AsyncGateway, Request
from harvester.sdk.outbox import Batch, Target
from harvester.sdk.payloads import BATCH_TYPE, PICKLE_TYPE, encode_batch
from harvester.sdk.shipping import PYTHON

_ONE_OF_THEM = frozenset({400, 413, 422})  # refusals that may be about one invocation of a batch
Accepted = Callable[[dict[str, InvocationFuture[Any]]], None]


def function_path(target: Target) -> str:
    """Return the path of a function at the gateway."""
    return f"/v1/functions/{quote(target.name, safe='')}"


def version_params(target: Target) -> dict[str, str]:
    """Return the query that pins the version."""
    return {} if target.version is None else {"version": str(target.version)}


class Sender:
    """Sends batches and tells whoever collects results.

    Parameters
    ----------
    gateway: where to.
    patience_s: seconds for which a failing submission is repeated.
    accepted: takes the futures that have an id now.
    """

    def __init__(self, gateway: AsyncGateway, patience_s: float, accepted: Accepted) -> None:
        self._gateway = gateway
        self._patience_s = patience_s
        self._accepted = accepted
        self._cancels: set[asyncio.Task[None]] = set()

    async def send(self, batch: Batch) -> None:
        """Submit one batch; a refusal ends its futures.

        A batch is accepted all or nothing, so a refusal that may be about one of them is narrowed down to it by halves.
        """
        try:
            ids = await self._post(batch)
        except GatewayError as error:
            if error.status in _ONE_OF_THEM and len(batch.items) > 1:
                for half in batch.halves():
                    await self.send(half)
                return
            for outgoing in batch.items:
                outgoing.future.fail(error)
            return
        watched = {}
        for invocation_id, outgoing in zip(ids, batch.items, strict=True):
            if outgoing.future.accept(invocation_id):
                watched[invocation_id] = outgoing.future
            else:
                self._cancel(invocation_id)
        self._accepted(watched)

    async def _post(self, batch: Batch) -> list[str]:
        is_lone = len(batch.items) == 1
        request = Request(
            method="POST",
            path=f"{function_path(batch.target)}/{'invocations' if is_lone else 'batches'}",
            params=version_params(batch.target),
            headers={
                "Content-Type": PICKLE_TYPE if is_lone else BATCH_TYPE,
                "Harvester-Python": PYTHON,
                # A repeated request must not become a second batch of invocations.
                "Idempotency-Key": str(uuid.uuid4()),
            },
            content=batch.items[0].arguments
            if is_lone
            else encode_batch([outgoing.arguments for outgoing in batch.items]),
        )
        response = await self._gateway.send(request, self._patience_s)
        said = msgspec.json.decode(response.content)
        ids: list[str] = [said["invocation_id"]] if is_lone else said["invocation_ids"]
        if len(ids) != len(batch.items):
            raise GatewayError(
                response.status_code, "wrong answer", f"{len(batch.items)} invocations sent, {len(ids)} ids came back"
            )
        return ids

    def _cancel(self, invocation_id: str) -> None:
        """Cancel at the gateway what its user cancelled while it was under way."""
        task = asyncio.create_task(self._cancel_quietly(invocation_id))
        self._cancels.add(task)
        task.add_done_callback(self._cancels.discard)

    async def _cancel_quietly(self, invocation_id: str) -> None:
        request = Request(method="POST", path=f"/v1/invocations/{invocation_id}/cancel")
        try:
            await self._gateway.send(request, self._patience_s)
        except GatewayError:
            return  # its future is cancelled already; nobody is left to be told
