"""Queues: in which order invocations wait, and which lanes may be served now.

A lane is listed, in the group of its owner and shape, while something waits in it and its function is below its limit;
a group is listed while it has lanes and its owner is below its limit. A lane at a limit is out of the way, whatever
waits in it, and comes back when a lease ends.

Knows neither pilots nor instants.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from harvester.domain.dispatch.queueing.durations import Durations
from harvester.domain.dispatch.queueing.lanes import Entry, FunctionEntry, Group, Lane, Owner, Waiting, WorkShape
from harvester.domain.dispatch.queueing.shares import Clock
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.invocations import InvocationState

EXACT = 256  # places that are counted one by one
IDLE_LANES = 256  # lanes without an open invocation that may stay, for the next one


class Queues:
    """The lanes of one gateway.

    Parameters
    ----------
    weights: the weight of an owner's share; 1 for who is not named.
    limit: activations of one owner at a time; None: no limit.
    limits: the same for single owners.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        limit: int | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._weights, self._limit, self._limits = weights or {}, limit, limits or {}
        self.durations = Durations()
        self._clock = Clock()  # of the contest between owners
        self.active: dict[WorkShape, Waiting] = {}  # shapes that a listed group waits for
        self.fresh: dict[
            WorkShape, Waiting
        ] = {}  # those of them that nobody has tried to place; for all others none suits
        self._shapes: dict[WorkShape, Waiting] = {}
        self._owners: dict[str, Owner] = {}  # for ever: there are as many as there are users
        self.functions: dict[str, FunctionEntry] = {}
        self._lanes: dict[tuple[str, str, bool], Lane] = {}
        self._sweep_at = IDLE_LANES

    # ---- lanes ----

    def lane(self, work: Work) -> Lane:
        """Return the lane of an invocation."""
        lane = self._lanes.get((work.owner, work.function_id, False))
        return self._add(Lane(self._owner(work.owner), self._function(work))) if lane is None else lane

    def isolate(self, entry: Entry) -> None:
        """Let an invocation that waits nowhere run beside nothing else from now on."""
        lane = entry.lane
        alone = self._lanes.get((lane.owner.name, lane.function.function_id, True))
        if alone is None:
            alone = self._add(Lane(lane.owner, lane.function, is_alone=True))
        lane.open -= 1
        alone.open += 1
        entry.lane = alone

    def _add(self, lane: Lane) -> Lane:
        lane.function.lanes.append(lane)
        self._lanes[lane.owner.name, lane.function.function_id, lane.is_alone] = lane
        return lane

    def _owner(self, name: str) -> Owner:
        owner = self._owners.get(name)
        if owner is None:
            limit = self._limits.get(name, self._limit)
            owner = self._owners[name] = Owner(name, self._weights.get(name, 1.0), limit)
        return owner

    def _function(self, work: Work) -> FunctionEntry:
        function = self.functions.get(work.function_id)
        if function is None:
            function = FunctionEntry(work, self.durations.of(work.function_id))
            self.functions[work.function_id] = function
        return function

    def sweep(self) -> None:
        """Forget lanes that have nothing open, when there are many. Call it now and then."""
        if len(self._lanes) <= self._sweep_at:
            return
        for key, lane in [(key, lane) for key, lane in self._lanes.items() if not lane.open]:
            del self._lanes[key]
            lane.function.lanes.remove(lane)
            if not lane.function.lanes:
                del self.functions[lane.function.function_id]
        kept = {lane.shape for lane in self._lanes.values()}
        for shape in [shape for shape in self._shapes if shape not in kept]:
            del self._shapes[shape]
        for owner in self._owners.values():
            for shape in [shape for shape in owner.groups if shape not in kept]:
                del owner.groups[shape]
        self._sweep_at = IDLE_LANES + 2 * len(self._lanes)

    # ---- who waits ----

    def append(self, entry: Entry) -> None:
        """Put an invocation at the tail of its priority."""
        lane = entry.lane
        if lane.put(entry, False):
            self._rose(lane)

    def push_front(self, entry: Entry) -> None:
        """Put an interrupted invocation at the head of its priority."""
        lane = entry.lane
        if lane.put(entry, True):
            self._rose(lane)

    def take(self, lane: Lane) -> Entry:
        """Return the next invocation of a lane, which waits no longer."""
        entry = lane.take()
        if not lane.waiting:
            self._unlist(lane)
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Note that an invocation that waited is over."""
        lane = entry.lane
        lane.withdraw(entry)
        if not lane.waiting and lane.is_listed:
            self._unlist(lane)

    def remove(self, entry: Entry) -> None:
        """Take out an invocation from wherever it stands. Slow; for adoptions after a restart."""
        lane = entry.lane
        lane.remove(entry)
        if not lane.waiting and lane.is_listed:
            self._unlist(lane)

    # ---- who may be served ----

    def leased(self, lane: Lane, expected_s: float) -> None:
        """Count and charge a lease; at a limit, what is beyond it is out of the way."""
        owner, function = lane.owner, lane.function
        cost = expected_s * function.cost_factor
        owner.share.charge(self._clock, cost)
        lane.share.charge(owner.clock, cost)
        owner.leases += 1
        function.leases += 1
        if owner.limit is not None and owner.leases == owner.limit:
            for group in owner.groups.values():
                self._unlist_group(group)
        if function.max_running is not None and function.leases == function.max_running:
            for other in function.lanes:
                if other.is_listed:
                    self._unlist(other)

    def released(self, lane: Lane, expected_s: float, used_s: float) -> None:
        """Count the end of a lease and put its charge right; what it kept out of the way comes back."""
        owner, function = lane.owner, lane.function
        if used_s != expected_s:
            charged, actual = expected_s * function.cost_factor, used_s * function.cost_factor
            owner.share.settle(charged, actual)
            lane.share.settle(charged, actual)
        owner.leases -= 1
        function.leases -= 1
        if owner.limit is not None and owner.leases == owner.limit - 1:
            for group in owner.groups.values():
                self._list_group(group)
        if function.max_running is not None and function.leases == function.max_running - 1:
            for other in function.lanes:
                self._list(other)

    def lent(self, lane: Lane) -> None:
        """Count a lease that waits for others no longer among its owner's: they could not run at a limit."""
        owner = lane.owner
        owner.leases -= 1
        if owner.limit is not None and owner.leases == owner.limit - 1:
            for group in owner.groups.values():
                self._list_group(group)

    def taken_up(self, lane: Lane) -> None:
        """Count it again, though it may be above the limit."""
        owner = lane.owner
        owner.leases += 1
        if owner.limit is not None and owner.leases == owner.limit:
            for group in owner.groups.values():
                self._unlist_group(group)

    def reshape(self, function: FunctionEntry) -> None:
        """Note that the time which a function needs has changed."""
        shape = WorkShape(function.resources, function.python, function.needs_s)
        if shape == function.shape:
            return
        listed = [lane for lane in function.lanes if lane.is_listed]
        for lane in listed:
            self._unlist(lane)
        function.shape = shape
        for lane in function.lanes:
            lane.group = None
        for lane in listed:
            self._list(lane)

    def _rose(self, lane: Lane) -> None:
        if not lane.is_listed:
            self._list(lane)
        elif lane.group is not None:
            lane.group.lanes.rose(lane)

    def _list(self, lane: Lane) -> None:
        if lane.is_listed or not lane.waiting or lane.function.is_full:
            return
        group = lane.group
        if group is None:
            group = lane.group = self._group(lane.owner, lane.shape)
        lane.is_listed = True
        group.lanes.add(lane)
        if len(group.lanes) == 1:
            self._list_group(group)

    def _list_group(self, group: Group) -> None:
        waiting = group.waiting
        if not group.lanes or group.owner.is_full:
            return
        if not waiting.groups:
            self.active[waiting.shape] = self.fresh[waiting.shape] = waiting
        waiting.groups.add(group)

    def _unlist(self, lane: Lane) -> None:
        lane.is_listed = False
        group = lane.group
        if group is not None:
            group.lanes.discard(lane)
            if not group.lanes:
                self._unlist_group(group)

    def _unlist_group(self, group: Group) -> None:
        waiting = group.waiting
        waiting.groups.discard(group)
        if not waiting.groups:
            waiting.passed_at = None
            self.active.pop(waiting.shape, None)
            self.fresh.pop(waiting.shape, None)

    def _group(self, owner: Owner, shape: WorkShape) -> Group:
        group = owner.groups.get(shape)
        if group is None:
            waiting = self._shapes.get(shape)
            if waiting is None:
                waiting = self._shapes[shape] = Waiting(shape)
            group = owner.groups[shape] = Group(owner, waiting)
        return group

    # ---- reads ----

    def position(self, entry: Entry) -> int:
        """Return how many wait in the same lane before `entry`: exact near the head, an estimate further back."""
        lane = entry.lane
        before = sum(len(queue) for priority, queue in lane.deques.items() if priority > entry.priority)
        queue = lane.deques.get(entry.priority)
        if queue is None:
            return before
        for index, other in enumerate(islice(queue, EXACT)):
            if other is entry:
                return before + sum(1 for one in islice(queue, index) if one.state is InvocationState.ACCEPTED)
        low, high = EXACT, len(queue)  # they stand as they came, but for few
        while low < high:
            middle = (low + high) // 2
            if queue[middle].accepted_at < entry.accepted_at:
                low = middle + 1
            else:
                high = middle
        return before + low


def first(choices: list[Waiting]) -> Lane | None:
    """Return the lane to serve next among these shapes: by the owners' shares, then by priority, then in turn."""
    if len(choices) == 1:
        return choices[0].groups.first().lanes.first()
    best: Lane | None = None
    for waiting in choices:
        lane = waiting.groups.first().lanes.first()
        if best is None or _goes_before(lane, best):
            best = lane
    return best


def _goes_before(one: Lane, other: Lane) -> bool:
    if one.owner is not other.owner:
        return one.owner.share.at < other.owner.share.at
    return (-one.top, one.share.at) < (-other.top, other.share.at)
