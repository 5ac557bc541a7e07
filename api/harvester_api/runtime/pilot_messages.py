"""What pilots say, as stimuli for the dispatcher.

Owns the translation of the wire's messages, and the limit on results. Knows no socket: `pilot_connection` decodes
frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.dispatch.ledger.effects import Arrival, Effect
from harvester.domain.model.invocations import Failure, FailureKind
from harvester.domain.model.pilots import DrainReason
from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester.domain.protocol import wire
from harvester_api.runtime.pilot_presence import Sightings

Payload = bytes | BlobRef
Perform = Callable[[Sequence[Effect], float, Payload], None]


class PilotMessages:
    """The ears of one gateway."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        perform: Perform,
        sightings: Sightings,
        result_limit_bytes: int,
        shares_blobs: Callable[[str], bool],
        *,
        on_evicted: Callable[[str, float], None],
    ) -> None:
        """Take what must be known.

        Parameters
        ----------
        shares_blobs: tells whether a pilot has said that it sees the directory of large payloads.
        on_evicted: told of a pilot whose node the scheduler wants.
        """
        self._dispatcher, self._perform, self._sightings = dispatcher, perform, sightings
        self._limit, self._shares_blobs = result_limit_bytes, shares_blobs
        self._on_evicted = on_evicted
        self._ears: dict[type[wire.ToGateway], Callable[[str, Any, float], list[Effect]]] = {
            wire.Hello: lambda pilot_id, message, now: dispatcher.pilot_arrived(_arrival(message), now),
            wire.Heartbeat: lambda pilot_id, message, now: dispatcher.heartbeat(pilot_id, message.time_left_s, now),
            wire.Draining: self._draining,
            wire.Goodbye: lambda pilot_id, message, now: dispatcher.left(pilot_id, message.reason, now),
            wire.Started: self._started,
            wire.GivenBack: self._given_back,
            wire.Waits: lambda pilot_id, message, now: dispatcher.nesting.waits(
                pilot_id, message.invocation_id, message.fence, now, is_lent=message.is_lent
            ),
            wire.GoesOn: lambda pilot_id, message, now: dispatcher.nesting.goes_on(
                pilot_id, message.invocation_id, message.fence, now
            ),
        }

    def hear(self, pilot_id: str, message: wire.ToGateway, now: float) -> None:
        """Take one message of a pilot that has said who it is."""
        match message:
            case wire.Finished():
                self._finished(pilot_id, message, now)
            case wire.Checkpoint():
                self._checkpointed(pilot_id, message, now)
            case wire.SharesBlobs():
                pass  # of the connection, which `gateway` tells
            case _:
                self._perform(self._ears[type(message)](pilot_id, message, now), now, b"")

    def _draining(self, pilot_id: str, message: wire.Draining, now: float) -> list[Effect]:
        if message.reason is DrainReason.EVICTED:
            self._on_evicted(pilot_id, now)
        return self._dispatcher.draining(pilot_id, message.reason, now)

    def _started(self, pilot_id: str, message: wire.Started, now: float) -> list[Effect]:
        self._sightings.worked(pilot_id, now)
        return self._dispatcher.started(pilot_id, message.invocation_id, message.fence, now)

    def _given_back(self, pilot_id: str, message: wire.GivenBack, now: float) -> list[Effect]:
        self._sightings.worked(pilot_id, now)
        return self._dispatcher.given_back(pilot_id, message.invocation_id, message.fence, message.end, now)

    def _finished(self, pilot_id: str, message: wire.Finished, now: float) -> None:
        self._sightings.worked(pilot_id, now)
        value, failure = self._checked(pilot_id, message)
        effects = self._dispatcher.finished(
            pilot_id, message.invocation_id, message.fence, failure, now, duration_s=message.duration_s
        )
        self._perform(effects, now, value)

    def _checkpointed(self, pilot_id: str, message: wire.Checkpoint, now: float) -> None:
        effects = self._dispatcher.checkpointed(pilot_id, message.invocation_id, message.fence, message.seq, now)
        self._perform(effects, now, message.state)

    def _checked(self, pilot_id: str, message: wire.Finished) -> tuple[Payload, Failure | None]:
        value = message.value
        if message.failure is not None:
            return b"", _storable(message.failure)
        if isinstance(value, BlobRef):
            wanted = blob_name(message.invocation_id, f"r{message.fence}")
            if value.name != wanted or not self._shares_blobs(pilot_id):  # a pilot is not trusted with a path
                return b"", _no_result(f"the pilot says it wrote the result to {value.name[:100]!r}, which cannot be")
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
