"""Futures of invocations.

Owns the meeting of two threads at one future: the user's, who may cancel, and the engine's, which learns the id and the
outcome. Sends nothing itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any, TypeVar

R = TypeVar("R")
Cancel = Callable[[str], bool]


class InvocationFuture(Future[R]):
    """A `concurrent.futures.Future` of one invocation; made by `Client.submit` and `Client.map`.

    `running` is always False: the gateway tells of ends, not of starts. `Client.invocation` has the state.

    Parameters
    ----------
    cancel: cancels an invocation at the gateway, by its id, and tells whether it is cancelled now.
    """

    def __init__(self, cancel: Cancel) -> None:
        super().__init__()
        self._cancel_remotely = cancel
        self._lock = threading.Lock()
        self._known = threading.Event()
        self._invocation_id: str | None = None
        self._is_withdrawn = False  # cancelled before its id was known
        self._is_told = False  # the waiters of a cancelled future were told

    @property
    def invocation_id(self) -> str:
        """The gateway's id. Blocks until the gateway has answered the submission.

        Raises what the submission ended with when there is none: `GatewayError`, or `CancelledError` when it was
        cancelled before it was sent.
        """
        self._known.wait()
        if self._invocation_id is None:
            raise (None if self.cancelled() else self.exception()) or CancelledError("cancelled before it was sent")
        return self._invocation_id

    def cancel(self) -> bool:
        """Cancel the invocation, at the gateway too. Return False when it has ended already.

        An invocation that runs is stopped. Raises `GatewayError` when the gateway refuses or does not answer.
        """
        if self.done():
            return self.cancelled()
        with self._lock:
            invocation_id = self._invocation_id
            self._is_withdrawn = invocation_id is None
        if invocation_id is not None and not self._cancel_remotely(invocation_id):
            return False
        cancelled = self.cancel_here()
        self._known.set()
        return cancelled

    def cancel_here(self) -> bool:
        """Mark the future as cancelled, at this end only, and tell its waiters."""
        if not super().cancel():
            return False
        with self._lock:
            is_first, self._is_told = not self._is_told, True
        if is_first:
            # Without this, `concurrent.futures.wait` and `as_completed` never hear of a cancelled future.
            self.set_running_or_notify_cancel()
        return True

    def accept(self, invocation_id: str) -> bool:
        """Take the id that the gateway gave. Return False when the user has cancelled in the meantime."""
        with self._lock:
            self._invocation_id = invocation_id
            is_withdrawn = self._is_withdrawn
        self._known.set()
        return not is_withdrawn

    def settle(self, value: Any) -> None:  # noqa: ANN401 - the function's result, unpickled
        """End with a result, unless it has ended before."""
        with contextlib.suppress(InvalidStateError):
            self.set_result(value)
        self._known.set()

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended before. A `CancelledError` cancels."""
        if isinstance(error, CancelledError):
            self.cancel_here()
        else:
            with contextlib.suppress(InvalidStateError):
                self.set_exception(error)
        self._known.set()
