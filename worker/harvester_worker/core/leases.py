"""Leases: the activations of a pilot, the capacity that they take, and the order in which they start.

Pure bookkeeping. It reports nothing and kills nothing. It keeps each lease in one place and each device with one
activation.
"""

import heapq
from collections.abc import Iterable
from math import inf

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.wire import Held, Lease
from harvester_worker.core.activations import Activation, ActivationEvent, DeadlineVerdict, FreeCapacity, SlotLane
from harvester_worker.core.effects import Key, Tenant
from harvester_worker.timing.pace import Pace

AHEAD_S = 0.005
"""Runs are queued at a slot for as long as all that is there is expected to be over within this time."""

AHEAD = 32
"""And never more than so many."""

STALL_S = 0.02
"""What is queued behind a run that takes longer than this is taken back, for other slots."""


class Leases:
    """The activations of one pilot, by their state.

    Parameters
    ----------
    capacity: what the pilot has in all.
    gpus: ids of its devices.
    """

    def __init__(self, capacity: Resources, gpus: tuple[str, ...]) -> None:
        self.capacity = capacity
        self.room = FreeCapacity(capacity, gpus)
        self.pace = Pace()
        self.waiting: dict[Key, Activation] = {}
        self.queued: dict[Key, Activation] = {}
        self.running: dict[Key, Activation] = {}
        self.killed: dict[Key, Activation] = {}  # reported or dropped; their processes are not yet seen dead
        self.waits: dict[Key, Activation] = {}  # of those that run: they wait for others, the longest first
        self.lent = 0  # of these, those whose CPUs are free meanwhile

    def __contains__(self, key: Key) -> bool:
        return key in self.running or key in self.waiting or key in self.queued

    def held(self) -> list[Held]:
        """Return the leases, as `Hello` tells them."""
        unbegun = [Held(invocation_id=key[0], fence=key[1]) for key in (*self.waiting, *self.queued)]
        return unbegun + [Held(invocation_id=key[0], fence=key[1], is_started=True) for key in self.running]

    def add(self, lease: Lease, function: FunctionVersion) -> None:
        """Keep a lease until there is room."""
        activation = Activation(lease, function)
        self.waiting[activation.key] = activation

    # ---- beginning ---------------------------------------------------------------------------------------------------

    def startable(self) -> list[Activation]:
        """Return the waiting activations that fit now, in order.

        One that does not fit keeps what it needs reserved, so that small ones may pass it and never starve it.
        """
        chosen: list[Activation] = []
        if self.room.cpus <= 0:
            return chosen
        room = self.room.free
        for activation in self.waiting.values():
            if room.cpus <= 0:
                break
            wanted = activation.lease.resources
            if wanted.fits(room):
                chosen.append(activation)
            room = _left(room, wanted)
        return chosen

    def start(self, activation: Activation, now: float) -> None:
        """Give a waiting activation its capacity and its devices."""
        del self.waiting[activation.key]
        expected_s = self.pace.expected_s(activation.pace_key)
        activation.expected_s = AHEAD_S if expected_s is None else expected_s
        lane = activation.lane = SlotLane(activation, self.room.take(activation.lease.resources))
        self._begin(lane, activation, now)

    def queue_what_fits(self, now: float) -> list[tuple[Activation, SlotLane]]:
        """Queue waiting activations at slots; return them in order, each with the lane that it is queued in.

        Only short ones, of the tenant that the slot serves, and only from the front: one that waits for capacity must
        not be starved by short ones behind it.
        """
        chosen: list[tuple[Activation, SlotLane]] = []
        lanes: list[tuple[float, int, SlotLane]] = []
        wanted: tuple[Resources, Tenant] | None = None
        for activation in self.waiting.values():
            expected_s = self.pace.expected_s(activation.pace_key)
            if expected_s is None or expected_s >= AHEAD_S or activation.is_suspect:
                break
            shape = (activation.lease.resources, activation.tenant)
            if shape != wanted:
                wanted = shape
                lanes = self._open_lanes(*shape, now)
            if not lanes or lanes[0][0] + expected_s > AHEAD_S:
                break
            _, number, lane = lanes[0]
            activation.expected_s = expected_s
            activation.lane = lane
            lane.expected_s += expected_s
            lane.queue.append(activation)
            chosen.append((activation, lane))
            if len(lane.queue) < AHEAD:
                heapq.heapreplace(lanes, (lane.expected_s, number, lane))
            else:
                heapq.heappop(lanes)
        for activation, _ in chosen:
            activation.advance(ActivationEvent.QUEUED)
            self.queued[activation.key] = self.waiting.pop(activation.key)
        return chosen

    def _open_lanes(self, wanted: Resources, tenant: Tenant, now: float) -> list[tuple[float, int, SlotLane]]:
        """Return the lanes of this shape and tenant that may take more, as a heap by what is there already."""
        lanes = [
            (lane.expected_s, number, lane)
            for number, activation in enumerate(self.running.values())
            if activation.started_at + AHEAD_S > now  # or it is not as short as was expected
            and not (lane := activation.at).is_closed
            and len(lane.queue) < AHEAD
            and lane.resources == wanted
            and lane.tenant == tenant
        ]
        heapq.heapify(lanes)
        return lanes

    def _begin(self, lane: SlotLane, activation: Activation, now: float) -> None:
        activation.advance(ActivationEvent.STARTED)
        activation.started_at = now
        lane.head, lane.at_work = activation, None
        lane.is_closed = activation.is_suspect
        lane.stalls_at = now + STALL_S
        self.running[activation.key] = activation
        if activation.function.walltime_s is not None and (walltime_s := activation.walltime_s) is not None:
            activation.limit(now + walltime_s, DeadlineVerdict.WALLTIME)

    def at_slot(self, keys: Iterable[Key]) -> list[Activation]:
        """Return those of these activations that are at a slot, also if they were reported when it was killed."""
        found = (self.running.get(key) or self.queued.get(key) or self.killed.get(key) for key in keys)
        return [activation for activation in found if activation is not None]

    # ---- waiting for others ------------------------------------------------------------------------------------------

    def lend(self, activation: Activation) -> None:
        """Count the CPUs of a run that waits as free."""
        activation.at.is_lent = True
        self.room.cpus += activation.at.resources.cpus
        self.lent += 1

    def go_on(self, activation: Activation) -> None:
        """Let a run wait no longer; it has its CPUs again, even if none are free."""
        if self.waits.pop(activation.key, None) is not None and activation.at.is_lent:
            activation.at.is_lent = False
            self.room.cpus -= activation.at.resources.cpus
            self.lent -= 1

    # ---- ending ------------------------------------------------------------------------------------------------------

    def end(self, activation: Activation, now: float) -> Activation | None:
        """Record that a running activation has ended; return the one that its slot has begun next, if there is one."""
        lane = activation.at
        self.go_on(activation)
        activation.advance(ActivationEvent.ENDED)
        del self.running[activation.key]
        if not lane.queue:
            self.room.give_back(lane.resources, lane.gpus)
            return None
        lane.expected_s -= activation.expected_s
        following = lane.queue.popleft()
        del self.queued[following.key]
        self._begin(lane, following, now)
        return following

    def kill(self, activation: Activation) -> None:
        """Record that a running activation is being killed; its capacity stays taken until `release`."""
        self.go_on(activation)
        activation.advance(ActivationEvent.KILLED)
        self.killed[activation.key] = self.running.pop(activation.key)
        activation.at.is_closed = True

    def release(self, lane: SlotLane) -> None:
        """Free the capacity of a slot that died; the caller puts what was there elsewhere."""
        self.go_on(lane.head)
        self.room.give_back(lane.resources, lane.gpus)
        if self.killed.pop(lane.head.key, None) is not None:
            lane.head.advance(ActivationEvent.ENDED)

    def drop(self, activation: Activation) -> None:
        """Remove an activation that waits, or whose slot is gone or has let go of it."""
        activation.advance(ActivationEvent.ENDED)
        self._take_out(activation)

    def put_back(self, activations: Iterable[Activation]) -> None:
        """Let activations that a slot has let go of wait again, before all others."""
        back = {}
        for activation in activations:
            activation.advance(ActivationEvent.TAKEN_BACK)
            self._take_out(activation)
            activation.deadline = None
            back[activation.key] = activation
        if back:
            self.waiting = {**back, **self.waiting}

    def _take_out(self, activation: Activation) -> None:
        key, lane = activation.key, activation.lane
        self.waiting.pop(key, None)
        self.running.pop(key, None)
        if self.queued.pop(key, None) is not None and lane is not None:
            lane.queue.remove(activation)
            lane.expected_s -= activation.expected_s
        activation.lane = None

    # ---- time --------------------------------------------------------------------------------------------------------

    def overdue(self, now: float) -> list[Activation]:
        """Return the running activations whose deadline is over."""
        return [a for a in self.running.values() if a.deadline is not None and a.deadline <= now]

    def overrun_behind(self, head: Activation, now: float) -> Activation | None:
        """Limit the run that a slot is at, where that is not the head; drop and return it when it is overdue itself.

        A function that holds the interpreter's lock keeps the slot from telling the ends before it. What has not begun
        was taken back by now, so of what is still queued the last one is at work, and all before it are over.
        """
        lane = head.at
        at_work = lane.queue[-1]
        if not lane.is_closed:
            head.deadline = lane.stalls_at  # then it is taken back
        elif lane.at_work is not at_work:
            lane.at_work, at_work.started_at = at_work, now
            walltime_s = at_work.walltime_s
            head.deadline = None if walltime_s is None else now + walltime_s
        else:
            head.deadline = None
            self.drop(at_work)
            return at_work
        return None

    def close_stalled(self, now: float) -> list[SlotLane]:
        """Close the lanes with something queued behind a run that takes too long; return each once in `STALL_S`."""
        if not self.queued:
            return []
        lanes = [lane for a in self.running.values() if (lane := a.at).queue and lane.stalls_at <= now]
        for lane in lanes:
            lane.is_closed = True
            lane.stalls_at = now + STALL_S
        return lanes

    def next_at(self) -> float:
        """Return when `overdue` or `close_stalled` will return something."""
        at = inf
        for activation in self.running.values():
            if activation.deadline is not None and activation.deadline < at:
                at = activation.deadline
            lane = activation.at
            if lane.queue and lane.stalls_at < at:
                at = lane.stalls_at
        return at


def _left(room: Resources, wanted: Resources) -> Resources:
    """Return what others may have; never below zero, or one that waits for a device would block all."""
    left = room - wanted
    return Resources(cpus=max(0, left.cpus), gpus=max(0, left.gpus), memory_mb=max(0, left.memory_mb))
