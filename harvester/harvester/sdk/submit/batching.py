"""What waits to be submitted, and how it is cut into batches. Pure.

The gateway takes a batch of one function version at a time, all or nothing, and limits the size of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from harvester.domain.model.functions import Encoding
from harvester.sdk.futures import Sink
from harvester.sdk.options import NO_OPTIONS, Options
from harvester.sdk.registration.target import Target

MAX_ITEMS = 1000
MAX_BYTES = 8 * 1024 * 1024
LONE_BYTES = 128 * 1024  # arguments from here on travel alone, so that they are not copied into a batch
MAX_IN_FLIGHT = 4
FULL_ITEMS = 200  # enough for a request of its own beside the one under way
FULL_BYTES = 256 * 1024
LINGER_S = 0.005  # what waits longer than this does not wait for the request under way


class Holds(Protocol):
    """Holds submissions back until there is room for them; see `throttle`."""

    def put(self, outgoing: Iterable[Submission], send: Callable[[Iterable[Submission]], None], /) -> None:
        """Send these with `send`, each as soon as there is room for it."""
        ...

    def lift(self) -> None:
        """Send all that waits."""
        ...

    def fail(self, error: Exception, /) -> None:
        """End all that waits with `error`."""
        ...


class Submission(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One invocation on its way."""

    target: Target
    arguments: bytes  # as `encoding` has it
    sink: Sink
    encoding: Encoding = Encoding.PICKLE
    options: Options = NO_OPTIONS
    throttle: Holds | None = None
    key: str = ""  # under which it may have been sent before: the gateway may have it


class Batch(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Invocations of one function, alike but for their arguments, in the order of their submission."""

    items: tuple[Submission, ...]

    def halves(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch of two or more."""
        middle = len(self.items) // 2
        return Batch(items=self.items[:middle]), Batch(items=self.items[middle:])


def is_due(in_flight: int, items: int, size: int, waited_s: float) -> bool:
    """Whether what waits, `items` of together `size` bytes, is to be sent now.

    A request under way is used to gather the next one, unless that is full, or has waited for long.
    """
    if not items or in_flight >= MAX_IN_FLIGHT:
        return False
    return in_flight == 0 or items >= FULL_ITEMS or size >= FULL_BYTES or waited_s >= LINGER_S


def batches(waiting: Iterable[Submission]) -> list[Batch]:
    """Cut what waits into batches; what its user has cancelled before it was sent is left out."""
    alike: dict[tuple[Target, Encoding, Options, str], list[Submission]] = {}
    for outgoing in waiting:
        # One that the gateway may have goes alone, as it did; also a cancelled one, so that it is cancelled there.
        if outgoing.key or not outgoing.sink.cancelled():
            kind = (outgoing.target, outgoing.encoding, outgoing.options, outgoing.key)
            alike.setdefault(kind, []).append(outgoing)
    return [Batch(items=tuple(items)) for group in alike.values() for items in _within_limits(group)]


def _within_limits(group: list[Submission]) -> list[list[Submission]]:
    cut: list[list[Submission]] = [[]]
    size = 0
    for outgoing in group:
        own = len(outgoing.arguments)
        is_full = len(cut[-1]) >= MAX_ITEMS or size + own > MAX_BYTES or own >= LONE_BYTES
        if cut[-1] and is_full:
            cut.append([])
            size = 0
        cut[-1].append(outgoing)
        size += own
        if own >= LONE_BYTES:
            cut.append([])
            size = 0
    return [items for items in cut if items]
