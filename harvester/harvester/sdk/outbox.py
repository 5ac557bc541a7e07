"""What waits to be submitted, and how it is cut into batches. Pure.

The gateway takes a batch of one function version at a time, all or nothing, and limits the size of a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from harvester.sdk.futures import InvocationFuture

MAX_ITEMS = 1000
MAX_BYTES = 8 * 1024 * 1024


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A function at the gateway; without a version, its newest one."""

    name: str
    version: int | None = None


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation on its way."""

    target: Target
    arguments: bytes  # pickled (args, kwargs)
    future: InvocationFuture[Any]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Invocations of one function that travel in one request, in the order of their submission."""

    target: Target
    items: tuple[Outgoing, ...]

    def halves(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch of two or more."""
        middle = len(self.items) // 2
        return (
            Batch(target=self.target, items=self.items[:middle]),
            Batch(target=self.target, items=self.items[middle:]),
        )


def batches(waiting: Iterable[Outgoing]) -> list[Batch]:
    """Cut what waits into batches; what its user has cancelled is left out."""
    by_target: dict[Target, list[Outgoing]] = {}
    for outgoing in waiting:
        if not outgoing.future.cancelled():
            by_target.setdefault(outgoing.target, []).append(outgoing)
    return [
        Batch(target=target, items=tuple(items))
        for target, group in by_target.items()
        for items in _within_limits(group)
    ]


def _within_limits(group: list[Outgoing]) -> list[list[Outgoing]]:
    cut: list[list[Outgoing]] = [[]]
    size = 0
    for outgoing in group:
        is_full = len(cut[-1]) >= MAX_ITEMS or size + len(outgoing.arguments) > MAX_BYTES
        if cut[-1] and is_full:
            cut.append([])
            size = 0
        cut[-1].append(outgoing)
        size += len(outgoing.arguments)
    return cut
