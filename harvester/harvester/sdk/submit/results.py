"""Ends what waits for invocations, as the stream or the gateway's answers tell of their ends.

Owns who waits for which id. Runs on the line's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harvester.domain.protocol import stream
from harvester.sdk.errors import GatewayError, InvocationFailed
from harvester.sdk.futures import Sink, end
from harvester.sdk.http.drivers import AsyncDriver
from harvester.sdk.operations import calls
from harvester.sdk.payload.payloads import EndedDocument, decode_result, error_in, value_of
from harvester.sdk.payload.shared_directory import SharedDirectory
from harvester.sdk.submit.unresolved import UnresolvedIds

MAX_FETCHES = 4  # of large results, side by side
MAX_EARLY_BYTES = 64 * 1024 * 1024
_SOME_OF_THEM = frozenset({400, 404, 413, 422})  # refusals that may be about some of the ids only


class Collector:
    """Watches accepted invocations until each has ended. Hears the stream (`listener.Hearer`)."""

    def __init__(self, gateway: AsyncDriver, directory: SharedDirectory, stream_id: str) -> None:
        self._gateway, self._directory, self._stream_id = gateway, directory, stream_id
        self._sinks: dict[str, Sink] = {}
        self._early: dict[str, stream.Ended] = {}  # ends that were told before the submission was answered
        self._early_bytes = 0
        self._watch = UnresolvedIds()
        self._wake = asyncio.Event()
        self._sleeps_until = 0.0  # `run` looks again then by itself
        self._fetches: set[asyncio.Task[None]] = set()
        self._may_fetch = asyncio.Semaphore(MAX_FETCHES)

    @property
    def epoch(self) -> int:
        """The stream's, to be remembered with what is sent now."""
        return self._watch.epoch

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is waited for."""
        return not (self._sinks or self._fetches)

    def add(self, sinks: Mapping[str, Sink], sent_in: int, *, is_last: bool) -> None:
        """Watch these, each under its invocation id; they were sent in the epoch `sent_in`.

        `is_last` tells that no other submission is under way, so that no end can be early any more.
        """
        self._sinks.update(sinks)
        now = time.monotonic()
        self._watch.add(sinks, sent_in, now)
        if self._early:
            self.hear([self._early.pop(each) for each in sinks if each in self._early])
            if is_last:
                self._early.clear()
                self._early_bytes = 0
        next_at = self._watch.next_at(now)
        if next_at is not None and next_at < self._sleeps_until:
            self._wake.set()

    # ---- the stream ----------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """Ask for all that are open: the stream has not told of what ended before."""
        self._watch.connected()
        self._wake.set()

    def cut(self) -> None:
        """Remember that ends may be missed."""
        self._watch.cut()

    def refused(self) -> None:
        """Ask from now on."""
        self._watch.refused()
        self._wake.set()

    def hear(self, ended: Sequence[stream.Ended | EndedDocument]) -> None:
        """End what waits for these."""
        for each in ended:
            if each.invocation_id in self._sinks:
                self._end(each)
            elif isinstance(each, stream.Ended):
                self._keep(each)

    def _keep(self, ended: stream.Ended) -> None:
        size = 500 + len(ended.value or b"")
        if self._early_bytes + size > MAX_EARLY_BYTES:
            return  # the sweep finds it
        self._early_bytes += size
        self._early[ended.invocation_id] = ended

    def _end(self, ended: stream.Ended | EndedDocument) -> None:
        invocation_id = ended.invocation_id
        failure = error_in(ended)
        value = value_of(ended)
        if failure is None and value is None:
            task = asyncio.create_task(self._fetch(ended))
            self._fetches.add(task)
            task.add_done_callback(self._fetches.discard)
            return
        self._watch.discard(invocation_id)
        sink = self._sinks.pop(invocation_id)
        if failure is None:
            try:
                result = decode_result(invocation_id, ended.encoding, value or b"")
            except InvocationFailed as undecodable:
                failure = undecodable
            else:
                sink.settle(result)
                return
        sink.fail(failure)

    async def _fetch(self, ended: stream.Ended | EndedDocument) -> None:
        invocation_id = ended.invocation_id
        self._watch.discard(invocation_id)
        sink = self._sinks.pop(invocation_id)
        try:
            async with self._may_fetch:
                result = await self._large(ended)
        except (GatewayError, InvocationFailed) as failure:
            sink.fail(failure)
        except asyncio.CancelledError:
            self._sinks[invocation_id] = sink  # for `abandon`
            raise
        else:
            sink.settle(result)

    async def _large(self, ended: stream.Ended | EndedDocument) -> Any:  # noqa: ANN401 - a user's result is anything
        body = None
        if isinstance(ended, stream.Ended) and ended.blob is not None:
            body = await self._directory.read(ended.blob)
        if body is not None:
            return decode_result(ended.invocation_id, ended.encoding, body)
        return await self._gateway.run(calls.fetch(ended.invocation_id), math.inf)

    # ---- questions -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask for what the stream may have missed, until cancelled."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            ids = self._watch.question(now)
            if ids:
                await self._ask(ids)
                continue
            next_at = self._watch.next_at(now)
            timeout = None if next_at is None else max(0.01, next_at - now)
            self._sleeps_until = math.inf if timeout is None else now + timeout
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):  # not `wait_for`: see `sender`
                    await self._wake.wait()

    def abandon(self, error: Exception) -> None:
        """End everything that is still open with `error`."""
        for task in self._fetches:
            task.cancel()
        while self._sinks:
            _, sink = self._sinks.popitem()
            end(sink, error)

    async def stop(self, error: Exception) -> None:
        """As `abandon`, after what is being fetched has been given up."""
        for task in self._fetches:
            task.cancel()
        await asyncio.gather(*self._fetches, return_exceptions=True)
        self.abandon(error)

    async def _ask(self, ids: Sequence[str]) -> None:
        """End those of `ids` that have ended."""
        try:
            said = await self._gateway.run(calls.ends(ids, self._stream_id), math.inf)
        except GatewayError as error:
            await self._narrow_down(ids, error)
            return
        self.hear(said.ended)
        known = {*said.pending, *(ended.invocation_id for ended in said.ended)}
        for forgotten in (each for each in ids if each not in known):
            self._fail(forgotten, GatewayError(404, "unknown", f"the gateway does not know invocation {forgotten}"))

    async def _narrow_down(self, ids: Sequence[str], error: GatewayError) -> None:
        """Find whom a refusal is about, by halves. One about us (a wrong token) is about all of them."""
        if len(ids) == 1 or error.status not in _SOME_OF_THEM:
            for invocation_id in ids:
                self._fail(invocation_id, error)
            return
        middle = len(ids) // 2
        await self._ask(ids[:middle])
        await self._ask(ids[middle:])

    def _fail(self, invocation_id: str, error: Exception) -> None:
        sink = self._sinks.pop(invocation_id, None)
        self._watch.discard(invocation_id)
        if sink is not None:
            sink.fail(error)
