"""Collects results by long-polls, and ends futures. Runs on the engine's event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from harvester.sdk.errors import GatewayError, InvocationFailed
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.gateway import AsyncGateway, Request, json_request
from harvester.sdk.payloads import CONTENT_TYPE, Ended, decode_result
from harvester.sdk.watch import Poll, Watch

POLL_S = 20.0
LINGER_S = 0.02  # for MAX_IDS ids: a poll repeats its ids for each answer, so let some results gather


_SOME_OF_THEM = frozenset({400, 404, 413, 422})  # refusals that may be about some of the ids only


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What /v1/wait says."""

    ended: list[Ended]
    pending: list[str]


class Collector:
    """Watches accepted invocations until each has ended."""

    def __init__(self, gateway: AsyncGateway) -> None:
        self._gateway = gateway
        self._futures: dict[str, InvocationFuture[Any]] = {}
        self._watch = Watch()
        self._polls: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def add(self, futures: dict[str, InvocationFuture[Any]]) -> None:
        """Watch these too, each under its invocation id."""
        self._futures.update(futures)
        self._watch.add(futures)
        self._wake.set()

    async def run(self) -> None:
        """Open polls as they are needed, until cancelled."""
        try:
            while True:
                self._wake.clear()
                now = time.monotonic()
                while (over := self._watch.turn_over(now)) is not None:
                    self._polls.pop(over.number).cancel()
                    self._watch.close(over.number, over.ids)
                for poll in self._watch.start(now):
                    self._polls[poll.number] = asyncio.create_task(self._poll(poll))
                await self._until(self._watch.next_turn_at())
        finally:
            for task in self._polls.values():
                task.cancel()

    def abandon(self, error: Exception) -> None:
        """End every future that is still open with `error`."""
        for future in self._futures.values():
            future.fail(error)
        self._futures.clear()

    async def _until(self, at: float | None) -> None:
        timeout = None if at is None else max(0.0, at - time.monotonic())
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except TimeoutError:
            return

    async def _poll(self, poll: Poll) -> None:
        still_open: Iterable[str] = poll.ids
        try:
            still_open = await self._ask(poll.ids)
            await asyncio.sleep(LINGER_S * len(still_open) / 1000)
        finally:
            self._polls.pop(poll.number, None)
            self._watch.close(poll.number, (each for each in still_open if each in self._futures))
            self._wake.set()

    async def _ask(self, ids: tuple[str, ...]) -> list[str]:
        """Return those of `ids` that have not ended; end the futures of the others."""
        question = {"invocation_ids": ids, "wait_s": POLL_S, "results": True}
        request = json_request("POST", "/v1/wait", question, wait_s=POLL_S)
        try:
            said = _read((await self._gateway.send(request, math.inf)).content)
        except GatewayError as error:
            return await self._narrow_down(ids, error)
        for ended in said.ended:
            await self._end(ended)
        for forgotten in set(ids) - set(said.pending) - {ended.invocation_id for ended in said.ended}:
            self._fail(forgotten, GatewayError(404, "unknown", f"the gateway does not know invocation {forgotten}"))
        return said.pending

    async def _narrow_down(self, ids: tuple[str, ...], error: GatewayError) -> list[str]:
        """Find whom a refusal is about, by halves. One about us (a wrong token) is about all of them."""
        if len(ids) == 1 or error.status not in _SOME_OF_THEM:
            for invocation_id in ids:
                self._fail(invocation_id, error)
            return []
        middle = len(ids) // 2
        halves = await asyncio.gather(self._ask(ids[:middle]), self._ask(ids[middle:]))
        return [*halves[0], *halves[1]]

    def _fail(self, invocation_id: str, error: Exception) -> None:
        future = self._futures.pop(invocation_id, None)
        if future is not None:
            future.fail(error)

    async def _end(self, ended: Ended) -> None:
        if ended.invocation_id not in self._futures:
            return
        error = ended.error()
        if error is not None:
            self._fail(ended.invocation_id, error)
            return
        try:
            value = await self._value(ended)
        except (GatewayError, InvocationFailed) as failure:
            self._fail(ended.invocation_id, failure)
            return
        future = self._futures.pop(ended.invocation_id, None)
        if future is not None:
            future.settle(value)

    async def _value(self, ended: Ended) -> Any:  # noqa: ANN401 - a user's result
        body = ended.embedded_result()
        if body is not None:
            return decode_result(ended.invocation_id, CONTENT_TYPE[ended.encoding], body)
        request = Request(method="GET", path=f"/v1/invocations/{ended.invocation_id}/result")
        response = await self._gateway.send(request, math.inf)
        return decode_result(ended.invocation_id, response.headers.get("content-type", ""), response.content)


def _read(content: bytes) -> _Answer:
    try:
        return msgspec.json.decode(content, type=_Answer)
    except msgspec.DecodeError as error:
        raise GatewayError(
            200,
            "wrong answer",
            f"the answer of POST /v1/wait is not what it should be: {error}",
            remedy="is there a gateway at this address, of this version?",
        ) from error
