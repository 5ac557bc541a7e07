"""Threads for what may block as long as a network filesystem pleases; nobody waits for them when a program ends.

Owns the threads. An executor's are joined at exit, and one hanging file would keep the program from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 4  # threads


class DaemonThreads:
    """For one event loop, on which everything here is called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0
        self._open = 0  # orders that are not done

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do it in a thread. The future ends as `work` does; cancelled, it leaves `work` alone."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done(tell: Callable[[], None]) -> None:
            self._open -= 1
            if not future.done():
                tell()

        def order() -> None:
            tell: Callable[[], None]
            try:
                tell = partial(future.set_result, work())
            except Exception as raised:  # noqa: BLE001 - outermost of the order; handed on
                tell = partial(future.set_exception, raised)
            except BaseException as raised:  # noqa: BLE001 - as above; but it must not end the loop that it is handed to
                tell = partial(future.set_exception, OSError(f"{type(raised).__name__}: {raised}"))
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(done, tell)

        self._open += 1
        if self._threads < min(self._open, MOST):
            self._threads += 1
            threading.Thread(target=_serve, args=(self._orders,), name=self._name, daemon=True).start()
        self._orders.put(order)
        return future

    def close(self) -> None:
        """End the threads, each when it is done with what it does."""
        for _ in range(self._threads):
            self._orders.put(None)
        self._threads = 0


def _serve(orders: queue.SimpleQueue[Any]) -> None:
    while (order := orders.get()) is not None:
        order()
        del order  # it holds a payload
