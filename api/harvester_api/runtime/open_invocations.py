"""The gateway's memory: open invocations with their payloads and who waits for them, and the newest ended ones.

Owns entries and waiters; decides nothing and writes nothing. All of it can be rebuilt from the store.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from harvester.domain.dispatch.ledger.sharded import ShardedDict
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.model.invocations import InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.records import InvocationRecord
from harvester.store.store import StoreError
from harvester.store.writes.changes import Concluded, NewInvocation
from harvester_api.outcome import Outcome
from harvester_api.runtime.journal import Acceptance

Waiter = asyncio.Future[None]


class OpenInvocation(msgspec.Struct, kw_only=True, eq=False):
    """An invocation that is not over, or whose end is not on disk yet."""

    invocation_id: str
    function: FunctionVersion
    owner: str
    encoding: Encoding
    accepted_at: float
    arguments: bytes | BlobRef | None  # None: in the store
    key: str | None = None  # its idempotency key
    priority: int = 0
    start_by: float | None = None
    end_by: float | None = None
    stream: str | None = None  # of its owner's: where its end is pushed
    parent: str = ""  # the invocation whose function has submitted it; forgotten at a restart
    acceptance: Acceptance | None = None  # until it is on disk
    state: InvocationState = InvocationState.ACCEPTED
    started_at: float | None = None
    fence: int = 0
    pilot_id: str | None = None
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    checkpoint: bytes | None = None  # the newest; None: there is none, or it is in the store
    checkpoint_at: float | None = None
    waiters: list[Waiter] | None = None  # None for nobody: a million entries wait for room, and few have a waiter

    def record(self) -> InvocationRecord:
        """Return it as the store would."""
        return self._record(None)

    def outcome(self, end: Concluded) -> Outcome:
        """Return how it ended."""
        return Outcome(record=self._record(end), value=end.value)

    def _record(self, end: Concluded | None) -> InvocationRecord:
        return InvocationRecord(
            invocation_id=self.invocation_id,
            function_id=self.function.function_id,
            owner=self.owner,
            state=self.state if end is None else end.state,
            encoding=self.encoding,
            accepted_at=self.accepted_at,
            started_at=self.started_at,
            ended_at=None if end is None else end.at,
            fence=self.fence,
            pilot_id=self.pilot_id if end is None else None,
            attempts=self.attempts,
            retries_used=self.retries_used,
            deaths=self.deaths,
            checkpoint_at=self.checkpoint_at,
            failure=None if end is None else end.failure,
            priority=self.priority,
            start_by=self.start_by,
            end_by=self.end_by,
        )

    def work(self) -> Work:
        """Return what the dispatcher has to know of it."""
        function = self.function
        return Work(
            invocation_id=self.invocation_id,
            function_id=function.function_id,
            resources=function.resources,
            accepted_at=self.accepted_at,
            python=function.python,
            walltime_s=function.walltime_s,
            checkpoints=function.checkpoints,
            max_retries=function.max_retries,
            owner=self.owner,
            priority=self.priority,
            start_by=self.start_by,
            end_by=self.end_by,
            max_running=function.max_running,
            parent=self.parent,
            fence=self.fence,
            attempts=self.attempts,
            retries_used=self.retries_used,
            deaths=self.deaths,
            has_checkpoint=self.checkpoint_at is not None,
            pilot_id=self.pilot_id,
            is_started=self.state is InvocationState.RUNNING,
        )

    def written(self) -> NewInvocation:
        """Return the write that puts it on disk."""
        return NewInvocation(
            invocation_id=self.invocation_id,
            function_id=self.function.function_id,
            owner=self.owner,
            encoding=self.encoding,
            arguments=b"" if self.arguments is None else self.arguments,
            accepted_at=self.accepted_at,
            idempotency_key=self.key,
            priority=self.priority,
            start_by=self.start_by,
            end_by=self.end_by,
        )


def reopened(record: InvocationRecord, function: FunctionVersion) -> OpenInvocation:
    """Return the entry of an invocation that the store remembers from before a restart."""
    return OpenInvocation(
        invocation_id=record.invocation_id,
        function=function,
        owner=record.owner,
        encoding=record.encoding,
        accepted_at=record.accepted_at,
        arguments=None,
        state=record.state,
        started_at=record.started_at,
        fence=record.fence,
        pilot_id=record.pilot_id,
        attempts=record.attempts,
        retries_used=record.retries_used,
        deaths=record.deaths,
        checkpoint_at=record.checkpoint_at,
        priority=record.priority,
        start_by=record.start_by,
        end_by=record.end_by,
    )


class Book:
    """Open invocations by id and by idempotency key, and the outcomes of a moment ago."""

    def __init__(
        self,
        keep: int = 20_000,
        keep_bytes: int = 64 * 1024 * 1024,
        tell: Callable[[OpenInvocation, Outcome], None] | None = None,
    ) -> None:
        """`keep` and `keep_bytes` bound the ended ones that stay in memory, for long polls that come a moment late.

        `tell` is told of every end.
        """
        self.open: ShardedDict[OpenInvocation] = ShardedDict()
        self.owned: Counter[str] = Counter()  # open ones by owner
        self.ended = 0  # so far
        self._keys: dict[tuple[str, str], str] = {}
        self._ended: OrderedDict[str, Outcome] = OrderedDict()
        self._ended_bytes = 0
        self._keep, self._keep_bytes = keep, keep_bytes
        self._tell = tell
        self._waiting: set[Waiter] = set()
        self._is_closing = False

    def add(self, entry: OpenInvocation) -> None:
        """Take in an open invocation."""
        self.open[entry.invocation_id] = entry
        self.owned[entry.owner] += 1
        if entry.key is not None:
            self._keys[entry.owner, entry.key] = entry.invocation_id

    def by_key(self, owner: str, key: str) -> OpenInvocation | None:
        """Return the open invocation that came with an idempotency key."""
        invocation_id = self._keys.get((owner, key))
        return None if invocation_id is None else self.open.get(invocation_id)

    def conclude(self, entry: OpenInvocation, end: Concluded) -> None:
        """Close an invocation whose end is on disk, wake who waits for it, and tell who listens."""
        self._remove(entry)
        self.ended += 1
        outcome = entry.outcome(end)
        size = _size(end.value)
        if size * 16 <= self._keep_bytes:
            self._ended[entry.invocation_id] = outcome
            self._ended_bytes += size
            while len(self._ended) > self._keep or self._ended_bytes > self._keep_bytes:
                self._drop_oldest()
        for waiter in entry.waiters or ():
            _let_go(waiter)
        if self._tell is not None:
            self._tell(entry, outcome)

    @staticmethod
    async def written(entry: OpenInvocation) -> None:
        """Return once the entry is on disk.

        Raises the `StoreError` of the next try that fails: an `InDoubt` where others follow.
        """
        if entry.acceptance is not None:
            await asyncio.shield(entry.acceptance.future)

    def refuse(self, entry: OpenInvocation, error: StoreError) -> None:
        """Forget an invocation that could not be written down."""
        self._remove(entry)
        for waiter in entry.waiters or ():
            if not waiter.done():
                waiter.set_exception(error)

    def forget_ended(self, before: float) -> None:
        """Forget what ended before an instant: the store is about to."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if oldest.record.ended_at is None or oldest.record.ended_at >= before:
                return
            self._drop_oldest()

    def find(self, invocation_id: str) -> Outcome | None:
        """Return an invocation that is in memory."""
        entry = self.open.get(invocation_id)
        if entry is not None:
            return Outcome(record=entry.record())
        return self._ended.get(invocation_id)

    async def wait(self, entries: Iterable[OpenInvocation], wait_s: float) -> None:
        """Return when one of `entries` has ended, or after `wait_s` seconds, or when the gateway stops.

        Raises the `StoreError` that kept one of them from being accepted.
        """
        if self._is_closing or wait_s <= 0:
            return
        entries = list(entries)
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        for entry in entries:
            if entry.waiters is None:
                entry.waiters = []
            entry.waiters.append(waiter)
        self._waiting.add(waiter)
        # A timer of our own: asyncio.timeout costs several times as much, and this is on the way of every call.
        timer = loop.call_later(wait_s, _let_go, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.discard(waiter)
            for entry in entries:
                if entry.waiters is not None and entry.invocation_id in self.open:
                    entry.waiters.remove(waiter)

    def release(self) -> None:
        """Let everybody who waits go, and nobody wait again: the gateway stops."""
        self._is_closing = True
        for waiter in self._waiting:
            _let_go(waiter)

    def _drop_oldest(self) -> None:
        _, oldest = self._ended.popitem(last=False)
        self._ended_bytes -= _size(oldest.value)

    def _remove(self, entry: OpenInvocation) -> None:
        if self.open.pop(entry.invocation_id) is not None:
            self.owned[entry.owner] -= 1
        if entry.key is not None:
            self._keys.pop((entry.owner, entry.key), None)


def _let_go(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _size(value: bytes | BlobRef | None) -> int:
    return len(value) if isinstance(value, bytes) else 0
