"""Futures of invocations for asyncio.

Owns `AsyncInvocationFuture`, the twin of `futures.InvocationFuture` on an event loop. Sends nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, NoReturn, TypeVar

from harvester.sdk.errors import CannotTravel
from harvester.sdk.futures import NOT_ITSELF

R = TypeVar("R")


class AsyncInvocationFuture(asyncio.Future[R]):
    """An `asyncio.Future` of one invocation; made by `AsyncClient.submit` and `AsyncClient.map`.

    To await it is to wait for the result. Cancelling it, which `asyncio.wait_for` does when its time is over, cancels
    the invocation at the gateway too; `asyncio.shield` keeps it going.

    Parameters
    ----------
    cancel: has an invocation cancelled at the gateway, by its id, without waiting for it.
    """

    _invocation_id: str | None = None

    def __init__(self, cancel: Callable[[str], None]) -> None:
        super().__init__()
        self._cancel_remotely = cancel
        self._known = asyncio.Event()
        self.add_done_callback(lambda _: self._known.set())

    async def invocation_id(self) -> str:
        """Return the gateway's id, once it has answered the submission. Raises as `InvocationFuture.invocation_id`."""
        await self._known.wait()
        if self._invocation_id is None:
            raise (None if self.cancelled() else self.exception()) or CancelledError("cancelled before it was sent")
        return self._invocation_id

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ANN401 - asyncio's signature
        """Cancel the invocation; the gateway is told in the background. Return False when it has ended already."""
        if not super().cancel(msg):
            return False
        if self._invocation_id is not None:
            self._cancel_remotely(self._invocation_id)
        return True

    def accept(self, invocation_id: str) -> bool:
        """Take the id that the gateway gave. Return False when the user has cancelled in the meantime."""
        self._invocation_id = invocation_id
        self._known.set()
        return not self.cancelled()

    def settle(self, value: Any) -> None:  # noqa: ANN401 - the function's result, unpickled
        """End with a result, unless it has ended before."""
        if not self.done():
            self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended before. A `CancelledError` cancels."""
        if self.done():
            return
        if isinstance(error, CancelledError):
            super().cancel()
            return
        if isinstance(error, StopIteration):  # asyncio refuses it: a coroutine would take it for its own end
            error = error.__cause__ or error
        self.set_exception(error)

    def __reduce__(self) -> NoReturn:
        raise CannotTravel(NOT_ITSELF)
