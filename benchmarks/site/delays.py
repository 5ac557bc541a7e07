"""Delays: how much later prime jobs began with harvest than without, job by job. Pure.

One control says little: the same load on the same cluster begins at other moments when it is played again, since the
scheduler looks at others. So there are several, and a delay counts as ours only where none of them was as late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from benchmarks.prime.load import PrimeJob

LATE_S = 2.0


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """One prime job's waits, in seconds; None where it never began (it was cancelled)."""

    key: str
    kind: str
    controls_s: tuple[float | None, ...]
    with_s: float | None
    rooms_s: tuple[float, ...] = ()  # of these, with room for it, in the controls
    room_s: float = 0.0  # the same with harvest

    @property
    def extra_s(self) -> float | None:
        """The wait with harvest less the wait in the first control."""
        return _less(self.with_s, self.controls_s[0])

    @property
    def spread_s(self) -> float | None:
        """The wait in the second control less that in the first: what the harvest has no part in."""
        return _less(self.controls_s[1], self.controls_s[0]) if len(self.controls_s) > 1 else None

    @property
    def unexplained_s(self) -> float | None:
        """The wait with harvest less the longest in a control."""
        known = [wait for wait in self.controls_s if wait is not None]
        return _less(self.with_s, max(known)) if len(known) == len(self.controls_s) else None

    @property
    def harm_s(self) -> float | None:
        """What pilots can have had a part in: the smaller of what no control explains, and of the time with room.

        The second leaves out who only waited for others that began later or earlier than in the controls.
        """
        late = self.unexplained_s
        return None if late is None else min(late, self.room_s - max(self.rooms_s, default=0.0))

    @property
    def is_missed(self) -> bool:
        """Whether it began in every control before it was cancelled, and not with harvest."""
        return self.with_s is None and None not in self.controls_s


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """One play's waits in seconds by key, and how much of each had room for the job."""

    waits_s: Mapping[str, float]
    rooms_s: Mapping[str, float] = {}


def delays(jobs: Sequence[PrimeJob], controls: Sequence[Waits], harvested: Waits) -> list[Delay]:
    """Return a `Delay` for each run of `jobs`, from the controls and the play with harvest."""
    return [
        Delay(
            key=key,
            kind=job.kind.value,
            controls_s=tuple(control.waits_s.get(key) for control in controls),
            with_s=harvested.waits_s.get(key),
            rooms_s=tuple(control.rooms_s.get(key, 0.0) for control in controls),
            room_s=harvested.rooms_s.get(key, 0.0),
        )
        for job in jobs
        for key in job.keys
    ]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Many delays in a row of a table, in seconds."""

    n: int
    median_s: float
    p99_s: float
    max_s: float
    late: int  # by more than LATE_S


def summary(values: Sequence[float]) -> Summary:
    """Return the row; of nothing, a row of zeros."""
    found = sorted(values) or [0.0]
    return Summary(
        n=len(values),
        median_s=quantile(found, 0.5),
        p99_s=quantile(found, 0.99),
        max_s=found[-1],
        late=sum(value > LATE_S for value in values),
    )


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the least of the `ordered` values that `part` of them do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
