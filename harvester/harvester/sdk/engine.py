"""The blocking client's background thread, which runs a line.

Owns the thread, its event loop, and the hand-over between threads. What waits at the hand-over is taken over in one go,
so that a thread that submits in a loop does not wake the engine for each.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from harvester.sdk.errors import ClientClosed
from harvester.sdk.line import Line
from harvester.sdk.mapping import MapRun
from harvester.sdk.outbox import Outgoing
from harvester.sdk.settings import Settings

T = TypeVar("T")
FLUSH_S = 10.0  # at the end of the program, what was submitted gets this long to reach the gateway


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
        self._is_closed = False
        self._flush_s = FLUSH_S
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._line: Line
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="harvester-client", daemon=True)
        self._thread.start()
        self._started.result()
        atexit.register(self.close)

    def submit(self, outgoing: Outgoing) -> None:
        """Hand over an invocation, from any thread. Raises `ClientClosed`."""
        with self._lock:
            if self._is_closed:
                raise _closed()
            self._waiting.append(outgoing)
            if len(self._waiting) == 1:
                self._loop.call_soon_threadsafe(self._take)

    def start(self, run: MapRun) -> None:
        """Hand over a map, from any thread. Raises `ClientClosed`."""
        self._soon(self._line.start, run)

    def leave(self, run: MapRun) -> None:
        """Give up a map and wait until the gateway knows, unless this is the engine's own thread."""
        with contextlib.suppress(ClientClosed):
            if threading.current_thread() is self._thread:
                run.leave()
                return
            self._call(self._line.leave(run))

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Send what waits, for at most `timeout_s`, then end the thread. Open futures end with `ClientClosed`."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._flush_s = timeout_s
            self._loop.call_soon_threadsafe(self._stop.set)
        atexit.unregister(self.close)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ---- hand-over -------------------------------------------------------------------------------------------------

    def _soon(self, function: Callable[[MapRun], None], run: MapRun) -> None:
        with self._lock:
            if self._is_closed:
                raise _closed()
            self._loop.call_soon_threadsafe(function, run)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        with self._lock:
            if self._is_closed:
                work.close()
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        with contextlib.suppress(CancelledError):  # the engine ended meanwhile
            future.result()

    def _take(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        self._line.submit(waiting)

    # ---- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._line = Line(self._settings, self._patience_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits for this thread
            self._started.set_exception(error)
            return
        running = asyncio.create_task(self._line.run())
        stopping = asyncio.create_task(self._stop.wait())
        self._started.set_result(None)
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        with self._lock:
            self._is_closed = True
        self._take()
        reason: Exception | None = None
        if running.done():
            stopping.cancel()
            end = running.exception()
            reason = end if isinstance(end, Exception) else None
        else:
            await self._line.flush(self._flush_s)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await self._line.close(reason)


def _closed() -> ClientClosed:
    return ClientClosed("the client is closed; make another harvester.Client")
