"""The overlay: pilots laid over what a cluster offers, event by event. The heart of both models.

The offer's gaps open and close; the scheduler looks at its queue of pilots on a grid of `cycle_s`; the daemon looks on
a grid of `tick_s` and calls its planner with a snapshot of that moment. Where the scheduler's plan knows the end of a
gap, backfill starts only pilots that end in time; elsewhere any pilot may start. When a gap closes, a pilot that is
still there is evicted (preemptible), or in the way of the prime job (strict, yielding): either is counted as that job's
delay. A daemon may die: nobody looks from then on, and its pilots leave when they notice, or at their limits.

Cycles at which nothing could start, and looks at which nothing has changed for long, are not carried out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from math import ceil, inf

from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.harvest.planning import LEAD_S, HarvestMode, Policy
from harvester.simulator.inputs.gaps import ClusterOffer, Gap, PlanChange
from harvester.simulator.model import fleet as fleets
from harvester.simulator.model.fleet import Fleet, ModelPilot
from harvester.simulator.parameters import Parameters, TimeMin

Progress = Callable[[float], None]
"""Called now and then with the share of the time that has been simulated."""

_AWAKE_S = 20.0  # after a change the daemon goes on looking every idle tick for so long: `fib` and `var` act each 15 s
_REPORT_EVERY = 1000  # events


class _Kind(IntEnum):
    """Events of one moment, in the order in which they happen."""

    END = 0  # a pilot that ends in time is gone before its gap closes
    CLOSE = 1
    OPEN = 2
    PLAN = 3
    CYCLE = 4
    LOOK = 5  # after the cycle: what the daemon submits, the next cycle sees
    ORPHANED = 6  # pilots have heard nothing of their daemon for too long


@dataclass(slots=True)
class _Place:
    """A node in a gap."""

    gap: Gap
    pilot: ModelPilot | None = None


class Overlay:
    """One run of a policy over an offer."""

    def __init__(self, offer: ClusterOffer, policy: Policy, parameters: Parameters) -> None:
        self.offer = offer
        self.parameters = parameters
        self.fleet = Fleet(policy, parameters)
        self.delays: dict[int, float] = {}  # by prime job, in seconds
        self._moved: set[str] = set()  # nodes whose gap opened or closed since the last look
        self._now = offer.from_at
        self._open: dict[str, _Place] = {}
        self._free: dict[str, _Place] = {}  # those in a gap that hold no pilot
        self._nodes = {name: fleets.busy_node(name) for name in offer.nodes}
        self._primes: tuple[BatchJob, ...] = ()
        self._claims: dict[str, float] = {}
        self._events: list[tuple[float, int, int, Gap | ModelPilot | PlanChange | None]] = []
        self._number = 0
        self._cycle_at = self._look_at = inf
        self._changed_at = offer.from_at
        self._evicts = parameters.mode is HarvestMode.PREEMPTIBLE
        self._lead_s = parameters.margin_s if parameters.mode is HarvestMode.STRICT else LEAD_S
        dies_at = parameters.daemon_dies_at
        self._dies_at = inf if dies_at is None else offer.from_at + dies_at * (offer.to_at - offer.from_at)
        # Where the scheduler evicts pilots they need not mind.
        orphan_s = None if self._evicts else parameters.orphan_s
        self._orphaned_at = inf if orphan_s is None else self._dies_at + orphan_s
        self._leave_s = min(parameters.leave_s, parameters.grace_s)

    # ---- time

    def run(self, progress: Progress | None = None) -> None:
        """Let the offer pass from beginning to end."""
        start, end = self.offer.from_at, self.offer.to_at
        for gap in self.offer.gaps:
            self._add(gap.opens_at, _Kind.OPEN, gap)
            self._add(gap.closes_at, _Kind.CLOSE, gap)
        for change in self.offer.plans:
            self._add(change.at, _Kind.PLAN, change)
        if self._orphaned_at < end:
            self._add(self._orphaned_at, _Kind.ORPHANED, None)
        self._wake()
        count = 0
        while self._events and self._events[0][0] <= end:
            self._now, kind, _, what = heapq.heappop(self._events)
            self._happen(_Kind(kind), what)
            count += 1
            if progress is not None and count % _REPORT_EVERY == 0:
                progress((self._now - start) / (end - start))
        self._now = end
        for pilot in list(self.fleet.running.values()):
            self.fleet.end(pilot, end, is_evicted=False)
        if progress is not None:
            progress(1.0)

    def _add(self, at: float, kind: _Kind, what: Gap | ModelPilot | PlanChange | None) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, kind, self._number, what))

    def _happen(self, kind: _Kind, what: Gap | ModelPilot | PlanChange | None) -> None:
        if isinstance(what, Gap):
            (self._opens if kind is _Kind.OPEN else self._closes)(what)
        elif isinstance(what, ModelPilot):
            if what.pilot_id in self.fleet.running and what.ends_at <= self._now:
                self._ends(what)
        elif isinstance(what, PlanChange):
            self._plans(what)
        elif kind is _Kind.CYCLE:
            if self._now >= self._cycle_at:
                self._cycle()
        elif kind is _Kind.ORPHANED:
            for pilot in self.fleet.running.values():
                self._leaves(pilot)
        elif self._now >= self._look_at:
            self._look()

    def _grid(self, step: float, after: float) -> float:
        """Return the first point of the grid at `after` or later."""
        origin = self.offer.from_at
        return origin + ceil((after - origin) / step - 1e-9) * step

    def _wake(self) -> None:
        """Something has changed: let the scheduler and the daemon look at their next turns."""
        self._changed_at = self._now
        self._want_cycle()
        self._want_look(self._grid(self.parameters.tick_s, self._now))

    def _want_cycle(self) -> None:
        at = self._grid(self.parameters.cycle_s, self._now)
        if at < self._cycle_at:
            self._cycle_at = at
            self._add(at, _Kind.CYCLE, None)

    def _want_look(self, at: float) -> None:
        if at < self._look_at:
            self._look_at = at
            self._add(at, _Kind.LOOK, None)

    # ---- the cluster

    def _opens(self, gap: Gap) -> None:
        self._open[gap.node] = self._free[gap.node] = _Place(gap)
        self._moved.add(gap.node)
        self._nodes[gap.node] = fleets.idle_node(gap.node)
        self._wake()

    def _closes(self, gap: Gap) -> None:
        place = self._open.pop(gap.node)
        self._free.pop(gap.node, None)
        self._moved.add(gap.node)
        if place.pilot is not None:
            self._reclaim(place.pilot, gap)
        self._nodes[gap.node] = fleets.busy_node(gap.node)
        self._wake()

    def _reclaim(self, pilot: ModelPilot, gap: Gap) -> None:
        """The prime job wants the node that `pilot` is on."""
        left = max(0.0, min(pilot.ends_at, self._orphaned_at + self._leave_s) - self._now)
        delay = min(left, self._seen_s() + self._leave_s)
        if gap.closed_by >= 0 and delay > 0:
            self.delays[gap.closed_by] = max(delay, self.delays.get(gap.closed_by, 0.0))
        # What it had beyond the gap was the prime job's, so it is not counted.
        self.fleet.end(pilot, self._now, is_evicted=self._evicts and not gap.is_cut)

    def _seen_s(self) -> float:
        """Return after how long somebody asks a pilot to leave that is in the way now."""
        if self._evicts:
            return 0.0
        seen_at = self._grid(self.parameters.tick_s, self._now)  # where nobody evicts, the daemon's next look
        return seen_at - self._now if seen_at < self._dies_at else inf

    def _leaves(self, pilot: ModelPilot) -> None:
        self.fleet.leave(pilot, self._now + self._leave_s)
        self._add(pilot.ends_at, _Kind.END, pilot)

    def _ends(self, pilot: ModelPilot) -> None:
        self.fleet.end(pilot, self._now, is_evicted=False)
        place = self._open[pilot.node]
        place.pilot = None
        self._free[pilot.node] = place
        self._nodes[pilot.node] = fleets.idle_node(pilot.node)
        self._wake()

    def _plans(self, change: PlanChange) -> None:
        self._primes = change.primes
        claims: dict[str, float] = {}
        for batch in change.primes:
            if batch.state is BatchState.PENDING and batch.start_at is not None:
                for node in batch.nodes:
                    claims[node] = min(batch.start_at, claims.get(node, inf))
        self._claims = claims
        self._wake()

    def _cycle(self) -> None:
        """Let the scheduler start what is pending: in the order of the queue, each on the first node where it fits."""
        self._cycle_at = inf
        if not self._free or not self.fleet.pending:
            return
        free = {name: self._claims.get(name, inf) - self._now for name in sorted(self._free)}
        refused = inf  # the shortest that fitted nowhere: whatever is longer need not be tried
        started = 0
        for pilot in list(self.fleet.queue()):
            is_plain = pilot.is_plain
            if is_plain and pilot.walltime_s >= refused:
                continue
            name, length = _place(pilot, free, self._now, self.parameters)
            if name:
                del free[name]
                self._start(pilot, name, length)
                started += 1
                if not free:
                    break
            elif is_plain:
                refused = pilot.walltime_s
        if started:
            self._wake()

    def _start(self, pilot: ModelPilot, name: str, length: float) -> None:
        self.fleet.start(pilot, name, self._now, length)
        self._free.pop(name).pilot = pilot
        self._nodes[name] = fleets.busy_node(name)
        if self._now >= self._orphaned_at:
            self.fleet.leave(pilot, pilot.ready_at)  # it calls, and hears that the daemon has been silent for long
        self._add(pilot.ends_at, _Kind.END, pilot)

    # ---- the daemon

    def _look(self) -> None:
        self._look_at = inf
        if self._now >= self._dies_at:
            return
        snapshot = self.fleet.snapshot(tuple(self._nodes.values()), self._primes, self._now)
        if self._moved:
            # Nodes that were busy all the time teach nothing, nor does a look at which no gap is new or gone.
            self.fleet.learn(snapshot, (self._nodes[name] for name in self._moved | self._open.keys()), self._now)
            self._moved.clear()
        before = len(self.fleet.pending)
        for pilot in self.fleet.plan(snapshot, self._now):
            self._leaves(pilot)
        if len(self.fleet.pending) != before:
            self._changed_at = self._now
        if self.fleet.pending and self._free:
            self._want_cycle_after()
        is_awake = self._now - self._changed_at < _AWAKE_S
        wait = self.parameters.idle_tick_s if is_awake else self.parameters.quiet_tick_s
        self._want_look(self._grid(self.parameters.tick_s, min(self._now + wait, self._due_at())))

    def _due_at(self) -> float:
        """Return when the next pilot must be asked to leave because its node is wanted earlier than was planned.

        A daemon looks every `tick_s` and cannot miss it; here looks are left out while nothing changes.
        """
        if self._evicts:
            return inf
        lead_s = self._lead_s
        wanted = ((self._claims.get(pilot.node, inf) - lead_s, pilot.ends_at) for pilot in self.fleet.running.values())
        return min((due for due, ends_at in wanted if self._now < due < ends_at), default=inf)

    def _want_cycle_after(self) -> None:
        """What was submitted now is seen by the next cycle, not by the one of this moment."""
        at = self._grid(self.parameters.cycle_s, self._now + 1e-3)
        if at < self._cycle_at:
            self._cycle_at = at
            self._add(at, _Kind.CYCLE, None)


def _place(pilot: ModelPilot, free: dict[str, float], now: float, parameters: Parameters) -> tuple[str, float]:
    """Return the first of the `free` nodes (with the seconds left on each) that `pilot` fits, and its limit there."""
    is_largest, grain_s = parameters.time_min is TimeMin.LARGEST, parameters.granularity_s
    bound = pilot.bound_to
    rooms = free.items() if bound is None else [(name, free[name]) for name in bound if name in free]
    for name, room in rooms:
        length = pilot.length_in(room, now, is_largest=is_largest, grain_s=grain_s)
        if length > 0 and name not in pilot.order.exclude:
            return name, length
    return "", 0.0
