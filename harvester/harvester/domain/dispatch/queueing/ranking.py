"""Ranking: who of several goes first: the highest priority, and among those the least of its share.

Owns the order; knows nothing of what is ordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

from harvester.domain.dispatch.queueing.shares import Share


class Ranked(Protocol):
    """What can be ordered."""

    top: int
    """Its priority. Higher goes first."""
    share: Share


T = TypeVar("T", bound=Ranked)


class Ranking(Generic[T]):
    """A lazy heap: a member may fall back at any time, and is put right when it comes up; one that rose must be told.

    Who came first goes first among equals. A ranking of one, which is the usual case, keeps no heap at all.
    """

    __slots__ = ("_added", "_heap", "_members")

    def __init__(self) -> None:
        self._members: dict[T, None] = {}
        self._heap: list[tuple[int, float, int, T]] = []  # from two members on: each of them at least once
        self._added = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        return iter(self._members)

    def add(self, member: T) -> None:
        """Let a member in."""
        members = self._members
        members[member] = None
        if len(members) > 2:
            self._push(member)
        elif len(members) == 2:
            self._rebuild()

    def discard(self, member: T) -> None:
        """Let a member go."""
        self._members.pop(member, None)

    def rose(self, member: T) -> None:
        """Note that the priority of a member has become higher."""
        if len(self._members) > 1:
            self._push(member)

    def first(self) -> T:
        """Return the member that goes first. There must be one."""
        members = self._members
        if len(members) == 1:
            for member in members:
                return member
        heap = self._heap
        while True:
            top, at, _, member = heap[0]
            if member not in members:
                heappop(heap)
            elif member.share.at == at and member.top == -top:
                return member
            else:
                self._added += 1
                heapreplace(heap, (-member.top, member.share.at, self._added, member))

    def _push(self, member: T) -> None:
        if len(self._heap) > 2 * len(self._members) + 16:
            self._rebuild()
        else:
            self._added += 1
            heappush(self._heap, (-member.top, member.share.at, self._added, member))

    def _rebuild(self) -> None:
        heap = []
        for member in self._members:
            self._added += 1
            heap.append((-member.top, member.share.at, self._added, member))
        heapify(heap)
        self._heap = heap
