"""Node time: how much of one node is free from when on, without our pilots, and what is booked of it.

Arithmetic of one node. Knows nothing of queues: `list_plan` decides who gets it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Node, NodeState
from harvester.domain.model.resources import Resources

Amount = tuple[int, int, int]  # CPUs, GPUs, memory: plain numbers, because there are so many of them
NOTHING: Amount = (0, 0, 0)
OVERDUE_S = 60.0  # who is past its limit ends within so long, as we expect

_USABLE = frozenset({NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED, NodeState.RESERVED})


def amount(resources: Resources) -> Amount:
    """Return resources as plain numbers."""
    return (resources.cpus, resources.gpus, resources.memory_mb)


def covers(room: Amount, need: Amount) -> bool:
    """Return whether `need` can be had from `room`."""
    return need[0] <= room[0] and need[1] <= room[1] and need[2] <= room[2]


def plus(one: Amount, other: Amount) -> Amount:
    """Return the sum."""
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def less(one: Amount, other: Amount) -> Amount:
    """Return the difference."""
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])


def _capped(wanted: Amount, total: Amount) -> Amount:
    return (min(wanted[0], total[0]), min(wanted[1], total[1]), min(wanted[2], total[2]))


class Booking(NamedTuple):
    """Somebody's part of a node for a time."""

    begin: float
    end: float
    amount: Amount


class Shut(NamedTuple):
    """A reservation's time on a node."""

    begin: float
    end: float
    name: str


@dataclass(slots=True)
class NodeTime:
    """One node, as it would be without our pilots."""

    name: str
    index: int
    partitions: tuple[str, ...]
    features: tuple[str, ...]
    total: Amount
    free: Amount
    held: Amount = NOTHING  # by our pilots; counted as free
    pilots: int = 0  # of ours that run on it
    ends: list[tuple[float, Amount]] = field(default_factory=list)  # when somebody's limit ends, what is free then
    bookings: list[Booking] = field(default_factory=list)
    shut: list[Shut] = field(default_factory=list)
    left_now: Amount = NOTHING  # of `free`, after bookings that begin now
    later: Amount = NOTHING  # in all bookings that begin later, one after the other or not
    closes_at: float = inf  # when the first booking or reservation to come begins
    taken_at: float = inf  # the same, with bookings that begin now
    opens_at: float = -inf  # when the last of them ends

    def begin(self, now: float) -> None:
        """Get ready for bookings."""
        self.left_now = self.free
        for begin, end, _ in self.shut:
            self._close(begin, end)

    def book(self, booking: Booking, now: float) -> None:
        """Give a part of the node to somebody for a time."""
        self.bookings.append(booking)
        if booking.begin > now:
            self.later = plus(self.later, booking.amount)
            self._close(booking.begin, booking.end)
        else:
            self.left_now = less(self.left_now, booking.amount)
            self.taken_at, self.opens_at = booking.begin, max(self.opens_at, booking.end)

    def _close(self, begin: float, end: float) -> None:
        self.closes_at, self.taken_at = min(self.closes_at, begin), min(self.taken_at, begin)
        self.opens_at = max(self.opens_at, end)

    def free_from(self, need: Amount, length: float, at: float, passes: frozenset[str]) -> float:
        """Return when `need` can be had for `length`, `at` or later, of a node that running batch jobs leave at `at`.

        Before bookings and reservations or after the last of them: what lies between is left to starts at once.
        """
        if self.taken_at == inf or at >= self.opens_at:
            return at
        is_free = at + length <= self.taken_at
        if not is_free and (need[0] < self.total[0] or passes):
            is_free = self.fits(need, at, at + length, passes)
        return at if is_free else max(at, self.opens_at)

    def fits(self, need: Amount, at: float, until: float, passes: frozenset[str] = frozenset()) -> bool:
        """Return whether `need` can be had from `at` to `until`. `passes`: the reservations that may be used."""
        for begin, end, name in self.shut:
            if begin < until and at < end and name not in passes:
                return False
        if not covers(self.room(at), need):
            return False
        if not self.bookings:
            return True
        # What is free only grows but for bookings, so it is least at their beginnings.
        moments = [at, *(booking.begin for booking in self.bookings if at < booking.begin < until)]
        return all(covers(self.left(moment), need) for moment in moments)

    def room(self, at: float) -> Amount:
        """Return what running batch jobs leave at a moment."""
        free = self.free
        for end, then in self.ends:
            if end > at:
                break
            free = then
        return free

    def left(self, at: float) -> Amount:
        """Return what running batch jobs and bookings leave at a moment."""
        room = self.room(at)
        for begin, end, taken in self.bookings:
            if begin <= at < end:
                room = less(room, taken)
        return room

    def span(self, need: Amount, now: float, passes: frozenset[str] = frozenset()) -> float:
        """Return for how many seconds from now on `need` can be had; 0 where it cannot be had now."""
        if not covers(self.left_now, need):
            return 0.0
        if self.closes_at == inf:
            return inf
        closing = [max(now, begin) for begin, _, name in self.shut if name not in passes]
        if not covers(less(self.left_now, self.later), need):
            closing += [
                booking.begin
                for booking in self.bookings
                if booking.begin > now and not covers(self.left(booking.begin), need)
            ]
        return min(closing, default=inf) - now

    def is_in_the_way(self, need: Amount, at: float, until: float, passes: frozenset[str]) -> bool:
        """Return whether our pilots here must be gone so that `need` can be had from `at` to `until`."""
        return self.pilots > 0 and not self.fits(plus(need, self.held), at, until, passes)


def node_times(
    snapshot: ClusterSnapshot, now: float, ours: Collection[str], going: Collection[str] = ()
) -> list[NodeTime]:
    """Return the nodes that batch jobs may start on, as they would be without our pilots.

    Parameters
    ----------
    going: those of ours that were told to leave: nobody needs to tell them again.
    """
    found = {
        node.name: _without_holders(node, index)
        for index, node in enumerate(snapshot.nodes)
        if node.state in _USABLE or node.state is NodeState.UNKNOWN
    }
    idle = {node.name for node in snapshot.nodes if node.state is NodeState.IDLE}
    others: dict[str, list[tuple[float, Amount]]] = {}
    for batch in snapshot.batch_jobs:
        if not batch.nodes or batch.state is BatchState.PENDING or batch.state.is_ended:
            continue
        is_ours = batch.batch_job_id in ours or batch.name in ours
        is_told = batch.batch_job_id in going or batch.name in going
        is_going = is_told or batch.state is BatchState.COMPLETING  # as good as gone
        end = inf if batch.end_at is None else batch.end_at if batch.end_at > now else now + OVERDUE_S
        usual = _each(batch)
        for name in batch.nodes:
            node = found.get(name)
            if node is None:
                continue
            each = node.total if batch.is_exclusive else usual
            if is_ours or is_going:
                _give_back(node, each, is_pilot=is_ours and not is_going)
                continue
            if name in idle:  # taken since the nodes were asked
                node.free = less(node.free, each)
            others.setdefault(name, []).append((end, each))
    for name, ends in others.items():
        ends.sort()
        _add_up(found[name], ends)
    _shut(snapshot, now, found)
    unknown = {node.name for node in snapshot.nodes if node.state is NodeState.UNKNOWN}
    # Of a node in a state that we do not know, only one thing is sure: where we are, somebody could be.
    usable = [node for node in found.values() if node.pilots or node.name not in unknown]
    for node_time in usable:
        node_time.begin(now)
    return usable


def _without_holders(node: Node, index: int) -> NodeTime:
    total = amount(node.total)
    free = total if node.state is NodeState.RESERVED else _capped(amount(node.free), total)
    return NodeTime(node.name, index, node.partitions, node.features, total, free)


def _each(batch: BatchJob) -> Amount:
    count = len(batch.nodes)
    wanted = batch.requested
    return (-(-wanted.cpus // count), -(-wanted.gpus // count), -(-wanted.memory_mb // count))


def _give_back(node: NodeTime, each: Amount, *, is_pilot: bool) -> None:
    node.free = _capped(plus(node.free, each), node.total)
    if is_pilot:
        node.held = plus(node.held, each)
        node.pilots += 1


def _add_up(node: NodeTime, ends: list[tuple[float, Amount]]) -> None:
    """Note what is free after each end; after the last one all is, however the scheduler rounded."""
    free = node.free
    for end, each in ends[:-1]:
        free = _capped(plus(free, each), node.total)
        node.ends.append((end, free))
    node.ends.append((ends[-1][0], node.total))


def _shut(snapshot: ClusterSnapshot, now: float, nodes: dict[str, NodeTime]) -> None:
    for reservation in snapshot.reservations:
        end = inf if reservation.end_at is None else reservation.end_at
        if end <= now:
            continue
        for name in reservation.nodes:
            if name in nodes:
                nodes[name].shut.append(Shut(reservation.start_at, end, reservation.name))
