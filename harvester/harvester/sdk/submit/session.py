"""The line of one program to its gateway: sends submissions and hears of their ends, on the running event loop.

Owns what works together for that: the sender, the listener and the collector, and the maps that are under way. The
blocking client runs one in a thread (`background`), the asyncio client on its user's own loop.
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Coroutine, Iterable
from concurrent.futures import CancelledError
from typing import Any

from harvester.domain.model.invocations import InvocationState
from harvester.sdk.errors import ClientClosed, GatewayError, HarvesterError
from harvester.sdk.http.drivers import AsyncDriver
from harvester.sdk.http.messages import LOG
from harvester.sdk.operations import views
from harvester.sdk.payload.shared_directory import SharedDirectory
from harvester.sdk.registration.renewals import Renewals
from harvester.sdk.settings import Settings
from harvester.sdk.submit.batching import Holds, Submission
from harvester.sdk.submit.mapping import MapRun
from harvester.sdk.submit.result_stream import ResultStream
from harvester.sdk.submit.results import Collector
from harvester.sdk.submit.sender import Sender

MAX_CANCELS = 8  # side by side
_UNSENT = (
    "the client was closed before the gateway answered this submission, which may not have reached it: if "
    "`harvester invocations` does not list it, submit it again"
)
_CLOSED = (
    "the client was closed before this invocation ended; the invocation continues: Client.result(invocation_id) "
    "fetches its result"
)


class Line:
    """Made and used on one event loop.

    Parameters
    ----------
    settings: the gateway and the token.
    patience_s: seconds for which a failing submission is repeated.
    renewals: of the client whose line this is.
    """

    def __init__(self, settings: Settings, patience_s: float, renewals: Renewals) -> None:
        self._patience_s = patience_s
        self._gateway = AsyncDriver(settings)
        stream_id = uuid.uuid4().hex
        self._directory = SharedDirectory(self._gateway)
        self._collector = Collector(self._gateway, self._directory, stream_id)
        self._listener = ResultStream(self._gateway, stream_id, self._collector)
        self._sender = Sender(
            self._gateway,
            patience_s,
            stream_id,
            directory=self._directory,
            collector=self._collector,
            withdraw=self.withdraw,
            renewals=renewals,
        )
        self._maps: set[MapRun] = set()
        self._throttles: weakref.WeakSet[Holds] = weakref.WeakSet()
        self._cancels: set[asyncio.Task[None]] = set()
        self._may_cancel = asyncio.Semaphore(MAX_CANCELS)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open. From any thread: it may be so no longer when it is read."""
        return self._sender.is_quiet and self._collector.is_quiet and not self._maps

    def submit(self, outgoing: Iterable[Submission]) -> None:
        """Send these soon, or when their throttle lets them."""
        at_once = []
        for each in outgoing:
            if each.throttle is None:
                at_once.append(each)
            else:
                self._throttles.add(each.throttle)
                each.throttle.put([each], self._sender.put)
        if at_once:
            self._sender.put(at_once)

    def start(self, run: MapRun) -> None:
        """Begin a map; it plans its own chunks."""
        self._maps.add(run)
        run.begin(self.submit, self.withdraw, self._maps.discard)

    def withdraw(self, invocation_id: str) -> None:
        """Cancel an invocation at the gateway that is no longer wanted, without waiting for the answer."""
        self._spawn(self._withdraw(invocation_id))

    async def _withdraw(self, invocation_id: str) -> None:
        try:
            async with self._may_cancel:
                await self._gateway.run(views.cancel(invocation_id), self._patience_s)
        except GatewayError:
            return  # the future is cancelled already: there is nobody to tell

    def leave(self, run: MapRun) -> None:
        """Give up a map: what of it has not ended is cancelled."""
        if run in self._maps:
            run.leave()

    async def cancel_waiting(self, throttle: Holds) -> None:
        """Cancel what waits for room."""
        throttle.fail(CancelledError("it was cancelled before it was sent"))

    async def stop(self, run: MapRun) -> None:
        """Cancel what of a map no pilot has; the gateway has been told when this returns."""
        for chunk in run.stop():
            if chunk.invocation_id is None or await self._waits(chunk.invocation_id):
                run.give_up(chunk)
        await self.settled()

    async def _waits(self, invocation_id: str) -> bool:
        try:
            document = await self._gateway.run(views.invocation(invocation_id), self._patience_s)
        except GatewayError:
            return False  # nobody knows: it is left to itself
        return document.get("state") == InvocationState.ACCEPTED.value

    async def end(self, run: MapRun) -> None:
        """As `leave`; the gateway has been told when this returns."""
        self.leave(run)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the gateway has been told of all that is cancelled."""
        while self._cancels:
            await asyncio.wait(self._cancels)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._cancels.add(task)
        task.add_done_callback(self._cancels.discard)

    async def run(self) -> None:
        """Work until cancelled; raises `HarvesterError` only when something broke down that never should."""
        tasks = [asyncio.create_task(work) for work in (self._listener.run(), self._collector.run(), self._send())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            raise HarvesterError(f"the client broke down: {[task.exception() for task in done]}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        await self._listener.settled()
        await self._sender.run()

    async def flush(self, timeout_s: float) -> None:
        """Wait until what was submitted or cancelled has reached the gateway, but not longer than `timeout_s`."""
        for run in tuple(self._maps):
            run.hurry()
        for throttle in tuple(self._throttles):
            throttle.lift()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not (self._sender.is_quiet and not self._cancels) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - as below
            await asyncio.sleep(0.005)  # at the end of a program only

    def fail(self, why: Exception, unsent: Exception | None = None) -> None:
        """End all that is open with this error, and what the gateway has not answered with the other one."""
        for run in tuple(self._maps):
            run.fail(why)
        for throttle in tuple(self._throttles):
            throttle.fail(why)
        lost = self._sender.abandon(unsent or why)
        if lost:
            LOG.warning("the client ends, and %d submissions may not have reached the gateway", lost)
        self._collector.abandon(why)

    async def close(self, reason: Exception | None = None) -> None:
        """End all that is open with `ClientClosed`, or with `reason`. `run` must be over."""
        why = reason or ClientClosed(_CLOSED)
        self.fail(why, reason or ClientClosed(_UNSENT))
        await self._collector.stop(why)
        for task in self._cancels:
            task.cancel()
        await asyncio.gather(*self._cancels, return_exceptions=True)
        self._directory.close()
        await self._gateway.close()
