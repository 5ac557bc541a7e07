"""Granting: which leases become possible after a change, and to whom they go. Pure, on the dispatcher's ledger.

Owns when a queue's head is looked at again; which pilot suits it is `placement`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from harvester.domain import placement
from harvester.domain.effects import Grant
from harvester.domain.entries import Entry, PilotEntry, QueueKey
from harvester.domain.ledger import Ledger


class Granting:
    """Hands the waiting invocations of one ledger to its pilots.

    Parameters
    ----------
    ledger: the dispatcher's.
    margin: time that must be left of a pilot beyond what a run needs.
    """

    def __init__(self, ledger: Ledger, margin: timedelta) -> None:
        self._ledger = ledger
        self._margin_s = margin.total_seconds()

    def place(self, now: float, freed: PilotEntry | None = None) -> Iterator[Grant]:
        """Grant what can be granted after a change: on the pilot that has got room, and heads of queues that are new.

        Nothing else can have become possible: a head that found no pilot before finds one only where room was freed.
        """
        if freed is not None:
            yield from self._fill(freed, now)
        yield from self._spread(self._ledger.queues.take_fresh(), now)

    def place_all(self, now: float) -> Iterator[Grant]:
        """Try the head of every queue again: time left, which no change of room tells of, may have grown."""
        yield from self._spread(self._ledger.queues.in_turn(), now)

    def _fill(self, pilot: PilotEntry, now: float) -> Iterator[Grant]:
        """Grant leases to one pilot, queue by queue in turn, as long as a queue's head suits it."""
        queues, margin_s = self._ledger.queues, self._margin_s
        while pilot.pilot_id in self._ledger.roomy:
            for key in queues.in_turn():
                entry = queues.peek(key)
                if entry is not None and placement.obstacle(entry, pilot, margin_s, now) is None:
                    yield self._grant(entry, pilot)
                    break
            else:
                return

    def _spread(self, keys: list[QueueKey], now: float) -> Iterator[Grant]:
        """Grant leases from these queues, in turn, as long as a queue's head finds a pilot."""
        queues, margin_s = self._ledger.queues, self._margin_s
        while keys and self._ledger.roomy:
            served = []
            for key in keys:
                entry = queues.peek(key)
                if entry is None:
                    continue
                pilot = placement.choose(entry, self._ledger.roomy.values(), margin_s, now)
                if pilot is not None:
                    served.append(key)
                    yield self._grant(entry, pilot)
            keys = served

    def _grant(self, entry: Entry, pilot: PilotEntry) -> Grant:
        self._ledger.queues.pop(entry.key)
        self._ledger.lease(entry, pilot, self._ledger.next_fence())
        return granted(entry, pilot)


def granted(entry: Entry, pilot: PilotEntry, *, adopted: bool = False) -> Grant:
    """Return the effect for a lease that stands in the ledger; `adopted` where the pilot has it already."""
    return Grant(
        pilot_id=pilot.pilot_id,
        invocation_id=entry.work.invocation_id,
        function_id=entry.work.function_id,
        fence=entry.fence,
        attempt=entry.attempts,
        resumed=entry.has_checkpoint,
        adopted=adopted,
    )
