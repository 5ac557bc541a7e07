"""What pilots say, as stimuli for the dispatcher.

Owns the translation of the wire's messages, and the limit on results. Knows no socket: `link` decodes frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harvester.domain import wire
from harvester.domain.blobs import BlobRef, blob_name
from harvester.domain.dispatcher import Dispatcher
from harvester.domain.effects import Arrival, Effect
from harvester.domain.invocations import Failure, FailureKind
from harvester_api.sightings import Sightings

Payload = bytes | BlobRef
Perform = Callable[[Sequence[Effect], float, Payload], None]


class Hearing:
    """The ears of one gateway."""

    def __init__(self, dispatcher: Dispatcher, perform: Perform, sightings: Sightings, result_limit_bytes: int) -> None:
        self._dispatcher, self._perform, self._sightings = dispatcher, perform, sightings
        self._limit = result_limit_bytes

    def hear(self, pilot_id: str, message: wire.ToGateway, now: float) -> None:
        """Take one message of a pilot that has said who it is."""
        match message:
            case wire.Heartbeat() | wire.Draining() | wire.Goodbye() | wire.Hello():
                self._perform(self._of_pilot(pilot_id, message, now), now, b"")
            case wire.SharesBlobs():
                pass  # of the connection, which `gateway` tells
            case _:
                effects, payload = self._of_lease(pilot_id, message, now)
                self._perform(effects, now, payload)

    def _of_pilot(
        self, pilot_id: str, message: wire.Heartbeat | wire.Draining | wire.Goodbye | wire.Hello, now: float
    ) -> list[Effect]:
        match message:
            case wire.Heartbeat():
                return self._dispatcher.heartbeat(pilot_id, message.time_left_s, now)
            case wire.Draining():
                return self._dispatcher.draining(pilot_id, message.reason, now)
            case wire.Goodbye():
                return self._dispatcher.left(pilot_id, message.reason, now)
            case wire.Hello():
                return self._dispatcher.pilot_arrived(_arrival(message), now)

    def _of_lease(
        self, pilot_id: str, message: wire.Started | wire.Checkpoint | wire.Finished | wire.GivenBack, now: float
    ) -> tuple[list[Effect], Payload]:
        dispatcher, invocation_id, fence = self._dispatcher, message.invocation_id, message.fence
        if not isinstance(message, wire.Checkpoint):
            self._sightings.worked(pilot_id, now)
        match message:
            case wire.Started():
                return dispatcher.started(pilot_id, invocation_id, fence, now), b""
            case wire.Checkpoint():
                return dispatcher.checkpointed(pilot_id, invocation_id, fence, message.seq, now), message.state
            case wire.Finished():
                value, failure = self._checked(message)
                duration_s = message.duration_s
                return dispatcher.finished(pilot_id, invocation_id, fence, failure, now, duration_s=duration_s), value
            case wire.GivenBack():
                return dispatcher.given_back(pilot_id, invocation_id, fence, message.end, now), b""

    def _checked(self, message: wire.Finished) -> tuple[Payload, Failure | None]:
        value = message.value
        if message.failure is not None:
            return b"", _storable(message.failure)
        if isinstance(value, BlobRef):
            wanted = blob_name(message.invocation_id, f"r{message.fence}")
            if value.name != wanted:  # a pilot is not trusted with a path
                return b"", _no_result(f"the pilot wrote the result to {value.name[:100]!r}, not to {wanted!r}")
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
    return Failure(kind=failure.kind, message=message, error_type=error_type, traceback=traceback)


def _arrival(hello: wire.Hello) -> Arrival:
    return Arrival(
        pilot_id=hello.pilot_id,
        capacity=hello.capacity,
        python=hello.python,
        time_left_s=hello.time_left_s,
        held=hello.held,
        drain=hello.drain,
    )
