"""A direct call: one invocation on a connection of its own; the thread that waits for the result reads it there.

A program that makes one call after the other needs no other thread: the thread that submits writes the request, and the
thread that waits reads the answer. Owns who reads, at most one thread at a time: a waiting thread, or the event loop
where nobody waits. A call that does not end with a result is sent once more in the usual way (`sender`), under the same
idempotency key, so that it stays one invocation. Must not know batches, nor the stream.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import threading
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec

from harvester.domain.model import hosting
from harvester.domain.model.functions import Encoding
from harvester.sdk.errors import InvocationFailed
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.http.messages import Request, Response
from harvester.sdk.http.sync_pool import ANSWER_S, Connection, ConnectionPool, Interrupted, LargeAnswer
from harvester.sdk.options import Options
from harvester.sdk.payload.payloads import PICKLE_TYPE, decode_pickle
from harvester.sdk.payload.shipping import PYTHON
from harvester.sdk.registration.target import Target
from harvester.sdk.submit.batching import Submission

MAX_BYTES = 16 * 1024  # of arguments: what a new connection takes at once, so that sending does not wait
LARGE_BYTES = 1024 * 1024  # of a result: a larger one may lie in the directory, and is read there
WAIT_S = 20.0  # how long the gateway holds the request; what takes longer is told of by the stream
SILENCE_S = ANSWER_S + WAIT_S
ADOPT_S = 0.05  # a call that nobody asks for is the event loop's after this time; one that is asked for, at once


class Reader(StrEnum):
    """Who reads the answer."""

    NOBODY = "nobody"
    WAITER = "waiter"  # a thread that waits for the future
    LOOP = "loop"
    OVER = "over"  # the answer is there, or is not wanted any more


class DirectCall:
    """One invocation under way (`futures.Carrier`). Safe to use from many threads.

    Parameters
    ----------
    submission: with its idempotency key.
    future: its sink.
    pool, connection: where the request was sent.
    adopt: has the event loop `read` this soon.
    resume: sends the submission the usual way; called at most once, with this call.
    """

    def __init__(
        self,
        submission: Submission,
        future: InvocationFuture[object],
        pool: ConnectionPool,
        connection: Connection,
        *,
        adopt: Callable[[DirectCall], None],
        resume: Callable[[DirectCall], None],
    ) -> None:
        self.began_at = time.monotonic()
        # Both None once it has ended or was released: the engine keeps the latest call, but not what it was about.
        self._submission: Submission | None = submission
        self._future: InvocationFuture[object] | None = future
        self._pool = pool
        self._connection = connection
        self._adopt = adopt
        self._resume = resume
        self._reader = Reader.NOBODY
        self._waiter = 0  # the thread that reads, or has read
        self._is_given_back = False  # the connection; another call may have it
        self._has_callbacks = False  # which must not run in a thread that waits
        self._silence: asyncio.TimerHandle | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether nobody has read the answer yet."""
        return self._reader is not Reader.OVER

    @property
    def is_unattended(self) -> bool:
        """Whether nobody reads."""
        return self._reader is Reader.NOBODY

    # ---- a thread that waits ---------------------------------------------------------------------------------------

    def wait(self, timeout_s: float | None) -> None:
        """Read the answer in this thread and end the future, unless another thread does.

        Returns without an end when that is the usual way's, or the time is over.
        """
        if os.getpid() != self._pid:
            return  # in a forked process: the answer is the parent's
        if timeout_s is not None and timeout_s <= 0:
            self.adopt()
            return
        try:
            if self._claim(Reader.WAITER):
                self._wait(timeout_s)
        except BaseException as interrupt:  # it may come in any place, and nobody else would read on
            if self._waiter == threading.get_ident():
                self._give_up()
            if isinstance(interrupt, Interrupted):
                raise interrupt.error from None
            raise

    def _wait(self, timeout_s: float | None) -> None:
        try:
            with hosting.waiting():
                answer = self._answer(timeout_s)
        except (OSError, LargeAnswer):
            self._give_up()
            return
        if answer is None:
            self._leave()
        else:
            self._end(answer)

    def _answer(self, timeout_s: float | None) -> Response | None:
        """Return the answer; None when the waiter's time is over."""
        if timeout_s is None or timeout_s >= SILENCE_S:
            return self._connection.answer(SILENCE_S, most=LARGE_BYTES)
        try:
            return self._connection.answer(SILENCE_S, time.monotonic() + timeout_s, LARGE_BYTES)
        except TimeoutError:
            return None

    def _leave(self) -> None:
        with self._lock:
            is_left = self._reader is Reader.WAITER
            if is_left:
                self._reader = Reader.NOBODY
        if is_left:
            self._adopt(self)
        else:
            self._connection.close()

    # ---- callers that want more than the result --------------------------------------------------------------------

    def adopt(self) -> None:
        """Have the event loop read: somebody wants to be told of the end, and cannot read."""
        if os.getpid() == self._pid and self._reader is Reader.NOBODY:
            self._adopt(self)

    def take_over(self) -> None:
        """Send it the usual way: its id is wanted, or its callbacks must not run in a thread that waits."""
        if os.getpid() == self._pid:
            self._resume(self)

    def call_back(self) -> None:
        """See that the event loop ends the future: it has done callbacks now."""
        with self._lock:
            self._has_callbacks = True
            is_waited_for = self._reader is Reader.WAITER
        if is_waited_for:
            self.take_over()
        else:
            self.adopt()

    def release(self) -> Submission | None:
        """Return what is to be sent the usual way; None when it has ended, or was released already."""
        with self._lock:
            reader, self._reader = self._reader, Reader.OVER
            submission, self._submission = self._submission, None
            future, self._future = self._future, None
        if reader is Reader.NOBODY:
            self._connection.close()
        elif reader is not Reader.OVER:
            self._connection.interrupt()  # its reader finds it closed
        if future is None:
            return None
        future.carried_by(None)
        return None if future.done() else submission

    # ---- the event loop --------------------------------------------------------------------------------------------

    def read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read on this event loop from now on, unless a thread does."""
        if self._claim(Reader.LOOP):
            loop.add_reader(self._connection.fileno(), self._readable, loop)
            self._silence = loop.call_later(SILENCE_S, self._resume, self)
            self._readable(loop)  # of TLS something may be here already

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        answer, is_over = None, True
        try:
            answer = self._connection.answer_now(LARGE_BYTES)
            is_over = answer is not None
        except (OSError, LargeAnswer):
            pass
        finally:
            if is_over:
                self._leave_loop(loop)
        if answer is not None:
            self._end(answer)
        elif is_over:
            self._give_up()

    def _leave_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._connection.fileno())
        if self._silence is not None:
            self._silence.cancel()

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _claim(self, reader: Reader) -> bool:
        with self._lock:
            if self._reader is not Reader.NOBODY or (self._has_callbacks and reader is Reader.WAITER):
                return False
            self._waiter = threading.get_ident() if reader is Reader.WAITER else 0  # first: an interrupt looks for it
            self._reader = reader
            return True

    def _give_up(self) -> None:
        """Send it the usual way: there was no answer."""
        self._resume(self)
        if not self._is_given_back:
            self._connection.close()

    def _end(self, answer: Response) -> None:
        with self._lock:
            is_mine, self._reader = self._reader is not Reader.OVER, Reader.OVER
            future = self._future
        self._is_given_back = True  # first: an interrupt must not close what another call may have
        self._pool.end(self._connection, may_stay=is_mine and self._connection.may_stay)
        if answer.status != 200 or answer.content_type != PICKLE_TYPE:  # it goes on, has failed, or was refused
            self._resume(self)
            return
        if future is None:
            return  # it was released meanwhile: the usual way tells of its end
        invocation_id = answer.headers.get("harvester-invocation", "")
        future.accept(invocation_id)
        try:
            result = decode_pickle(invocation_id, answer.body)
        except InvocationFailed as undecodable:
            future.fail(undecodable)
        else:
            future.settle(result)
        future.carried_by(None)
        self._submission = self._future = None


def begin(
    submission: Submission,
    pool: ConnectionPool,
    *,
    adopt: Callable[[DirectCall], None],
    resume: Callable[[DirectCall], None],
) -> DirectCall | None:
    """Send a submission on a free connection, and have its future carried by it; None where that cannot be."""
    future, arguments = submission.sink, submission.arguments
    if submission.encoding is not Encoding.PICKLE or len(arguments) > MAX_BYTES or submission.throttle is not None:
        return None
    if not isinstance(future, InvocationFuture):
        return None
    keyed = msgspec.structs.replace(submission, key=secrets.token_hex(16))
    try:
        connection = pool.begin(_request(keyed))
    except ValueError:
        return None  # no such request can be sent; the future hears of it the usual way
    if connection is None:
        return None
    call = DirectCall(keyed, future, pool, connection, adopt=adopt, resume=resume)
    future.carried_by(call)
    return call


@functools.lru_cache(maxsize=256)  # a program calls a few functions many times
def _where(target: Target, options: Options) -> tuple[str, dict[str, str]]:
    return f"{target.path}/invocations", {**target.params, **options.params(), "wait_s": f"{WAIT_S:g}", "raw": "1"}


def _request(submission: Submission) -> Request:
    path, params = _where(submission.target, submission.options)
    return Request(
        method="POST",
        path=path,
        params=params,
        headers={
            "Content-Type": PICKLE_TYPE,
            "Harvester-Python": PYTHON,
            "Idempotency-Key": submission.key,
        },
        content=submission.arguments,
        wait_s=WAIT_S,
    )
