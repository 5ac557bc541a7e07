"""Gap watch: which nodes other people leave free, look by look, and what `survival` learns from it.

A node is in a gap while a pilot of some shape fits into what other people leave of it, whether or not one is there. A
gap that was open already at the first look tells nothing of its length; one whose node went out of service, or that
nobody watched, is known to have lasted at least so long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harvester.domain.cluster import windows
from harvester.domain.cluster.snapshot import ClusterSnapshot, Node, NodeState
from harvester.domain.cluster.survival import Survival
from harvester.domain.harvest.planning import KnownPilot, Shape
from harvester.domain.model.resources import Resources

_TAKES_WORK = frozenset({NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED})


class GapWatch:
    """Follows the gaps of a cluster.

    Parameters
    ----------
    survival: what was learned before, in an earlier life.
    """

    def __init__(self, survival: Survival | None = None) -> None:
        self.survival = survival or Survival()
        self._opened: dict[str, float | None] | None = None  # None as a value: it was open before anybody looked
        self._looked_at = 0.0

    def look(
        self, snapshot: ClusterSnapshot, pilots: Iterable[KnownPilot], shapes: Sequence[Shape], now: float
    ) -> None:
        """Learn from one look; one that is not newer than the last teaches nothing."""
        if snapshot.taken_at <= self._looked_at:
            return
        self._looked_at = snapshot.taken_at
        known = list(pilots)
        ours: dict[str, Resources] = {}
        for pilot in known:
            if pilot.node:
                ours[pilot.node] = ours.get(pilot.node, Resources(cpus=0)) + pilot.resources
        free = {node.name for node in snapshot.nodes if _is_free(node, ours, shapes)}
        if self._opened is None:
            self._opened = dict.fromkeys(free)
            return
        self._close(self._opened, free, snapshot, now)
        fresh = sorted(free.difference(self._opened))
        if fresh:
            self._opened.update(dict.fromkeys(fresh, now))
            ends = windows.claims(snapshot, now, ours={pilot.name for pilot in known})
            self.survival = self.survival.opened([ends[name].at - now if name in ends else None for name in fresh])

    def _close(self, opened: dict[str, float | None], free: set[str], snapshot: ClusterSnapshot, now: float) -> None:
        gone = sorted(set(opened).difference(free))
        if not gone:
            return
        in_service = {node.name for node in snapshot.nodes if node.state in _TAKES_WORK}
        for name in gone:
            opened_at = opened.pop(name)
            if opened_at is not None:
                self.survival = self.survival.observe(now - opened_at, is_over=name in in_service)


def _is_free(node: Node, ours: dict[str, Resources], shapes: Sequence[Shape]) -> bool:
    if node.state not in _TAKES_WORK:
        return False
    room = node.free + ours[node.name] if node.name in ours else node.free
    return any(shape.resources.fits(room) and shape.partition in node.partitions for shape in shapes)
