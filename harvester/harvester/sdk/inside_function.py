"""The SDK inside a function that runs on a pilot: its gateway, its credential, and its waiting.

Owns what of the run's host (`domain.hosting`) the clients use. Outside a slot all of it is nothing.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

from harvester.domain.model import hosting
from harvester.domain.model.hosting import Access, RunOver
from harvester.sdk.settings import Settings, config_path, find_settings


def settings_here(url: str | None, token: str | None) -> Settings:
    """Return gateway and token for a client that is made now.

    Raises `ConfigurationError`; `RunOver` in a thread that outlived its run, unless both are given.
    """
    host = hosting.host()
    access: Access | None = None
    if host is not None:
        try:
            access = host.access()
        except RunOver:
            if not (url and token):
                raise
    return find_settings(url, token, environ=os.environ, config=config_path(), run=access)


class TellingCondition(threading.Condition):
    """The condition of a future inside a slot, on which `result` and `exception` block."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, and have the host told if that takes long."""
        with hosting.waiting():
            return super().wait(timeout)


class TellingWaiters(list[Any]):
    """The waiters of a future inside a slot: `concurrent.futures.wait` and `as_completed` put theirs here.

    What these block on is an event of their own, so that is made one that tells the host.
    """

    def append(self, waiter: Any) -> None:  # noqa: ANN401 - one of `concurrent.futures`' own
        """Take a waiter in."""
        if not isinstance(waiter.event, _TellingEvent):
            waiter.event = _TellingEvent()  # the old one is unset: the waiter was made just now
        super().append(waiter)


class _TellingEvent(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        with hosting.waiting():
            return super().wait(timeout)


class OpenFutures:
    """The futures of an asyncio client that have not ended: while there are any, its loop may be waiting for them.

    Whether it is, the host sees from the CPU time of the process; each end may set the loop to work.
    """

    def __init__(self) -> None:
        self._count = 0
        self._block: AbstractContextManager[object] | None = None

    def add(self, future: Any) -> None:  # noqa: ANN401 - of any result
        """Count a future until it is done."""
        if hosting.host() is None:
            return
        self._count += 1
        self._begin()
        future.add_done_callback(self._done)

    def _done(self, _future: object) -> None:
        self._count -= 1
        if self._block is not None:
            self._block.__exit__(None, None, None)
            self._block = None
        if self._count:
            self._begin()

    def _begin(self) -> None:
        if self._block is None:
            self._block = hosting.waiting()
            self._block.__enter__()
