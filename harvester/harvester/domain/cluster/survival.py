"""Survival: what was learned of the gaps of this cluster. How long they last, how they open, what is known then.

A gap is the time for which a node is free of other people's batch jobs, whether or not a pilot is in it. Lengths go
into a Kaplan-Meier estimate over bins that grow by a quarter, because gaps last for seconds or for days; a gap that is
still open counts as one that lasted at least so long. Old gaps fade. Pure, and small enough for a note in the store.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

FIRST_S = 10.0  # where the first bin ends
GROWTH = 1.25  # from one bin's end to the next
BINS = 52  # the last one begins at 10 days
EDGES: tuple[float, ...] = tuple(FIRST_S * GROWTH**step for step in range(BINS - 1))
FADE = 0.5 ** (1 / 2000)  # weight of a gap after each later one: half after 2,000
_NONE = (0.0,) * BINS


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate; every method that learns returns a new one."""

    ended: tuple[float, ...] = _NONE  # gaps by their length, faded
    censored: tuple[float, ...] = _NONE  # gaps that were still open at that age
    foreseen: tuple[float, ...] = _NONE  # gaps by the length that the scheduler's plan gave them when they opened
    open_ended: float = 0.0  # gaps whose end was not planned when they opened
    burst: float = 0.0  # gaps that open at once: the most of late, fading

    def observe(self, seconds: float, *, is_over: bool = True) -> Survival:
        """Learn of a gap that lasted for `seconds`, or has lasted so long and is not over."""
        if is_over:
            return msgspec.structs.replace(self, ended=_added(self.ended, seconds), censored=_faded(self.censored))
        return msgspec.structs.replace(self, ended=_faded(self.ended), censored=_added(self.censored, seconds))

    def opened(self, lengths: Sequence[float | None]) -> Survival:
        """Learn of gaps that opened between two looks, by the length that the plan gives them; None: no end known."""
        foreseen, open_ended = self.foreseen, self.open_ended
        for length in lengths:
            known = length is not None and math.isfinite(length)
            foreseen = _added(foreseen, length) if length is not None and known else _faded(foreseen)
            open_ended = open_ended * FADE + (not known)
        burst = max(float(len(lengths)), self.burst * FADE ** len(lengths))
        return msgspec.structs.replace(self, foreseen=foreseen, open_ended=open_ended, burst=burst)

    @property
    def weight(self) -> float:
        """How many gaps it rests on, faded."""
        return sum(self.ended) + sum(self.censored)

    @property
    def foreseen_share(self) -> float:
        """Which share of the gaps had a known end when they opened; a half while nothing was learned."""
        known = sum(self.foreseen)
        total = known + self.open_ended
        return known / total if total else 0.5

    def share_longer(self, seconds: float) -> float:
        """Return the estimated share of gaps that last longer than `seconds`; 1 while nothing was learned."""
        share = 1.0
        at_risk = self.weight
        for number, (over, still) in enumerate(zip(self.ended, self.censored, strict=True)):
            begin, end = _bin(number)
            if seconds <= begin or at_risk <= 0:
                break
            # The actuarial estimate: who is lost from sight within a bin was at risk for half of it.
            hazard = min(1.0, over / max(at_risk - still / 2, over, 1e-12))
            part = 1.0 if seconds >= end else (seconds - begin) / (end - begin)
            share *= 1 - hazard * part
            at_risk -= over + still
        return share

    def quantile(self, share: float) -> float | None:
        """Return the length in seconds that `share` of the gaps do not outlast; None where so few were seen to end."""
        low, high = 0.0, EDGES[-1]
        if self.share_longer(high) > 1 - share:
            return None
        while high - low > 0.5:
            middle = (low + high) / 2
            low, high = (middle, high) if self.share_longer(middle) > 1 - share else (low, middle)
        return high

    def foreseen_quantiles(self, shares: Sequence[float]) -> list[float]:
        """Return the lengths in seconds that these shares of the foreseen windows do not exceed.

        Nothing is returned where none was foreseen. `shares`: in ascending order.
        """
        total = sum(self.foreseen)
        found: list[float] = []
        passed = 0.0
        for number, weight in enumerate(self.foreseen):
            while weight > 0 and len(found) < len(shares) and shares[len(found)] * total <= passed + weight:
                begin, end = _bin(number)
                found.append(begin + (end - begin) * (shares[len(found)] * total - passed) / weight)
            passed += weight
        return found


class GapFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned, in figures for people."""

    seen: int  # gaps that it rests on; older ones have faded
    median_s: float | None  # half of the gaps last longer; None where that is not known yet
    ninth_decile_s: float | None  # a tenth lasts longer
    foreseen_share: float  # of the gaps had a known end when they opened
    burst: int  # so many opened at once of late


def figures(survival: Survival) -> GapFigures:
    """Return `survival` in figures."""
    return GapFigures(
        seen=round(survival.weight),
        median_s=survival.quantile(0.5),
        ninth_decile_s=survival.quantile(0.9),
        foreseen_share=survival.foreseen_share,
        burst=round(survival.burst),
    )


def encode(survival: Survival) -> bytes:
    """Return `survival` as JSON, for a note."""
    return msgspec.json.encode(survival)


def decode(text: bytes | None) -> Survival:
    """Return the estimate in `text`; an empty one where there is none, or one of another shape than today's."""
    if text is None:
        return Survival()
    try:
        found = msgspec.json.decode(text, type=Survival)
    except msgspec.MsgspecError:
        return Survival()
    sizes = {len(found.ended), len(found.censored), len(found.foreseen)}
    return found if sizes == {BINS} else Survival()


def _bin(number: int) -> tuple[float, float]:
    begin = EDGES[number - 1] if number else 0.0
    return begin, EDGES[number] if number < len(EDGES) else EDGES[-1] * GROWTH


def _added(bins: tuple[float, ...], seconds: float) -> tuple[float, ...]:
    number = bisect_right(EDGES, max(0.0, seconds))
    return tuple([weight * FADE + (place == number) for place, weight in enumerate(bins)])


def _faded(bins: tuple[float, ...]) -> tuple[float, ...]:
    return tuple([weight * FADE for weight in bins])
