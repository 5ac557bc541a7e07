"""Done callbacks of futures, in a thread of their own, where they may block, submit, wait, or even exit.

Owns the thread. One callback runs after the other, until one blocks: then another thread takes over, so that a callback
may wait for what other callbacks do. Threads other than a client's own find none of this and run callbacks themselves,
as `concurrent.futures` does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable

BLOCKED_S = 0.05  # a callback that takes longer, while others wait, is left alone with its thread
MOST = 64  # threads, each but one with a callback that blocks
LOG = logging.getLogger("harvester.sdk")


class Callbacks:
    """For one client's background thread. Made and ordered there, on its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = threading.Condition()
        self._orders: deque[Callable[[], None]] = deque()
        self._begun = 0  # orders, in all
        self._open = 0  # orders that have not ended
        self._leader: threading.Thread | None = None
        self._threads = 0
        self._is_closed = False

    def put(self, order: Callable[[], None]) -> None:
        """Have this done soon."""
        with self._changed:
            self._orders.append(order)
            self._open += 1
            if self._leader is None:
                self._lead()
            self._changed.notify_all()
        if self._timer is None:
            self._timer = self._loop.call_later(BLOCKED_S, self._look, self._begun)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until all is done, but not longer than `timeout_s`. From any thread."""
        own = int(_here.serving is self)  # a callback that waits cannot wait for itself
        with self._changed:
            self._changed.wait_for(lambda: self._open <= own, timeout_s)

    def close(self, timeout_s: float) -> None:
        """As `wait`, then end the threads."""
        self.wait(timeout_s)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _look(self, begun: int) -> None:
        """Give the lead to a new thread when nothing has begun since the last look, though something waits."""
        self._timer = None
        with self._changed:
            if not self._orders:
                return
            if self._begun == begun and self._threads < MOST:
                self._lead()
        self._timer = self._loop.call_later(BLOCKED_S, self._look, self._begun)

    def _lead(self) -> None:
        self._threads += 1
        self._leader = threading.Thread(target=self._serve, name="harvester-callbacks", daemon=True)
        self._leader.start()

    def _serve(self) -> None:
        """Do what is ordered, for as long as this is the thread that does."""
        _here.serving = self
        while (order := self._next()) is not None:
            try:
                order()
            except BaseException:
                # Outermost of the thread. A callback's own errors end there; what comes to here must not end the rest.
                LOG.exception("a future's callbacks broke off")
            finally:
                order = None  # it holds a result
                with self._changed:
                    self._open -= 1
                    self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None when this thread is not needed any more."""
        me = threading.current_thread()
        with self._changed:
            while self._leader is me and not self._orders and not self._is_closed:
                self._changed.wait()
            if self._leader is not me or not self._orders:
                self._threads -= 1
                return None
            self._begun += 1
            return self._orders.popleft()


class _Here(threading.local):
    """What belongs to the running thread."""

    callbacks: Callbacks | None = None  # of the client whose background thread it is
    serving: Callbacks | None = None  # whose callbacks it runs


_here = _Here()


def use(callbacks: Callbacks) -> None:
    """Hand over to these what this thread would otherwise run itself."""
    _here.callbacks = callbacks


def hand_over(order: Callable[[], None]) -> None:
    """Do this where it may block: in the callbacks' thread if this is a client's background thread, else here."""
    if _here.callbacks is None:
        order()
    else:
        _here.callbacks.put(order)
