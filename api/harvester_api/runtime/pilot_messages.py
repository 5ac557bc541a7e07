"""What pilots say, as stimuli for the dispatcher; and which of them are connected.

Owns the translation of the wire's messages, the connections by pilot, and the limit on results. Knows no socket:
`pilot_connection` decodes frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

import msgspec

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.dispatch.ledger.effects import Arrival
from harvester.domain.model.invocations import Failure, FailureKind
from harvester.domain.model.pilots import DrainReason
from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester.domain.protocol import wire
from harvester_api.runtime.absent_pilots import Absent
from harvester_api.runtime.effects import MessageSink, Performer
from harvester_api.runtime.pilot_presence import Sightings

Payload = bytes | BlobRef


class DaemonEar(Protocol):
    """The daemon as something that is told of pilots that leave."""

    def age_s(self, now: float) -> float | None:
        """Return how long ago the daemon last said that it lives; None where it never has."""
        ...

    def evicted(self, pilot_id: str, now: float) -> None:
        """A pilot said that the scheduler wants its node."""
        ...

    def broken(self, pilot_id: str, now: float) -> None:
        """A pilot's connection broke without a goodbye."""
        ...


class PilotMessages:
    """The pilots' side of one gateway.

    Parameters
    ----------
    links: the connections by pilot; the performer sends through them.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        performer: Performer,
        sightings: Sightings,
        absent: Absent,
        daemon: DaemonEar,
        links: dict[str, MessageSink],
        result_limit_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._dispatcher, self._performer, self._sightings = dispatcher, performer, sightings
        self._absent, self._daemon, self._links = absent, daemon, links
        self._limit, self._clock = result_limit_bytes, clock

    def attach(self, pilot_id: str, link: MessageSink) -> MessageSink | None:
        """Talk to a pilot through `link` from now on; return the one that it replaces."""
        before = self._links.get(pilot_id)
        self._links[pilot_id] = link
        self._absent.came(pilot_id)
        return before

    def detach(self, pilot_id: str, link: MessageSink) -> None:
        """A connection has ended."""
        if self._links.get(pilot_id) is not link:
            return
        del self._links[pilot_id]
        now = self._clock()
        if self._dispatcher.pilot(pilot_id) is not None:
            self._daemon.broken(pilot_id, now)
        self._performer.perform(self._dispatcher.disconnected(pilot_id, now), now)

    def received(self, pilot_id: str, messages: Sequence[wire.ToGateway]) -> None:
        """Take what a pilot says that has said who it is, in order."""
        now = self._clock()
        for message in messages:
            self._hear(pilot_id, message, now)

    def _hear(  # noqa: C901, PLR0912 - an arm for each message
        self, pilot_id: str, message: wire.ToGateway, now: float
    ) -> None:
        dispatcher = self._dispatcher
        match message:  # the most frequent first
            case wire.Finished():
                self._finished(pilot_id, message, now)
                return
            case wire.Started(invocation_id=invocation_id, fence=fence):
                self._sightings.worked(pilot_id, now)
                effects = dispatcher.started(pilot_id, invocation_id, fence, now)
            case wire.Checkpoint(invocation_id=invocation_id, fence=fence, seq=seq, state=state):
                effects = dispatcher.checkpointed(pilot_id, invocation_id, fence, seq, now)
                self._performer.perform(effects, now, state)
                return
            case wire.Heartbeat(time_left_s=time_left_s):
                effects = dispatcher.heartbeat(pilot_id, time_left_s, now)
            case wire.GivenBack(invocation_id=invocation_id, fence=fence, end=end):
                self._sightings.worked(pilot_id, now)
                effects = dispatcher.given_back(pilot_id, invocation_id, fence, end, now)
            case wire.Waits(invocation_id=invocation_id, fence=fence, is_lent=is_lent):
                effects = dispatcher.nesting.waits(pilot_id, invocation_id, fence, now, is_lent=is_lent)
            case wire.GoesOn(invocation_id=invocation_id, fence=fence):
                effects = dispatcher.nesting.goes_on(pilot_id, invocation_id, fence, now)
            case wire.Hello():
                effects = dispatcher.pilot_arrived(_arrival(message), now)
            case wire.Draining(reason=reason):
                if reason is DrainReason.EVICTED:
                    self._daemon.evicted(pilot_id, now)
                effects = dispatcher.draining(pilot_id, reason, now)
            case wire.Goodbye(reason=reason):
                effects = dispatcher.left(pilot_id, reason, now)
            case wire.SharesBlobs():
                self._see_directory(pilot_id)
                return
            case _:
                assert_never(message)
        self._performer.perform(effects, now)
        if isinstance(message, wire.Heartbeat) and (link := self._links.get(pilot_id)) is not None:
            link.send(wire.Heard(daemon_age_s=self._daemon.age_s(now)))

    def _see_directory(self, pilot_id: str) -> None:
        """Record that a pilot sees the directory of large payloads."""
        link = self._links.get(pilot_id)
        if link is not None:
            link.shares_blobs = True

    def _finished(self, pilot_id: str, message: wire.Finished, now: float) -> None:
        self._sightings.worked(pilot_id, now)
        value, failure = self._checked(pilot_id, message)
        effects = self._dispatcher.finished(
            pilot_id, message.invocation_id, message.fence, failure, now, duration_s=message.duration_s
        )
        self._performer.perform(effects, now, value)

    def _checked(self, pilot_id: str, message: wire.Finished) -> tuple[Payload, Failure | None]:
        value = message.value
        if message.failure is not None:
            return b"", _storable(message.failure)
        if isinstance(value, BlobRef):
            wanted = blob_name(message.invocation_id, f"r{message.fence}")
            link = self._links.get(pilot_id)
            if value.name != wanted or link is None or not link.shares_blobs:  # a pilot is not trusted with a path
                return b"", _no_result(
                    f"the pilot named the file {value.name[:100]!r} for the result, which is not a valid name for it"
                )
            size = value.size
        else:
            size = len(value)
        if size <= self._limit:
            return value, None
        return b"", _no_result(
            f"the result has {size} bytes, and the limit is {self._limit} bytes; "
            "write large data into a file and return its path"
        )


def _no_result(message: str) -> Failure:
    return Failure(kind=FailureKind.RESULT, message=message)


def _storable(failure: Failure) -> Failure:
    """Return a failure whose text any database takes: PostgreSQL refuses the zero character, users do not."""
    if "\x00" not in failure.message + failure.error_type + failure.traceback:
        return failure
    message, error_type, traceback = (
        text.replace("\x00", "\\x00") for text in (failure.message, failure.error_type, failure.traceback)
    )
    return msgspec.structs.replace(failure, message=message, error_type=error_type, traceback=traceback)


def _arrival(hello: wire.Hello) -> Arrival:
    return Arrival(
        pilot_id=hello.pilot_id,
        capacity=hello.capacity,
        python=hello.python,
        time_left_s=hello.time_left_s,
        held=hello.held,
        drain=hello.drain,
    )
