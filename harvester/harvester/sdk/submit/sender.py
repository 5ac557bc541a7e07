"""Submits what users hand over, in batches, a few requests at a time. Runs on the line's event loop.

Owns the order: when the gateway asks for patience (429), nothing else is sent until what it refused has been accepted,
in the order in which it was submitted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Protocol

import msgspec

from harvester.sdk.errors import GatewayError
from harvester.sdk.futures import Sink, end
from harvester.sdk.http.drivers import AsyncDriver
from harvester.sdk.http.messages import LOG, Operation, Request, wrong_answer
from harvester.sdk.payload.payloads import BATCH_TYPE, CONTENT_TYPE, encode_batch
from harvester.sdk.payload.shared_directory import SharedDirectory
from harvester.sdk.payload.shipping import PYTHON
from harvester.sdk.registration.renewals import Renewals, is_gone
from harvester.sdk.registration.target import Target
from harvester.sdk.submit.batching import LINGER_S, MAX_IN_FLIGHT, Batch, Submission, batches, is_due
from harvester.sdk.submit.results import Collector

_ONE_OF_THEM = frozenset({400, 413, 422})  # refusals that may be about one invocation of a batch


_DRAFT = "Harvester-Draft"


class _Post(msgspec.Struct, kw_only=True, eq=False):
    """A batch under way, as often as it is sent."""

    number: int
    batch: Batch
    # A repeated request must not become a second batch of invocations.
    key: str
    target: Target  # the batch's, or what it was renewed as
    is_renewed: bool = False


class Withdraws(Protocol):
    """Cancels an invocation at the gateway without waiting for it."""

    def __call__(self, invocation_id: str, /) -> None:
        """Do so."""
        ...


class Sender:
    """Sends batches and tells the collector.

    Parameters
    ----------
    gateway: where to.
    patience_s: seconds for which a failing submission is repeated.
    stream_id: the stream on which the ends are to be told.
    directory: where large arguments may be left instead of being sent.
    collector: takes what has an id now.
    withdraw: cancels what its user has cancelled while it was under way.
    renewals: what the client has sent of its functions.
    """

    def __init__(
        self,
        gateway: AsyncDriver,
        patience_s: float,
        stream_id: str,
        *,
        directory: SharedDirectory,
        collector: Collector,
        withdraw: Withdraws,
        renewals: Renewals,
    ) -> None:
        self._gateway = gateway
        self._patience_s = patience_s
        self._stream_id = stream_id
        self._directory = directory
        self._collector = collector
        self._withdraw = withdraw
        self._renewals = renewals
        self._renewing = asyncio.Lock()
        self._waiting: list[Submission] = []
        self._waiting_bytes = 0
        self._waiting_since = 0.0
        self._posts: deque[_Post] = deque()  # cut, not sent
        self._refused: list[_Post] = []  # by a 429
        self._resume_at = 0.0
        self._has_complained = False
        self._in_flight: dict[asyncio.Task[None], _Post] = {}
        self._count = 0
        self._wake = asyncio.Event()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not (self._waiting or self._posts or self._refused or self._in_flight)

    def put(self, outgoing: Iterable[Submission]) -> None:
        """Send these soon."""
        if not self._waiting:
            self._waiting_since = time.monotonic()
        before = len(self._waiting)
        self._waiting.extend(each for each in outgoing if not self._is_first(each))
        self._waiting_bytes += sum(len(each.arguments) for each in self._waiting[before:])
        self._wake.set()

    def _is_first(self, outgoing: Submission) -> bool:
        """Put what was sent alone, before all else that is here, in front of what was refused."""
        is_first = bool(outgoing.key and self._refused)
        if is_first:
            self._refused.append(self._post(0, Batch(items=(outgoing,))))
        return is_first

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            timeout = self._start(time.monotonic())
            # Not `wait_for`, which up to Python 3.11 may take a cancellation for the event that comes with it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            self._wake.clear()

    def _start(self, now: float) -> float | None:
        """Begin the requests that are due; return the seconds until others may be."""
        if self._refused:
            if self._in_flight:
                return None  # they may be refused too, and come before what is refused already
            if now < self._resume_at:
                return self._resume_at - now
            self._refused.sort(key=lambda post: post.number)
            self._begin(self._refused.pop(0))
            return None
        waited_s = now - self._waiting_since
        if not self._posts and is_due(len(self._in_flight), len(self._waiting), self._waiting_bytes, waited_s):
            for batch in batches(self._waiting):
                self._count += 1
                self._posts.append(self._post(0 if batch.items[0].key else self._count, batch))
            self._waiting, self._waiting_bytes = [], 0
        while self._posts and len(self._in_flight) < MAX_IN_FLIGHT:
            self._begin(self._posts.popleft())
        return max(0.001, LINGER_S - waited_s) if self._waiting and len(self._in_flight) < MAX_IN_FLIGHT else None

    def _begin(self, post: _Post) -> None:
        task = asyncio.create_task(self._send(post))
        self._in_flight[task] = post
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._wake.set()

    async def _send(self, post: _Post) -> None:
        """Submit one batch; a refusal ends whom it is about.

        A batch is accepted all or nothing, so a refusal that may be about one of them is narrowed down to it by halves.
        """
        sent_in = self._collector.epoch
        try:
            ids = await self._submitted(post)
        except GatewayError as error:
            if error.status == 429:
                self._hold(post, error)
            elif error.status in _ONE_OF_THEM and len(post.batch.items) > 1:
                for half in post.batch.halves():
                    await self._send(self._post(post.number, half))
            elif is_gone(error) and (renewed := await self._renewed(post)) is not None:
                await self._send(renewed)
            else:
                for outgoing in post.batch.items:
                    outgoing.sink.fail(error)
            return
        self._has_complained = False
        watched: dict[str, Sink] = {}
        for invocation_id, outgoing in zip(ids, post.batch.items, strict=True):
            if outgoing.sink.accept(invocation_id):
                watched[invocation_id] = outgoing.sink
            else:
                self._withdraw(invocation_id)
        self._collector.add(watched, sent_in, is_last=len(self._in_flight) <= 1)

    async def _submitted(self, post: _Post) -> list[str]:
        """Return the ids of a batch. Raises `GatewayError`."""
        items = post.batch.items
        draft = await self._directory.draft(items[0].arguments) if len(items) == 1 else None
        if draft is not None:
            try:
                return await self._gateway.run(_submission(post, self._stream_id, draft), self._patience_s)
            except BaseException as error:
                self._directory.discard(draft)
                if not isinstance(error, GatewayError) or error.field != _DRAFT:
                    raise
                self._directory.doubt()
            # The gateway has no such draft: it has taken it, and its answer was lost, or it does not see it. With the
            # same key and the arguments themselves, either is set right.
        return await self._gateway.run(_submission(post, self._stream_id), self._patience_s)

    def _post(self, number: int, batch: Batch) -> _Post:
        target = batch.items[0].target
        key = batch.items[0].key or str(uuid.uuid4())
        return _Post(number=number, batch=batch, key=key, target=self._renewals.current(target) or target)

    async def _renewed(self, post: _Post) -> _Post | None:
        """Return what to send in place of a batch whose version the gateway has no longer; None where that is all."""
        if post.is_renewed or not post.target.is_renewable:
            return None
        async with self._renewing:  # of many batches of a version, one has it registered
            target = self._renewals.current(post.target)
            if target == post.target:
                try:
                    target = await self._gateway.run(self._renewals.renew(post.target), self._patience_s)
                except GatewayError as error:
                    LOG.warning("%s is not there any more, and is refused now: %s", post.target.name, error)
                    return None
        if target is None:
            return None
        return _Post(number=post.number, batch=post.batch, key=str(uuid.uuid4()), target=target, is_renewed=True)

    def _hold(self, post: _Post, error: GatewayError) -> None:
        self._refused.append(post)
        self._resume_at = time.monotonic() + max(0.1, error.retry_after_s)
        if not self._has_complained:
            self._has_complained = True
            LOG.warning("%s; what was submitted waits here and is sent again", error.detail or error.title)

    def abandon(self, error: Exception) -> int:
        """End everything that is not sent, or under way, with `error`; return how many that are."""
        posts = [*self._in_flight.values(), *self._refused, *self._posts]
        for task in self._in_flight:
            task.cancel()
        left = [*(each for post in posts for each in post.batch.items), *self._waiting]
        lost = sum(not outgoing.sink.cancelled() for outgoing in left)
        for outgoing in left:
            end(outgoing.sink, error)
        self._refused, self._waiting = [], []
        self._posts.clear()
        return lost


def _submission(post: _Post, stream_id: str, draft: str | None = None) -> Operation[list[str]]:
    """Return the ids of a batch, in its order. A lone one's arguments may lie in a draft."""
    items = post.batch.items
    first = items[0]
    is_lone = len(items) == 1
    answer = yield Request(
        method="POST",
        path=f"{post.target.path}/{'invocations' if is_lone else 'batches'}",
        params={**post.target.params, **first.options.params()},
        headers={
            "Content-Type": CONTENT_TYPE[first.encoding] if is_lone else BATCH_TYPE[first.encoding],
            "Harvester-Python": PYTHON,
            "Harvester-Stream": stream_id,
            "Idempotency-Key": post.key,
            **({} if draft is None else {_DRAFT: draft}),
        },
        content=b"" if draft else first.arguments if is_lone else encode_batch([each.arguments for each in items]),
        raises_pressure=True,
    )
    said = answer.json()
    ids: list[str] = [said["invocation_id"]] if is_lone else said["invocation_ids"]
    if len(ids) != len(items):
        raise wrong_answer(answer.status, f"{len(items)} invocations sent, {len(ids)} ids came back")
    return ids
