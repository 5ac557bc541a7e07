"""Where a batch job may start now, who would have to leave for it, and when it could start otherwise.

Pure over the cluster's records: it reads them and changes nothing. `Room` is what one pass of the scheduler has
promised already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from support.fake_cluster.model.records import Amount, FakeBatchJob, FakeNode, FakeQueue, FakeReservation, Wish

_FOREVER_S = 10 * 365 * 86400.0


@dataclass
class Room:
    """The nodes as one pass sees them.

    Parameters
    ----------
    promised: by node, what batch jobs that wait for others to leave will take.
    kept_from: by node, when a planned batch job begins there: who starts before must have ended by then.
    """

    now: float
    nodes: Mapping[str, FakeNode]
    batch_jobs: Mapping[int, FakeBatchJob]
    queues: Mapping[str, FakeQueue]
    reservations: Sequence[FakeReservation]
    promised: dict[str, Amount] = field(default_factory=dict)
    kept_from: dict[str, float] = field(default_factory=dict)

    def candidates(self, wish: Wish) -> Iterable[FakeNode]:
        """Yield the nodes that are large enough and that it may use at all."""
        names = wish.required or self.nodes
        for name in names:
            node = self.nodes.get(name)
            if (
                node is not None
                and node.is_in_service
                and wish.queue in node.queues
                and name not in wish.excluded
                and node.total.holds(wish.each)
            ):
                yield node

    def free(self, node: FakeNode) -> Amount:
        """Return what nobody has and nobody was promised."""
        promised = self.promised.get(node.name)
        return node.free - promised if promised is not None else node.free

    def now_on(self, wish: Wish) -> tuple[tuple[str, ...], float | None] | None:
        """Return the nodes on which it can start now, and its limit there; None where it cannot."""
        found: list[str] = []
        limit = wish.limit_s
        for node in self.candidates(wish):
            if not self.free(node).holds(wish.each):
                continue
            room_s = self._room_s(node)
            if room_s < (wish.limit_s or _FOREVER_S):
                if wish.least_s is None or room_s < wish.least_s:
                    continue
                limit = min(limit or room_s, room_s)
            found.append(node.name)
            if len(found) == wish.nodes:
                return tuple(found), limit
        return None

    def _room_s(self, node: FakeNode) -> float:
        until = self.kept_from.get(node.name, self.now + 2 * _FOREVER_S)
        for reservation in self.reservations:
            if node.name in reservation.nodes and reservation.end_at > self.now:
                until = min(until, reservation.start_at)
        return until - self.now

    def by_eviction(self, wish: Wish) -> tuple[tuple[str, ...], list[FakeBatchJob]] | None:
        """Return the nodes on which it could start once the fewest batch jobs have left, and those; None: nowhere."""
        tier = self.queues[wish.queue].tier
        options = []
        for node in self.candidates(wish):
            if self._room_s(node) < (wish.limit_s or _FOREVER_S):
                continue
            if (victims := self._victims(node, wish.each, tier)) is not None:
                options.append((sum(not each.is_leaving for each in victims), node.name, victims))
        if len(options) < wish.nodes:
            return None
        best = sorted(options, key=lambda option: (option[0], option[1]))[: wish.nodes]
        leaving = {each.number: each for _, _, victims in best for each in victims}
        return tuple(name for _, name, _ in best), list(leaving.values())

    def _victims(self, node: FakeNode, each: Amount, tier: int) -> list[FakeBatchJob] | None:
        """Return who must leave one node so that `each` fits: those that leave already first, then the youngest."""
        here = [self.batch_jobs[number] for number in node.batch_jobs]
        may = [
            batch
            for batch in here
            if batch.is_leaving
            or (self.queues[batch.wish.queue].is_preemptible and self.queues[batch.wish.queue].tier < tier)
        ]
        may.sort(key=lambda batch: (not batch.is_leaving, -(batch.started_at or 0.0), -batch.number))
        free, victims = self.free(node), []
        for batch in may:
            if free.holds(each):
                break
            free += batch.wish.each
            victims.append(batch)
        return victims if free.holds(each) else None

    def plan(self, wish: Wish) -> tuple[float, tuple[str, ...]] | None:
        """Return when and where it could start by the limits of what runs; None where it never can."""
        found = ((self._fits_at(node, wish), node.name) for node in self.candidates(wish))
        times = [(at, name) for at, name in found if at is not None]
        if len(times) < wish.nodes:
            return None
        first = sorted(times)[: wish.nodes]
        return first[-1][0], tuple(name for _, name in first)

    def _fits_at(self, node: FakeNode, wish: Wish) -> float | None:
        free, at = self.free(node), self.now
        ends = sorted(
            (batch.kill_at or batch.end_at or self.now + _FOREVER_S, batch.wish.each)
            for batch in (self.batch_jobs[number] for number in node.batch_jobs)
        ) if not free.holds(wish.each) else []  # fmt: skip
        for end_at, each in ends:
            free, at = free + each, end_at
            if free.holds(wish.each):
                break
        if not free.holds(wish.each):
            return None
        length = wish.limit_s or _FOREVER_S
        for reservation in sorted(self.reservations, key=lambda each: each.start_at):
            if node.name in reservation.nodes and at < reservation.end_at and at + length > reservation.start_at:
                at = reservation.end_at
        return at

    def promise(self, wish: Wish, names: Iterable[str]) -> None:
        """Keep room on nodes for one that waits until others have left."""
        for name in names:
            self.promised[name] = self.promised.get(name, Amount()) + wish.each

    def keep(self, names: Iterable[str], start_at: float) -> None:
        """Let nobody be on nodes any more when a planned batch job begins."""
        for name in names:
            self.kept_from[name] = min(start_at, self.kept_from.get(name, start_at))
