"""The scheduler of the model: who starts now, who must leave for whom, and what is planned for the others."""

from __future__ import annotations

from typing import TypeAlias

from support.fake_cluster.model.lives import Lives
from support.fake_cluster.model.placing import Room
from support.fake_cluster.model.records import Amount, End, FakeBatchJob, Phase, Wish
from support.fake_cluster.model.rules import Eviction

_Kind: TypeAlias = tuple[str, int, Amount, float | None, float | None, tuple[str, ...], tuple[str, ...]]


def _kind(wish: Wish) -> _Kind:
    return wish.queue, wish.nodes, wish.each, wish.limit_s, wish.least_s, wish.required, wish.excluded


class Scheduling(Lives):
    """Looks at the queue whenever something has happened."""

    def look(self) -> None:
        """Start what can start, in order; tell those that must leave; plan the rest."""
        if not self.is_dirty:
            return
        self.is_dirty = False
        if self.rules.waits_for_victims and any(batch.told_for is End.PREEMPTED for batch in self.running()):
            return  # whoever goes wakes it again
        coming = [each for each in self.reservations if each.end_at > self.now]
        room = Room(self.now, self.nodes, self.batch_jobs, self.queues, coming)
        hopeless: set[_Kind] = set()  # the same wish need not be looked at twice in one pass
        planned = 0
        for batch in sorted(self.pending.values(), key=self._order):
            kind = _kind(batch.wish)
            if batch.is_held or kind in hopeless:
                batch.waits, batch.plan_at, batch.plan_nodes = "priority", None, ()
            elif (found := room.now_on(batch.wish)) is not None:
                self.start(batch, *found)
            elif self._evict_for(batch, room):
                if self.rules.waits_for_victims:
                    break
            else:
                planned += self._plan(batch, room, is_wanted=planned < self.rules.plan_depth)
                hopeless.add(kind)
        self._resume_suspended(room)

    def _order(self, batch: FakeBatchJob) -> tuple[int, int, int]:
        return -self.queues[batch.wish.queue].tier, -batch.wish.priority, batch.number

    def _evict_for(self, batch: FakeBatchJob, room: Room) -> bool:
        """Tell batch jobs of lower queues to leave for this one; return whether it waits for that."""
        found = room.by_eviction(batch.wish)
        if found is None:
            return False
        names, victims = found
        room.promise(batch.wish, names)
        told_from = batch.submitted_at + self.rules.tells_after_s
        if self.now < told_from:
            self.see(batch, told_from)
            self.is_dirty = True
            return True
        batch.waits, batch.plan_at, batch.plan_nodes = "resources", self.now, names
        for victim in victims:
            self._evict(victim)
        return True

    def _evict(self, victim: FakeBatchJob) -> None:
        if self.rules.eviction is Eviction.SUSPEND:
            self.suspend(victim)
        elif victim.told_at is None:
            victim.preempt_at = self.now
            self.tell(victim, End.PREEMPTED)

    def _resume_suspended(self, room: Room) -> None:
        for batch in self.running():
            if batch.phase is Phase.SUSPENDED and batch.told_at is None:
                nodes = [self.nodes[name] for name in batch.nodes]
                if all(room.free(node).holds(batch.wish.each) for node in nodes):
                    self.resume(batch)

    def _plan(self, batch: FakeBatchJob, room: Room, *, is_wanted: bool) -> bool:
        batch.waits = "resources" if is_wanted else "priority"
        if not any(True for _ in room.candidates(batch.wish)):
            batch.waits = "never"
        found = room.plan(batch.wish) if is_wanted else None
        batch.plan_at, batch.plan_nodes = found or (None, ())
        if found is not None:
            room.keep(found[1], found[0])
        return found is not None
