"""Shares: who goes next, so that everybody gets slot-time by weight. Start-time fair queueing.

Policy: P. Goyal, H. Vin, H. Cheng, "Start-time fair queueing", SIGCOMM 1996. Each party has a virtual time, which its
grants move on by cost / weight, and the party whose time is least goes first. The clock stands at the start of the
grant that was served last; who was away, or could not be served, goes on from there: nobody saves up. The cost of a
run is known only when it is over: an expectation is charged at the grant and put right at the end.

While two parties both wait for the same pilots, the slot-time they get, each by its weight, differs by no more than
the greatest cost of one grant of each and what their running grants were charged too little or too much.

Knows neither invocations nor pilots.
"""

from __future__ import annotations

LEAST_S = 0.0001
"""The least that a grant costs, in slot-seconds: to hand a run out is work too, and time must move on."""

UNKNOWN_S = 1.0
"""What a run is expected to take, in seconds, while nothing is known of its function."""

GPU_CPUS = 8
"""How many CPUs one GPU is worth: about what nodes that have GPUs have for each."""


class Clock:
    """The virtual time of one contest."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0.0


class Share:
    """The account of one party of a contest."""

    __slots__ = ("at", "credit", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        """`weight` is positive: a party with twice the weight gets twice the slot-time."""
        self.weight = weight
        self.at = 0.0  # virtual time; only grows
        self.credit = 0.0  # slot-seconds that were charged too much; the next grants cost less

    def charge(self, clock: Clock, cost: float) -> None:
        """Take a grant that is expected to cost this many slot-seconds into account."""
        start = self.at
        if start < clock.at:
            start = clock.at
        else:
            clock.at = start
        credit = self.credit
        if credit and cost > LEAST_S:
            used = min(credit, cost - LEAST_S)
            self.credit = credit - used
            cost -= used
        self.at = start + (cost if cost > LEAST_S else LEAST_S) / self.weight

    def settle(self, charged: float, actual: float) -> None:
        """Put right what was charged for a grant that is over."""
        excess = actual - charged
        if excess > 0.0:
            used = min(self.credit, excess)
            self.credit -= used
            self.at += (excess - used) / self.weight
        else:
            self.credit -= excess
