"""Performs what the dispatcher orders: writes to the journal, messages to the pilots, answers after the commit.

Owns the translation of effects; decides nothing. It is told the payload that came with the stimulus, since the
dispatcher never sees one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol, assert_never

import msgspec

from harvester.domain.dispatch.ledger import effects as fx
from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.pilots import PilotEvent
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol import wire
from harvester.store.store import Store
from harvester.store.writes import changes
from harvester_api.runtime.journal import Journal
from harvester_api.runtime.open_invocations import Book, OpenInvocation
from harvester_api.runtime.run_callers import RunCallers
from harvester_api.runtime.streams import Streams
from harvester_api.settings import GatewaySettings
from harvester_api.storage.blobs import Blobs

log = logging.getLogger(__name__)

Payload = bytes | BlobRef
Loader = Callable[[], wire.Lease]  # reads payloads from the store; slow, so it is called in a thread


class MessageSink(Protocol):
    """A pilot as something that takes messages."""

    hello: wire.Hello | None
    shares_blobs: bool  # the pilot sees the directory of large payloads

    def send(self, message: wire.ToPilot | Loader) -> None:
        """Queue a message, or something that makes one when its turn comes."""
        ...

    def has_key(self, owner: str) -> bool:
        """Whether this connection was sent the key of an owner; remembers it as sent."""
        ...

    def has_function(self, function_id: str) -> bool:
        """Whether the pilot has the function from this connection; whoever asks uses it, and sends it if not."""
        ...


class Performer:
    """The hands of one gateway."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        book: Book,
        journal: Journal,
        store: Store,
        links: dict[str, MessageSink],
        streams: Streams,
        blobs: Blobs | None,
        runs: RunCallers,
    ) -> None:
        self._settings, self._book, self._journal, self._store, self._links = settings, book, journal, store, links
        self._streams, self._watchers, self._blobs, self._runs = streams, streams.watchers, blobs, runs

    def perform(  # noqa: C901, PLR0912 - an arm for each effect
        self, effects: Iterable[fx.Effect], now: float, payload: Payload = b""
    ) -> None:
        """Do what is ordered, in order. `payload` is the value or the state that came with the stimulus."""
        for effect in effects:
            match effect:  # the most frequent first
                case fx.Grant():
                    self._grant(effect, now)
                case fx.Conclude():
                    self._conclude(effect, now, payload)
                case fx.Acknowledge():
                    self._acknowledge(effect)
                case fx.Begin():
                    self._begin(effect, now)
                case fx.KeepCheckpoint():
                    self._keep_checkpoint(effect, now, payload)
                case fx.Requeue():
                    self._requeue(effect, now)
                case fx.Recall():
                    self._send(effect.pilot_id, wire.Recall(invocation_id=effect.invocation_id, fence=effect.fence))
                case fx.Revoke():
                    self._send(effect.pilot_id, wire.Cancel(invocation_id=effect.invocation_id, fence=effect.fence))
                case fx.Greet():
                    self._greet(effect)
                case fx.MovePilot():
                    self._move_pilot(effect, now)
                case fx.SendDrain():
                    self._send(effect.pilot_id, wire.Drain(reason=effect.reason))
                case _:
                    assert_never(effect)

    def stored(self, entry: OpenInvocation) -> None:
        """An invocation is on disk: large arguments need not stay in memory while it waits."""
        entry.acceptance = None
        if type(entry.arguments) is bytes and len(entry.arguments) > self._settings.memory_bytes:
            entry.arguments = None

    # ---- invocations ----

    def _grant(self, effect: fx.Grant, now: float) -> None:
        entry = self._book.open.get(effect.invocation_id)
        if entry is None:
            return
        entry.state, entry.fence, entry.attempts = InvocationState.LEASED, effect.fence, effect.attempt
        entry.pilot_id = effect.pilot_id
        if self._watchers:
            self._streams.state(entry)
        self._journal.put(
            changes.Granted(
                invocation_id=effect.invocation_id,
                fence=effect.fence,
                attempt=effect.attempt,
                pilot_id=effect.pilot_id,
                resumed=effect.resumed,
                at=now,
            )
        )
        link = self._links.get(effect.pilot_id)
        if link is None or effect.adopted:
            return
        if not link.has_function(effect.function_id):
            link.send(wire.Function(function=entry.function))
        if not link.has_key(entry.owner):
            link.send(wire.OwnerKey(owner=entry.owner, key=self._runs.key(effect.pilot_id, entry.owner)))
        is_foreign = type(entry.arguments) is BlobRef and not link.shares_blobs
        if entry.arguments is None or is_foreign or (effect.resumed and entry.checkpoint is None):
            link.send(partial(self._loaded_lease, entry, effect, link, entry.arguments, entry.checkpoint))
        else:
            link.send(_lease(entry, effect, entry.arguments, entry.checkpoint if effect.resumed else None))

    def _loaded_lease(
        self,
        entry: OpenInvocation,
        effect: fx.Grant,
        link: MessageSink,
        arguments: Payload | None,
        checkpoint: bytes | None,
    ) -> wire.Lease:
        """Called in a thread, when the connection is ready for it."""
        if arguments is None:
            arguments = self._store.arguments(effect.invocation_id)
        if arguments is None:
            raise LookupError(f"the store has no arguments of {effect.invocation_id}")
        if isinstance(arguments, BlobRef) and not link.shares_blobs:
            if self._blobs is None:
                raise LookupError(
                    f"{effect.invocation_id} has its arguments in {arguments.name}, and no directory is set"
                )
            arguments = self._blobs.read_now(arguments)
        if effect.resumed and checkpoint is None:
            checkpoint = self._store.checkpoint(effect.invocation_id)
        return _lease(entry, effect, arguments, checkpoint)

    def _begin(self, effect: fx.Begin, now: float) -> None:
        entry = self._book.open.get(effect.invocation_id)
        if entry is None:
            return
        entry.state = InvocationState.RUNNING
        if entry.started_at is None:
            entry.started_at = now
        if self._watchers:
            self._streams.state(entry)
        self._journal.put(changes.Started(invocation_id=effect.invocation_id, fence=effect.fence, at=now))

    def _keep_checkpoint(self, effect: fx.KeepCheckpoint, now: float, state: Payload) -> None:
        assert isinstance(state, bytes)  # noqa: S101 - checkpoints have no other form on the wire
        entry = self._book.open.get(effect.invocation_id)
        if entry is None:
            return
        entry.checkpoint, entry.checkpoint_at = state, now
        self._journal.put(
            changes.CheckpointKept(
                invocation_id=effect.invocation_id, fence=effect.fence, seq=effect.seq, state=state, at=now
            )
        )
        if len(state) > self._settings.memory_bytes:
            self._journal.then(partial(_spill_checkpoint, entry, state))

    def _requeue(self, effect: fx.Requeue, now: float) -> None:
        entry = self._book.open.get(effect.invocation_id)
        if entry is None:
            return
        entry.state, entry.pilot_id = InvocationState.ACCEPTED, None
        entry.retries_used, entry.deaths = effect.retries_used, effect.deaths
        if self._watchers:
            self._streams.state(entry)
        self._journal.put(
            changes.Requeued(
                invocation_id=effect.invocation_id,
                fence=effect.fence,
                end=effect.end,
                retries_used=effect.retries_used,
                deaths=effect.deaths,
                at=now,
            )
        )

    def _conclude(self, effect: fx.Conclude, now: float, value: Payload) -> None:
        entry = self._book.open.get(effect.invocation_id)
        if entry is None:
            return
        if entry.started_at is None:
            entry.started_at = effect.started_at
        end = changes.Concluded(
            invocation_id=effect.invocation_id,
            fence=effect.fence,
            state=effect.state,
            at=now,
            value=value if effect.state is InvocationState.SUCCEEDED else b"",
            failure=effect.failure,
            started_at=effect.started_at,
        )
        self._journal.put(end)
        self._journal.then(partial(self._book.conclude, entry, end))

    # ---- pilots ----

    def _greet(self, effect: fx.Greet) -> None:
        settings, blobs = self._settings, self._blobs
        welcome = wire.Welcome(
            heartbeat_s=settings.heartbeat.total_seconds(),
            lease_s=settings.lease.total_seconds(),
            abandon=effect.abandon,
        )
        if blobs is not None:
            welcome = msgspec.structs.replace(
                welcome, blobs=str(blobs.folder), blobs_mark=blobs.mark, blob_bytes=blobs.least
            )
        self._send(effect.pilot_id, welcome)

    def _acknowledge(self, effect: fx.Acknowledge) -> None:
        ack = wire.Ack(kind=effect.kind, invocation_id=effect.invocation_id, fence=effect.fence, seq=effect.seq)
        self._journal.then(partial(self._send, effect.pilot_id, ack))

    def _move_pilot(self, effect: fx.MovePilot, now: float) -> None:
        link = self._links.get(effect.pilot_id)
        hello = None if link is None else link.hello
        if effect.event is PilotEvent.REGISTERED and hello is not None:
            move = changes.PilotMoved(
                pilot_id=effect.pilot_id,
                event=effect.event,
                at=now,
                batch_job_id=hello.batch_job_id or None,
                node=hello.node,
                python=hello.python,
                ends_at=now + hello.time_left_s,
            )
        else:
            move = changes.PilotMoved(pilot_id=effect.pilot_id, event=effect.event, at=now, reason=effect.reason)
        level = logging.INFO if effect.event not in _BAD_ENDS else logging.WARNING
        log.log(level, "pilot %s: %s %s", effect.pilot_id, effect.event.value, effect.reason)
        self._journal.put(move)

    def _send(self, pilot_id: str, message: wire.ToPilot) -> None:
        link = self._links.get(pilot_id)
        if link is not None:  # otherwise it will hear when it comes back, or is past hearing
            link.send(message)


_BAD_ENDS = {PilotEvent.SILENT, PilotEvent.FAILED}


def _lease(entry: OpenInvocation, effect: fx.Grant, arguments: Payload, checkpoint: bytes | None) -> wire.Lease:
    return wire.Lease(
        invocation_id=effect.invocation_id,
        fence=effect.fence,
        attempt=effect.attempt,
        function_id=effect.function_id,
        resources=entry.function.resources,
        encoding=entry.encoding,
        arguments=arguments,
        checkpoint=checkpoint,
        owner=entry.owner,
    )


def _spill_checkpoint(entry: OpenInvocation, state: bytes) -> None:
    if entry.checkpoint is state:
        entry.checkpoint = None
