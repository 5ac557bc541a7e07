"""An order: what somebody wants a function run with, before it is an open invocation."""

from __future__ import annotations

import msgspec

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.payload.blobs import BlobRef
from harvester.store.writes.changes import NewInvocation
from harvester_api.runtime.open_invocations import OpenInvocation


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments that somebody wants a function run with."""

    function: FunctionVersion
    owner: str
    encoding: Encoding
    arguments: bytes | BlobRef
    invocation_id: str | None = None  # where it has one already; None: it gets one
    key: str | None = None  # idempotency key; of a batch, the first one has it
    priority: int = 0
    ttl_s: float | None = None  # it is to start within this
    deadline_s: float | None = None  # it is to end within this
    stream: str | None = None  # of its owner's: where its end is pushed
    parent: str = ""  # the invocation whose function has submitted it


def opened(invocation_id: str, order: Order, now: float) -> OpenInvocation:
    """Return the entry of an invocation that is being accepted at `now`."""
    return opened_with(invocation_id, order, now, order.arguments, order.key)


def opened_with(
    invocation_id: str, order: Order, now: float, arguments: bytes | BlobRef, key: str | None
) -> OpenInvocation:
    """Return the entry of one of a batch, which has arguments and key of its own beside what all have in common."""
    return OpenInvocation(
        invocation_id=invocation_id,
        function=order.function,
        owner=order.owner,
        encoding=order.encoding,
        accepted_at=now,
        arguments=arguments,
        key=key,
        priority=order.priority,
        start_by=None if order.ttl_s is None else now + order.ttl_s,
        end_by=None if order.deadline_s is None else now + order.deadline_s,
        stream=order.stream,
        parent=order.parent,
    )


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """Invocations that are about to be accepted, and the writes that put them on disk."""

    entries: list[OpenInvocation]
    writes: list[NewInvocation]

    @classmethod
    def of(cls, entries: list[OpenInvocation]) -> Arrivals:
        """Return them with their writes."""
        return cls(entries=entries, writes=[entry.written() for entry in entries])
