"""Queues: in which order invocations wait.

Knows shapes and order; neither pilots nor leases.
"""

from __future__ import annotations

from collections import deque

from harvester.domain.entries import Entry, QueueKey
from harvester.domain.invocations import InvocationState


class Queues:
    """FIFO queues by key, served in turn, so that no shape of work starves another.

    An invocation that ended while it waited stays until it comes up, and is skipped then.
    """

    def __init__(self) -> None:
        self._queues: dict[QueueKey, deque[Entry]] = {}
        self._fresh: dict[QueueKey, None] = {}  # keys, in order, whose head nobody has tried to place yet

    def append(self, entry: Entry) -> None:
        """Put a new invocation at the tail."""
        queue = self._queues.setdefault(entry.key, deque())
        if not queue:
            self._fresh[entry.key] = None
        queue.append(entry)

    def push_front(self, entry: Entry) -> None:
        """Put an interrupted invocation at the head."""
        self._queues.setdefault(entry.key, deque()).appendleft(entry)
        self._fresh[entry.key] = None

    def take_fresh(self) -> list[QueueKey]:
        """Return the keys whose head came since the last call: all other heads found no pilot before."""
        fresh, self._fresh = list(self._fresh), {}
        return fresh

    def remove(self, entry: Entry) -> None:
        """Take out an invocation from wherever it stands. Slow; for adoptions after a restart."""
        self._queues[entry.key].remove(entry)

    def in_turn(self) -> list[QueueKey]:
        """Return the keys of all queues, the one longest unserved first."""
        return list(self._queues)

    def peek(self, key: QueueKey) -> Entry | None:
        """Return the first of a queue that still waits."""
        queue = self._queues.get(key)
        while queue:
            if queue[0].state is InvocationState.ACCEPTED:
                return queue[0]
            queue.popleft()
        self._queues.pop(key, None)
        return None

    def pop(self, key: QueueKey) -> None:
        """Remove the first of a queue, which `peek` returned, and let the other queues go before this one."""
        queue = self._queues.pop(key)
        queue.popleft()
        if queue:
            self._queues[key] = queue

    def position(self, entry: Entry) -> int:
        """Return how many wait in the same queue before `entry`."""
        ahead = 0
        for other in self._queues.get(entry.key, ()):
            if other is entry:
                break
            ahead += other.state is InvocationState.ACCEPTED
        return ahead
