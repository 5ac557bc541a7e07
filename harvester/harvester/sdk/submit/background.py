"""The blocking client's background thread, which runs a line.

Owns the thread, its event loop, and the hand-over between threads. What waits at the hand-over is taken over in one go,
so that a thread that submits in a loop does not wake the engine for each. Whatever ends the thread ends all that is
open, and says why; the engine is over then, and another one can be made.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any

from harvester.sdk.done_callbacks import Callbacks, use
from harvester.sdk.errors import ClientClosed, HarvesterError
from harvester.sdk.http.messages import LOG
from harvester.sdk.http.sync_pool import ConnectionPool
from harvester.sdk.registration.renewals import Renewals
from harvester.sdk.settings import Settings
from harvester.sdk.submit.batching import Holds, Submission
from harvester.sdk.submit.direct_call import ADOPT_S, DirectCall, begin
from harvester.sdk.submit.mapping import MapRun
from harvester.sdk.submit.session import Line

FLUSH_S = 10.0  # at the end of the program, what was submitted gets this long to reach the gateway
GUARD_S = 1.0  # without a call, after which the next one has to wake the thread
_TRIES = 3  # to end what is open, once the thread has broken down


class Engine:
    """One thread, started at once.

    Parameters
    ----------
    settings: the gateway and the token.
    patience_s: seconds for which a failing submission is repeated.
    renewals: of the client whose thread this is.
    connections: the client's blocking ones, for calls that come while nothing else is open.
    """

    def __init__(self, settings: Settings, patience_s: float, renewals: Renewals, connections: ConnectionPool) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._renewals = renewals
        self._connections = connections
        self._lock = threading.Lock()
        self._waiting: list[Submission] = []
        self._direct: DirectCall | None = None  # the latest
        self._is_line_idle = False
        self._is_guarding = False
        self._is_closed = False
        self._flush_s = FLUSH_S
        self._started: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._line: Line
        self._stop: asyncio.Event
        self._callbacks: Callbacks
        self._broken: Exception | None = None  # what ended it, where nobody has closed it
        self._thread = threading.Thread(target=self._run, name="harvester-client", daemon=True)
        self._thread.start()
        self._started.result()
        atexit.register(self.close)

    @property
    def is_broken(self) -> bool:
        """Whether it has ended by itself: another one is to be made."""
        return self._broken is not None

    def submit(self, outgoing: Submission) -> None:
        """Hand over an invocation, from any thread. Raises `ClientClosed`, or what has ended the engine."""
        with self._lock:
            if self._is_closed:
                raise self._broken or _closed()
            if self._waiting or not (self._is_idle() and self._begin_direct(outgoing)):
                self._put(outgoing)

    def start(self, run: MapRun) -> None:
        """Hand over a map, from any thread. Raises as `submit`."""
        with self._lock:
            if self._is_closed:
                raise self._broken or _closed()
            self._is_line_idle = False
            self._loop.call_soon_threadsafe(self._line.start, run)

    def leave(self, run: MapRun) -> None:
        """Give up a map soon. Takes no lock and waits for nothing: the garbage collector calls this in any place."""
        with contextlib.suppress(RuntimeError):  # the engine is over, and with it the map
            self._loop.call_soon_threadsafe(self._line.leave, run)

    def end(self, run: MapRun) -> None:
        """Give up a map, and wait until the gateway knows."""
        self._call(self._line.end(run))

    def stop(self, run: MapRun) -> None:
        """Cancel what of a map has not begun, and wait until the gateway knows."""
        self._call(self._line.stop(run))

    def cancel_waiting(self, throttle: Holds) -> None:
        """Cancel what waits for room."""
        self._call(self._line.cancel_waiting(throttle))

    def wait_for_callbacks(self) -> None:
        """Wait until the done callbacks of what has ended by now were called."""
        self._call(asyncio.sleep(0))  # whatever has just ended, its callbacks are ordered now
        self._callbacks.wait(None)

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
            self._callbacks.close(timeout_s)

    # ---- hand-over -------------------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this on the loop, and wait for its end; nothing where the engine is over."""
        with self._lock:
            if self._is_closed:
                work.close()
                return
            done = asyncio.run_coroutine_threadsafe(work, self._loop)
        with contextlib.suppress(CancelledError):  # the engine ended meanwhile
            done.result()

    def _put(self, outgoing: Submission) -> None:
        """Have the loop take this; the lock is held."""
        self._is_line_idle = False
        self._waiting.append(outgoing)
        if len(self._waiting) == 1:
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if self._direct is not None and self._is_closed and (left := self._direct.release()) is not None:
                waiting.append(left)
        self._line.submit(waiting)
        if self._direct is not None and self._direct.is_unattended:
            self._direct.read(self._loop)

    # ---- calls of an idle client -----------------------------------------------------------------------------------

    def _is_idle(self) -> bool:
        """Whether nothing is open; the lock is held."""
        # Once the line is idle it stays so until it is given something: it is not asked at each call.
        self._is_line_idle = self._is_line_idle or self._line.is_idle
        return self._is_line_idle and (self._direct is None or not self._direct.is_open)

    def _begin_direct(self, outgoing: Submission) -> bool:
        """Send this in the thread that submits it, where that can be; the lock is held."""
        call = begin(outgoing, self._connections, adopt=self._adopt, resume=self._resume)
        if call is None:
            return False
        self._direct = call
        if not self._is_guarding:
            self._is_guarding = True
            self._loop.call_soon_threadsafe(self._guard, call)
        return True

    def _guard(self, seen: DirectCall) -> None:
        """Read what nobody waits for, soon. Looks from time to time while calls come, so that none has to wake it."""
        call = self._direct or seen
        age_s = time.monotonic() - call.began_at
        if call.is_unattended and age_s >= ADOPT_S:
            call.read(self._loop)
        if age_s < GUARD_S:
            self._loop.call_later(ADOPT_S, self._guard, call)
            return
        with self._lock:
            self._is_guarding = self._direct is not call
        if self._is_guarding:
            self._loop.call_soon(self._guard, call)

    def _adopt(self, call: DirectCall) -> None:
        """Have the loop read this. Takes no lock: a future's is held."""
        with contextlib.suppress(RuntimeError):  # the engine is over, and with it the call
            self._loop.call_soon_threadsafe(call.read, self._loop)

    def _resume(self, call: DirectCall) -> None:
        """Send this as all others, from any thread, unless it has ended."""
        with self._lock:
            left = call.release()
            if left is not None:
                self._put(left)

    # ---- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            try:
                runner.run(self._serve())
            except BaseException as end:  # noqa: BLE001 - outermost of the thread: whoever waits must hear of it
                self._break_down(runner, end)

    def _break_down(self, runner: asyncio.Runner, end: BaseException) -> None:
        """End all that is open: something has ended the thread's event loop, which nothing should."""
        why = HarvesterError(
            f"the client's background thread was ended by {type(end).__name__}: {end}; the invocations that were "
            "accepted continue, and the next submission starts another one"
        )
        why.__cause__ = end
        LOG.error("%s", why)
        if not self._started.done():
            self._started.set_exception(why)
            return
        with self._lock:
            self._broken, self._is_closed = why, True
        atexit.unregister(self.close)
        for _ in range(_TRIES):
            try:
                runner.run(self._end_all(why))
                break
            except BaseException:  # noqa: BLE001 - what has ended the loop once may do so again
                LOG.exception("the client's background thread ends")
        self._callbacks.close(0.0)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._callbacks = Callbacks()
        use(self._callbacks)
        try:
            self._line = Line(self._settings, self._patience_s, self._renewals)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits for this thread
            self._started.set_exception(error)
            return
        running = asyncio.create_task(self._line.run())
        stopping = asyncio.create_task(self._stop.wait())
        self._started.set_result(None)
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        with self._lock:
            if running.done():
                self._broken = _reason(running)
            self._is_closed = True
        self._take()
        if self._broken is None:
            await self._line.flush(self._flush_s)
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
        self._take()
        await self._line.close(self._broken)
        if self._broken is not None:
            self._callbacks.close(0.0)

    async def _end_all(self, why: Exception) -> None:
        self._take()
        self._line.fail(why)  # first: what a task has under way is known as long as the task is
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._line.close(why)


def _reason(running: asyncio.Task[None]) -> Exception:
    end = running.exception()
    return end if isinstance(end, Exception) else HarvesterError(f"the client broke down: {end!r}")


def _closed() -> ClientClosed:
    return ClientClosed("the client is closed; make another harvester.Client")
