"""One `map` under way: its calls, cut into chunks, sent as invocations, and what they ended with.

Owns the calls that have not ended. Runs on the line's event loop; how many calls a chunk has is `chunking`'s choice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import msgspec

from harvester.domain.model.functions import Encoding
from harvester.domain.payload.calls import encode_calls
from harvester.sdk.errors import InvocationFailed
from harvester.sdk.futures import Sink
from harvester.sdk.options import Options
from harvester.sdk.payload.payloads import decode_pickle, failed
from harvester.sdk.registration.target import Target
from harvester.sdk.submit.batching import Holds, Submission
from harvester.sdk.submit.chunking import Chunking

# A chunk that ended so may have one call to blame: each of its calls is sent again, alone.
_TOO_MUCH = frozenset({"result", "poison"})


class Call(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One call of a map."""

    arguments: bytes  # pickled (args, kwargs)
    sink: Sink


class MapRun:
    """The calls of one map.

    Parameters
    ----------
    target, options: of every invocation.
    calls: in their order.
    chunksize: calls in an invocation; None to choose by what they take.
    throttle: through which the invocations go.
    """

    def __init__(
        self,
        target: Target,
        options: Options,
        calls: Sequence[Call],
        chunksize: int | None,
        throttle: Holds | None = None,
    ) -> None:
        self.is_over = threading.Event()  # every call has ended
        self._target = target
        self._options = options
        self._throttle = throttle
        self._calls: list[Call | None] = list(calls)  # those that have been handed out are None
        self._chunking = Chunking([len(call.arguments) for call in calls], chunksize)
        self._open: set[_Chunk] = set()
        self._is_left = False
        self._is_stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._put: Callable[[Iterable[Submission]], None]
        self._withdraw: Callable[[str], None]
        self._over: Callable[[MapRun], None]

    def begin(
        self,
        put: Callable[[Iterable[Submission]], None],
        withdraw: Callable[[str], None],
        over: Callable[[MapRun], None],
    ) -> None:
        """Send what may be sent now, with `put`; `over` is told when all have ended."""
        self._put, self._withdraw, self._over = put, withdraw, over
        self.plan()

    def plan(self) -> None:
        """Send what is due."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_left:
            return
        next_at = None
        if not self._is_stopped:
            chunks = [self._chunk(where) for where in self._chunking.due(loop.time())]
            if chunks:
                self._put([self._outgoing(chunk) for chunk in chunks])
            next_at = self._chunking.next_at()
        if next_at is not None:
            self._timer = loop.call_at(max(next_at, loop.time() + 0.01), self.plan)
        elif not self._open:
            self._end()

    def hurry(self) -> None:
        """Send all that is left, now."""
        self._chunking.hurry()
        self.plan()

    def leave(self) -> None:
        """Cancel what has not ended."""
        chunks = tuple(self._open)
        self.fail(CancelledError("the map was left before this call ended"))
        for chunk in chunks:
            if chunk.invocation_id is not None:
                self._withdraw(chunk.invocation_id)

    def stop(self) -> list[_Chunk]:
        """Cancel the calls that are not sent, and return the chunks that are: `give_up` cancels one of them."""
        self._is_stopped = True
        for at, unsent in enumerate(self._calls):
            if unsent is not None:
                unsent.sink.fail(CancelledError("the map was stopped before this call was sent"))
                self._calls[at] = None
        self.plan()
        return list(self._open)

    def give_up(self, chunk: _Chunk) -> None:
        """Cancel a chunk."""
        if chunk not in self._open:
            return
        if chunk.invocation_id is not None:
            self._withdraw(chunk.invocation_id)
        chunk.fail(CancelledError("the map was stopped before this call began"))

    def _end(self) -> None:
        self.is_over.set()
        self._over(self)

    def fail(self, error: Exception) -> None:
        """End all that has not ended with `error`."""
        self._is_left = True
        self.plan()
        for chunk in self._open:
            for call in chunk.calls:
                call.sink.fail(error)
        for unsent in self._calls:
            if unsent is not None:
                unsent.sink.fail(error)
        self._open.clear()
        self._calls.clear()
        self._end()

    # ---- chunks ------------------------------------------------------------------------------------------------------

    def _chunk(self, where: range) -> _Chunk:
        calls = [call for call in self._calls[where.start : where.stop] if call is not None]
        self._calls[where.start : where.stop] = [None] * len(where)
        chunk = _Chunk(self, where.start, calls)
        self._open.add(chunk)
        return chunk

    def _outgoing(self, chunk: _Chunk) -> Submission:
        arguments = [call.arguments for call in chunk.calls]
        is_lone = len(arguments) == 1
        return Submission(
            target=self._target,
            options=self._options,
            encoding=Encoding.PICKLE if is_lone else Encoding.CALLS,
            arguments=arguments[0] if is_lone else encode_calls(arguments),
            sink=chunk,
            throttle=self._throttle,
        )

    def ended(self, chunk: _Chunk, result_bytes: int) -> None:
        """Record the end of a chunk, unless it was given up."""
        if self._is_left or chunk not in self._open:
            return
        self._open.discard(chunk)
        if chunk.first is not None:
            self._chunking.ended(chunk.first, asyncio.get_running_loop().time(), result_bytes)
        self.plan()

    def take_apart(self, chunk: _Chunk) -> None:
        """Send each call of a chunk again, alone."""
        if self._is_left:
            return
        self._open.discard(chunk)
        if chunk.first is not None:
            self._chunking.failed(chunk.first, asyncio.get_running_loop().time())
        alone = [_Chunk(self, None, [call]) for call in chunk.calls]
        self._open.update(alone)
        self._put([self._outgoing(each) for each in alone])
        self.plan()


class _Chunk:
    """Waits for an invocation's end in the name of its calls (`futures.Sink`)."""

    def __init__(self, run: MapRun, first: int | None, calls: list[Call]) -> None:
        self._run = run
        self.first = first  # the number of its first call; None for a call that is sent again
        self.calls = calls
        self.invocation_id: str | None = None

    def cancelled(self) -> bool:
        return all(call.sink.cancelled() for call in self.calls)

    def accept(self, invocation_id: str) -> bool:
        self.invocation_id = invocation_id
        is_wanted = len(self.calls) > 1 or self.calls[0].sink.accept(invocation_id)
        return is_wanted and not self.cancelled()

    def settle(self, value: Any) -> None:  # noqa: ANN401 - a result, or the outcomes of the calls
        if len(self.calls) == 1:
            self.calls[0].sink.settle(value)
            self._run.ended(self, 0)
        elif len(value) != len(self.calls):
            why = f"{len(self.calls)} calls were sent, {len(value)} outcomes came back"
            self.fail(InvocationFailed(self.invocation_id or "", "unknown", why))
        else:
            self._run.ended(self, self._settle_each(value))

    def _settle_each(self, outcomes: Sequence[Any]) -> int:
        size = 0
        for call, outcome in zip(self.calls, outcomes, strict=True):
            if not isinstance(outcome, bytes):
                call.sink.fail(failed(self.invocation_id or "", outcome))
                continue
            size += len(outcome)
            try:
                value = decode_pickle(self.invocation_id or "", outcome)
            except InvocationFailed as undecodable:
                call.sink.fail(undecodable)
            else:
                call.sink.settle(value)
        return size

    def fail(self, error: BaseException) -> None:
        if len(self.calls) > 1 and isinstance(error, InvocationFailed) and error.kind in _TOO_MUCH:
            self._run.take_apart(self)
            return
        for call in self.calls:
            call.sink.fail(error)
        self._run.ended(self, 0)
