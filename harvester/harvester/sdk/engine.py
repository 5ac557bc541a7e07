"""The SDK's background thread: submits what users' threads hand over, and collects the results.

Owns the thread, its event loop, and the hand-over between threads. Everything behind the hand-over runs on the loop, so
nothing there needs a lock.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Iterable

from harvester.sdk.collector import Collector
from harvester.sdk.errors import ClientClosed, HarvesterError
from harvester.sdk.gateway import AsyncGateway
from harvester.sdk.outbox import Outgoing, batches
from harvester.sdk.sender import Sender
from harvester.sdk.settings import Settings

FLUSH_S = 10.0  # at the end of the program, what was submitted gets this long to reach the gateway
_CLOSED = "the client was closed before this invocation ended; it goes on, and Client.result(invocation_id) fetches it"


class Engine:
    """One thread, started at once.

    Parameters
    ----------
    settings: the gateway and the token.
    patience_s: seconds for which a failing submission is repeated.
    """

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._waiting: list[Outgoing] = []
        self._sending: list[Outgoing] = []
        self._is_closed = False
        self._is_quiet = threading.Event()  # nothing waits to be sent, nothing is being sent
        self._is_quiet.set()
        self._is_up = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._wake: asyncio.Event
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="harvester-client", daemon=True)
        self._thread.start()
        self._is_up.wait()
        atexit.register(self.close)

    def submit(self, outgoing: Iterable[Outgoing]) -> None:
        """Hand over invocations, from any thread. Raises `ClientClosed`."""
        with self._lock:
            if self._is_closed:
                raise ClientClosed("the client is closed; make another harvester.Client")
            is_first = not self._waiting
            self._waiting.extend(outgoing)
            self._is_quiet.clear()
            if is_first:
                self._loop.call_soon_threadsafe(self._wake.set)

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Send what waits, for at most `timeout_s`, then end the thread. Open futures end with `ClientClosed`."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        atexit.unregister(self.close)
        if threading.current_thread() is not self._thread:
            self._is_quiet.wait(timeout_s)
        self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._wake, self._stop = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        gateway = AsyncGateway(self._settings)
        collector = Collector(gateway)
        sender = Sender(gateway, self._patience_s, collector.add)
        tasks = [
            asyncio.create_task(self._send(sender)),
            asyncio.create_task(collector.run()),
            asyncio.create_task(self._stop.wait()),
        ]
        self._is_up.set()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        reason: Exception = ClientClosed(_CLOSED)
        if tasks[2] not in done:
            reason = HarvesterError(f"the client broke down: {[task.exception() for task in done]}")
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for outgoing in (*self._sending, *waiting):
            outgoing.future.fail(reason)
        collector.abandon(reason)
        await gateway.close()

    async def _send(self, sender: Sender) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            with self._lock:
                self._sending, self._waiting = self._waiting, []
            for batch in batches(self._sending):
                await sender.send(batch)
            with self._lock:
                self._sending = []
                if not self._waiting:
                    self._is_quiet.set()
