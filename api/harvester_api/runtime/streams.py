"""Who listens: the streams and the watchers that clients hold open, and what they are told.

Owns the listeners and their queues. What one turn of the event loop tells leaves as one piece. Nobody waits for a
listener: one that reads too slowly is cut off, and asks for what it has missed. Knows no socket: `routes.streams`
carries what a listener has to say.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from harvester.domain.model.invocations import InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol import stream
from harvester_api.outcome import Outcome
from harvester_api.problems import refusal
from harvester_api.runtime.open_invocations import Book, OpenInvocation
from harvester_api.schemas.responses import invocation_document

PUSHED_BYTES = 1024 * 1024  # a larger value is not pushed
SHOWN_BYTES = 64 * 1024  # a larger JSON result is not part of an event
QUEUE_BYTES = 64 * 1024 * 1024  # what may wait for a slow reader
ALL_BYTES = 256 * 1024 * 1024  # what may wait for all of them: over that the one with the most is cut off
PIECE_BYTES = 4 * 1024 * 1024  # what leaves at once
PER_OWNER = 64  # listeners

_OVERHEAD = 128  # bytes that an end takes besides its value, about

_json = msgspec.json.Encoder()

T = TypeVar("T")


class Backlog:
    """What waits for the readers of one gateway, all together."""

    def __init__(self) -> None:
        self.bytes = 0


class Listener(ABC, Generic[T]):
    """One open stream: what waits for its reader."""

    def __init__(self, owner: str, stream_id: str = "", backlog: Backlog | None = None) -> None:
        """`backlog` counts what waits here together with what waits elsewhere."""
        self.owner, self.stream_id = owner, stream_id
        self._backlog = backlog or Backlog()
        self.is_over = False
        self._told: list[tuple[T, int]] = []
        self._bytes = 0
        self._news: asyncio.Future[None] | None = None

    @abstractmethod
    def tell_end(self, outcome: Outcome) -> None:
        """Queue the end of an invocation."""

    @abstractmethod
    def _encoded(self, told: list[T]) -> bytes:
        """Return one piece; of nothing a sign of life."""

    def tell(self, told: T, size: int) -> None:
        """Queue something of about `size` bytes."""
        if self.is_over:
            return
        self._told.append((told, size))
        self._bytes += size
        self._backlog.bytes += size
        if self._bytes > QUEUE_BYTES:
            self.cut()
        else:
            self._wake()

    @property
    def waiting_bytes(self) -> int:
        """What waits for the reader, about."""
        return self._bytes

    def cut(self) -> None:
        """Say no more, and forget what is queued."""
        self._told.clear()
        self._backlog.bytes -= self._bytes
        self._bytes = 0
        self.end()

    def end(self) -> None:
        """Say no more, once what is queued has been read."""
        self.is_over = True
        self._wake()

    def sign_of_life(self) -> bytes:
        """Return what says nothing but that the stream is there."""
        return self._encoded([])

    async def piece(self, patience_s: float) -> bytes | None:
        """Return what is to be sent next; a sign of life after `patience_s` seconds without news, None at the end."""
        if not self._told and not self.is_over:
            loop = asyncio.get_running_loop()
            self._news = loop.create_future()
            timer = loop.call_later(patience_s, self._wake)
            try:
                await self._news
            finally:
                timer.cancel()
                self._news = None
        if not self._told:
            return None if self.is_over else self.sign_of_life()
        count = size = 0
        for _, each in self._told:
            count, size = count + 1, size + each
            if size >= PIECE_BYTES:
                break
        taken, self._told = self._told[:count], self._told[count:]
        self._bytes -= size
        self._backlog.bytes -= size
        return self._encoded([told for told, _ in taken])

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Frames(Listener[stream.Ended]):
    """A stream of ends in the frames of `harvester.domain.protocol.stream`."""

    def tell_end(self, outcome: Outcome) -> None:
        """Queue the end of an invocation, with its value unless that is large; of one in a file with its name."""
        record, value = outcome.record, outcome.value
        blob = value if isinstance(value, BlobRef) else None
        if record.state is not InvocationState.SUCCEEDED or not isinstance(value, bytes) or len(value) > PUSHED_BYTES:
            value = None
        ended = stream.Ended(
            invocation_id=record.invocation_id,
            state=record.state,
            encoding=record.encoding,
            value=value,
            failure=record.failure,
            blob=blob,
        )
        beside = b"" if record.failure is None else record.failure.exception
        self.tell(ended, _OVERHEAD + len(ended.value or b"") + len(beside))

    def _encoded(self, told: list[stream.Ended]) -> bytes:
        return stream.encode(told)


class Events(Listener[bytes]):
    """Server-sent events: each a line of JSON."""

    def tell_end(self, outcome: Outcome) -> None:
        """Queue the end of an invocation, with its result where that is JSON and small."""
        event = event_of("result", outcome)
        self.tell(event, len(event))

    def _encoded(self, told: list[bytes]) -> bytes:
        return b"".join(told) or b":\n\n"


class Streams:
    """The listeners of one gateway."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Frames | Events] = {}
        self.watchers: dict[Events, bool] = {}  # and whether it sees everybody's
        self._backlog = Backlog()
        self._is_closing = False

    @property
    def count(self) -> int:
        """Listeners now."""
        return len(self._streams) + len(self.watchers)

    def open(self, owner: str, stream_id: str, *, as_events: bool) -> Frames | Events:
        """Begin a stream of ends; one that the owner has under this id is over then. Raises `Refusal` (429, 503)."""
        before = self._streams.pop((owner, stream_id), None)
        if before is not None:
            before.cut()  # its connection is dead, as far as its owner knows: nobody asks for what is queued
        self._check_room(owner)
        kind = Events if as_events else Frames
        listener = kind(owner, stream_id, self._backlog)
        self._streams[owner, stream_id] = listener
        return listener

    def watch(self, owner: str, *, sees_all: bool) -> Events:
        """Begin to tell of states and results of an owner's invocations, or of everybody's. Raises `Refusal`."""
        self._check_room(owner)
        listener = Events(owner, backlog=self._backlog)
        self.watchers[listener] = sees_all
        return listener

    def close(self, listener: Frames | Events) -> None:
        """Tell a listener no more: its reader has gone, or is to go."""
        listener.cut()
        if isinstance(listener, Events):
            self.watchers.pop(listener, None)
        key = (listener.owner, listener.stream_id)
        if self._streams.get(key) is listener:
            del self._streams[key]

    def release(self) -> None:
        """End every stream, and begin none any more: the gateway stops."""
        self._is_closing = True
        for listener in (*self._streams.values(), *self.watchers):
            listener.end()

    def ended(self, entry: OpenInvocation, outcome: Outcome) -> None:
        """An invocation is over, its end on disk."""
        if entry.stream is not None:
            self.push(entry.owner, entry.stream, outcome)
        if self.watchers:
            self._show("result", outcome)

    def state(self, entry: OpenInvocation) -> None:
        """An invocation that is not over has changed its state.

        What is not on disk yet is not told: the gateway comes again with the state of the moment of the commit.
        """
        if entry.acceptance is None:
            self._show("state", Outcome(record=entry.record()))

    def push(self, owner: str, stream_id: str, outcome: Outcome) -> None:
        """Tell one stream of one end, if it is open."""
        listener = self._streams.get((owner, stream_id))
        if listener is not None:
            listener.tell_end(outcome)
            self._relieve()

    def follow(self, book: Book, invocation_ids: Iterable[str], owner: str, stream_id: str | None) -> None:
        """Tell another stream of the ends of invocations that came again; of those that have ended at once."""
        if stream_id is None:
            return
        for invocation_id in invocation_ids:
            entry = book.open.get(invocation_id)
            if entry is not None:
                entry.stream = stream_id
            elif (outcome := book.find(invocation_id)) is not None:
                self.push(owner, stream_id, outcome)

    def _show(self, kind: str, outcome: Outcome) -> None:
        event = None
        for listener, sees_all in self.watchers.items():
            if sees_all or listener.owner == outcome.record.owner:
                event = event or event_of(kind, outcome)
                listener.tell(event, len(event))
        self._relieve()

    def _relieve(self) -> None:
        if self._backlog.bytes > ALL_BYTES:
            max((*self._streams.values(), *self.watchers), key=lambda listener: listener.waiting_bytes).cut()

    def _check_room(self, owner: str) -> None:
        if self._is_closing:
            raise refusal(503, "not-ready", "the gateway is stopping", remedy="Open it again in a moment.")
        theirs = sum(listener.owner == owner for listener in (*self._streams.values(), *self.watchers))
        if theirs >= PER_OWNER:
            raise refusal(
                429,
                "too-many-streams",
                f"{owner!r} has {theirs} streams open, and the limit is {PER_OWNER}",
                remedy="Close some. One stream carries the ends of any number of invocations.",
                headers={"Retry-After": "5"},
            )


def event_of(kind: str, outcome: Outcome) -> bytes:
    """Return an event of SSE: <https://html.spec.whatwg.org/multipage/server-sent-events.html>."""
    value = outcome.value
    is_shown = isinstance(value, bytes) and len(value) <= SHOWN_BYTES
    if not is_shown:
        outcome = Outcome(record=outcome.record)
    document = _json.encode(invocation_document(outcome))
    if is_shown and (b"\n" in document or b"\r" in document):  # a result is the function's own text
        try:
            document = msgspec.json.format(document, indent=-1)
        except msgspec.MsgspecError:  # it is no JSON, whatever its pilot says
            document = _json.encode(invocation_document(Outcome(record=outcome.record)))
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), outcome.record.invocation_id.encode(), document)
