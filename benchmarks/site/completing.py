"""How long nodes were COMPLETING because of pilots, sample by sample. Pure.

Slurm calls a batch job completing until its last process on the node is gone, and gives the node to nobody meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from benchmarks.site import node_time
from benchmarks.site.node_time import Stretch

TOGETHER_S = 3.5  # samples further apart than this are two streaks


class Streak(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job that was completing on one node."""

    batch_job_id: str
    node: str
    begin: float
    end: float  # its last sample

    @property
    def length_s(self) -> float:
        return self.end - self.begin


class Completing:
    """Puts samples together to streaks."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Streak] = {}
        self.streaks: list[Streak] = []

    def sample(self, at: float, seen: Iterable[tuple[str, str]]) -> None:
        """Take a sample: `(batch job id, node)` of those that are completing."""
        for key in seen:
            before = self._open.get(key)
            if before is not None and at - before.end <= TOGETHER_S:
                self._open[key] = msgspec.structs.replace(before, end=at)
                continue
            if before is not None:
                self.streaks.append(before)
            self._open[key] = Streak(batch_job_id=key[0], node=key[1], begin=at, end=at)

    def all(self) -> list[Streak]:
        """Return every streak so far, the longest first."""
        return sorted([*self.streaks, *self._open.values()], key=lambda streak: -streak.length_s)


def is_excused(streak: Streak, outages: dict[str, list[Stretch]]) -> bool:
    """Tell whether a daemon of Slurm was missing at some time of `streak`.

    Parameters
    ----------
    outages: by node, and under the empty name those of the controller, which every node needs.
    """
    missing = [*outages.get("", ()), *outages.get(streak.node, ())]
    return bool(node_time.common([(streak.begin, streak.end)], missing))
