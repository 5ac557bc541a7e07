"""Futures of invocations for threads, and the interface of the code that ends them.

Owns the meeting of two sides at one future: the user, who may cancel, and the line, which learns the id and the
outcome. Sends nothing itself.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any, NoReturn, Protocol, TypeVar

from harvester.domain.model import hosting
from harvester.domain.model.invocations import InvocationState
from harvester.sdk.done_callbacks import hand_over
from harvester.sdk.errors import CannotTravel
from harvester.sdk.inside_function import TellingCondition, TellingWaiters

R = TypeVar("R")
Callback = Callable[[Future[Any]], object]
LOG = logging.getLogger("concurrent.futures")  # where everybody looks for what callbacks raise
ID_S = 1.0  # for which `cancel` and `running` wait for the id; what was cancelled later is so when that comes
NOT_ITSELF = "a future cannot travel: pass its .result(), or the .invocation_id to ask for it there"


class Remote(Protocol):
    """What a future asks of the gateway. Each blocks, and raises `GatewayError`."""

    def cancel(self, invocation_id: str, /) -> bool:
        """Cancel an invocation, and tell whether it is cancelled now."""
        ...

    def state(self, invocation_id: str, /) -> InvocationState:
        """Return the state of an invocation."""
        ...


class Carrier(Protocol):
    """The connection that carries a future's invocation, and whose answer a waiting thread reads; see `direct_call`."""

    def wait(self, timeout_s: float | None, /) -> None:
        """Read the answer and end the future. May return before, without an end."""
        ...

    def adopt(self) -> None:
        """Have the event loop read: somebody wants to be told of the end without waiting here. Takes no lock."""
        ...

    def call_back(self) -> None:
        """See that another thread ends the future, since it has done callbacks now."""
        ...

    def take_over(self) -> None:
        """Have the id told soon."""
        ...


class Sink(Protocol):
    """Whoever waits for an invocation's end. Told on the line's event loop."""

    def cancelled(self) -> bool:
        """Whether it is no longer wanted."""
        ...

    def accept(self, invocation_id: str, /) -> bool:
        """Take the id that the gateway gave. Return False when the user has cancelled in the meantime."""
        ...

    def settle(self, value: Any, /) -> None:  # noqa: ANN401 - the function's result, unpickled
        """End with a result, unless it has ended before."""
        ...

    def fail(self, error: BaseException, /) -> None:
        """End with an error, unless it has ended before. A `CancelledError` cancels."""
        ...


def end(sink: Sink, error: Exception) -> None:
    """End a sink with `error`, when all that is open ends: a defect at one of them must not leave the others open."""
    try:
        sink.fail(error)
    except Exception:
        logging.getLogger("harvester.sdk").exception("what waits for an invocation could not be told of its end")


class InvocationFuture(Future[R]):
    """A `concurrent.futures.Future` of one invocation; made by `Client.submit` and `Client.map`.

    Parameters
    ----------
    remote: the gateway, as a future asks it.
    """

    # Values of the class until something happens: a future is made for each of very many invocations.
    _invocation_id: str | None = None
    _is_withdrawn = False  # cancelled before its id was known
    _is_told = False  # the waiters of a cancelled future were told
    _known: threading.Event | None = None  # somebody waits for the id
    _callbacks: list[Callback] | None = None  # to be run when it has ended
    _carrier: Carrier | None = None

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self._remote = remote
        if hosting.host() is not None:
            self._condition, self._waiters = TellingCondition(), TellingWaiters()

    def result(self, timeout: float | None = None) -> R:
        """Return the function's result; see `concurrent.futures.Future.result`."""
        try:
            return super().result(timeout if self._carrier is None else self._read(timeout))
        finally:
            del self  # the traceback of what it raises holds this frame: with the future they would be a cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the function raised; see `concurrent.futures.Future.exception`."""
        return super().exception(timeout if self._carrier is None else self._read(timeout))

    def _read(self, timeout: float | None) -> float | None:
        """Read the answer here, where that can be; return how long is left to wait."""
        begun_at = time.monotonic()
        if (carrier := self._carrier) is not None and not super().done():
            carrier.wait(timeout)
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - begun_at))

    def done(self) -> bool:
        """Whether it has ended."""
        if self._carrier is not None:
            self._carrier.adopt()  # who asks does not wait, and wants to be told all the same
        return super().done()

    def carried_by(self, carrier: Carrier | None) -> None:
        """Have the answer read by who waits, through `carrier`; None: somebody else will tell of the end."""
        if carrier is not None:
            self._waiters = (_CarriedWaiters if hosting.host() is None else _TellingCarriedWaiters)(carrier.adopt)
        self._carrier = carrier

    @property
    def invocation_id(self) -> str:
        """The gateway's id. Blocks until the gateway has answered the submission.

        Raises what the submission ended with when there is none: `GatewayError`, or `CancelledError` when it was
        cancelled before it was sent.
        """
        if self._invocation_id is None:
            self._wait_for_id(None)
        if self._invocation_id is None:
            raise (None if self.cancelled() else self.exception()) or CancelledError("cancelled before it was sent")
        return self._invocation_id

    def cancel(self) -> bool:
        """Cancel the invocation, at the gateway too. Return False when it has ended already.

        An invocation that runs is stopped. Raises `GatewayError` when the gateway refuses or does not answer.
        """
        if self.done():
            return self.cancelled()
        if self._carrier is not None:
            self._wait_for_id(ID_S)
            if self.done():
                return self.cancelled()
        with self._condition:
            invocation_id = self._invocation_id
            self._is_withdrawn = invocation_id is None
        if invocation_id is not None and not self._remote.cancel(invocation_id):
            return False
        return self.cancel_here()

    def running(self) -> bool:
        """Whether it runs on a pilot now. Asks the gateway, unless it has ended or is not accepted yet."""
        if self.done():
            return False
        if self._carrier is not None:
            self._wait_for_id(ID_S)  # the gateway has it, and has not told the id yet
        invocation_id = self._invocation_id
        if invocation_id is None:
            return False
        return self._remote.state(invocation_id) is InvocationState.RUNNING

    def cancel_waiting(self) -> None:
        """Cancel it unless a pilot has it. Blocks until the gateway has answered the submission."""
        with contextlib.suppress(Exception):  # whatever the submission has ended with, it is over
            state = self._remote.state(self.invocation_id)
            if state is InvocationState.ACCEPTED:
                self.cancel()

    def add_done_callback(self, fn: Callback) -> None:
        """Have `fn(self)` called when it has ended; at once, and here, where it has.

        Else in a thread of the client's that is there for it: `fn` may block, wait for other futures, and submit. The
        callbacks of one future are called in their order.
        """
        with self._condition:
            is_first = self._callbacks is None
            callbacks = self._callbacks = self._callbacks or []
            is_done = self.done()
            if not is_done:
                callbacks.append(fn)
                if is_first:
                    self.on_end(_hand_over)  # not a method of this future's, which would hold it in a cycle
        if is_done:
            _call(fn, self)
        elif (carrier := self._carrier) is not None:
            carrier.call_back()

    def on_end(self, fn: Callback) -> None:
        """As `add_done_callback`, for what neither blocks nor raises: whichever thread ends the future calls it."""
        super().add_done_callback(fn)

    def call_back(self) -> None:
        """Call the callbacks, in their order, in this thread."""
        callbacks, self._callbacks = self._callbacks or [], []
        broken: BaseException | None = None
        for fn in callbacks:
            try:
                _call(fn, self)
            except BaseException as error:  # noqa: BLE001 - it exits, or is interrupted; the others are still to be called
                broken = broken or error
        if broken is not None:
            raise broken

    def cancel_here(self) -> bool:
        """Mark the future as cancelled, at this end only, and tell its waiters."""
        if not super().cancel():
            return False
        with self._condition:
            is_first, self._is_told = not self._is_told, True
        if is_first:
            # Without this, `concurrent.futures.wait` and `as_completed` never hear of a cancelled future.
            self.set_running_or_notify_cancel()
        return True

    def accept(self, invocation_id: str) -> bool:
        """Take the id that the gateway gave. Return False when the user has cancelled in the meantime."""
        with self._condition:
            self._invocation_id = invocation_id
            known, is_withdrawn = self._known, self._is_withdrawn
        if known is not None:
            known.set()
        return not is_withdrawn

    def _wait_for_id(self, timeout: float | None) -> None:
        if (carrier := self._carrier) is not None:
            carrier.take_over()
        with self._condition:
            is_first = self._known is None
            known = self._known = self._known or threading.Event()
        if is_first:
            self.on_end(lambda _: known.set())
        if self._invocation_id is None:  # it may have come before there was somebody to tell
            known.wait(timeout)

    def settle(self, value: Any) -> None:  # noqa: ANN401 - the function's result, unpickled
        """End with a result, unless it has ended before."""
        with contextlib.suppress(InvalidStateError):
            self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended before. A `CancelledError` cancels."""
        if isinstance(error, CancelledError):
            self.cancel_here()
        else:
            with contextlib.suppress(InvalidStateError):
                self.set_exception(error)

    def __reduce__(self) -> NoReturn:
        raise CannotTravel(NOT_ITSELF)


class _CarriedWaiters(list[Any]):
    """The waiters of a future: `concurrent.futures.wait` and `as_completed`, which cannot read, put theirs here."""

    def __init__(self, adopt: Callable[[], None]) -> None:
        super().__init__()
        self._adopt = adopt

    def append(self, waiter: Any) -> None:  # noqa: ANN401 - one of `concurrent.futures`' own
        """Take a waiter in, and have somebody read."""
        self._adopt()
        super().append(waiter)


class _TellingCarriedWaiters(_CarriedWaiters, TellingWaiters):
    """The same inside a slot."""


def _hand_over(future: Future[Any]) -> None:
    if isinstance(future, InvocationFuture):
        hand_over(future.call_back)


def _call(fn: Callback, future: InvocationFuture[Any]) -> None:
    try:
        fn(future)
    except Exception:  # as `concurrent.futures` does it
        LOG.exception("exception calling callback for %r", future)
