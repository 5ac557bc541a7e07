"""A bound on open invocations: what is over it waits here, in its order, until others have ended.

Owns the count. Runs on the line's event loop; sends nothing itself.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from harvester.sdk.futures import Sink
from harvester.sdk.submit.batching import Submission


class Throttle:
    """Lets at most `most` invocations be open at a time, of all that are put in."""

    def __init__(self, most: int) -> None:
        self._room: float = most
        self._waiting: deque[Submission] = deque()
        self._send: Callable[[Iterable[Submission]], None]

    def put(self, outgoing: Iterable[Submission], send: Callable[[Iterable[Submission]], None]) -> None:
        """Send these with `send`, each as soon as there is room for it."""
        self._send = send
        self._waiting.extend(outgoing)
        self._fill()

    def lift(self) -> None:
        """Send all that waits: the client ends, and what was submitted is to reach the gateway."""
        self._room = math.inf
        if self._waiting:
            self._fill()

    def fail(self, error: Exception) -> None:
        """End all that waits with `error`."""
        while self._waiting:
            self._waiting.popleft().sink.fail(error)

    def _fill(self) -> None:
        chosen = []
        while self._waiting and self._room > 0:
            each = self._waiting.popleft()
            if not each.sink.cancelled():
                self._room -= 1
                chosen.append(msgspec.structs.replace(each, sink=_Counted(each.sink, self._release)))
        if chosen:
            self._send(chosen)

    def _release(self) -> None:
        self._room += 1
        if self._waiting:
            self._fill()


def throttle_of(max_open: int | None) -> Throttle | None:
    """Return a throttle for this bound; None for none. Raises `ValueError`."""
    if max_open is not None and max_open < 1:
        raise ValueError(f"max_open must be at least 1, not {max_open}")
    return None if max_open is None else Throttle(max_open)


class _Counted:
    """Reports once that an invocation is no longer waited for (`futures.Sink`)."""

    def __init__(self, sink: Sink, release: Callable[[], None]) -> None:
        self._sink = sink
        self._release: Callable[[], None] | None = release

    def cancelled(self) -> bool:
        return self._sink.cancelled() and self._over()

    def accept(self, invocation_id: str) -> bool:
        return self._sink.accept(invocation_id) or not self._over()

    def settle(self, value: Any) -> None:  # noqa: ANN401 - the function's result
        self._sink.settle(value)
        self._over()

    def fail(self, error: BaseException) -> None:
        self._sink.fail(error)
        self._over()

    def _over(self) -> bool:
        release, self._release = self._release, None
        if release is not None:
            release()
        return True
