"""Expiry: when an invocation has waited, or lasted, for longer than its user allows.

Owns the instants to come, in a heap; ending what has expired is `transitions`'. What is over stays in the heap until
its instant, or until such are more than half.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from harvester.domain.dispatch.ledger.entries import Entry
from harvester.domain.model.invocations import Failure, FailureKind, InvocationState

SLACK = 1024  # invocations that are over and may stay in any case


class Expiry:
    """The instants by which open invocations have to start or to end."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._added = 0
        self._over = 0  # about how many in the heap are over

    def __len__(self) -> int:
        return len(self._heap)

    def watch(self, entry: Entry) -> None:
        """Look at an invocation again when the next of its limits is reached. For one without limits, nothing."""
        at = entry.end_by
        start_by = entry.start_by
        if start_by is not None and not entry.has_started and entry.state is InvocationState.ACCEPTED:
            at = start_by if at is None else min(start_by, at)
        if at is not None:
            self._added += 1
            heappush(self._heap, (at, self._added, entry))

    def ended(self, entry: Entry) -> None:
        """Note that an invocation with limits is over."""
        self._over += 1
        if self._over > SLACK and 2 * self._over > len(self._heap):
            self._heap = [item for item in self._heap if not item[2].is_over]
            heapify(self._heap)
            self._over = 0

    def is_due(self, now: float) -> bool:
        """Return whether `due` would have to look at any."""
        return bool(self._heap) and self._heap[0][0] <= now

    def due(self, now: float) -> Iterator[tuple[Entry, Failure]]:
        """Yield what has expired, with the reason. It has to be ended before the next is asked for."""
        while self._heap and self._heap[0][0] <= now:
            _, _, entry = heappop(self._heap)
            if entry.is_over:
                self._over = max(0, self._over - 1)
                continue
            failure = expired(entry, now)
            if failure is None:  # it was its start that had to come, and it has a lease
                self.watch(entry)
            else:
                yield entry, failure


def expired(entry: Entry, now: float) -> Failure | None:
    """Return why an open invocation has expired; None if it has not."""
    waited_s = now - entry.accepted_at
    if entry.end_by is not None and entry.end_by <= now:
        allowed_s = entry.end_by - entry.accepted_at
        where = "still waited" if entry.state is InvocationState.ACCEPTED else f"was {entry.state.value}"
        message = (
            f"deadline: it had to end within {allowed_s:.3g} s and {where} after {waited_s:.3g} s; "
            "allow more with deadline_s"
        )
    elif (
        entry.start_by is not None
        and entry.start_by <= now
        and entry.state is InvocationState.ACCEPTED
        and not entry.has_started
    ):
        allowed_s = entry.start_by - entry.accepted_at
        message = (
            f"time to live: it had to start within {allowed_s:.3g} s and found no slot in {waited_s:.3g} s; "
            "allow more with ttl_s"
        )
    else:
        return None
    return Failure(kind=FailureKind.EXPIRED, message=message)
