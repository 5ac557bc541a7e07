"""The demand policy: as many pilots as the open work needs, plus a configured number ready.

Open work is put into the pilots that live, those at work first. What does not go in wants new pilots; what is left
empty is spare. A pilot stuck in the scheduler's queue is not counted on where a shorter one would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from harvester.domain.cluster.snapshot import NodeState
from harvester.domain.harvest.planning import (
    CancelPilot,
    KnownPilot,
    Need,
    Plan,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.harvest.policies.lengths import allowed, choose, is_stuck, required, shorter
from harvester.domain.harvest.policies.pilot_bins import ZERO, PilotBin, how_many, order
from harvester.domain.model.pilots import PilotState

_UNUSABLE = frozenset({NodeState.DOWN, NodeState.DRAINED})
_DISPATCH = timedelta(seconds=5)  # time left that a pilot needs beyond a declared walltime to be given the work


class DemandPolicy:
    """As many pilots as waiting work needs, plus some ready; longest lengths first."""

    def plan(self, situation: Situation) -> Plan:
        """Return what to submit and cancel."""
        draft = PlanDraft(situation)
        draft.serve()
        draft.keep_ready()
        draft.make_room()
        draft.let_go()
        return Plan(effects=tuple(draft.effects), notes=tuple(dict.fromkeys(draft.notes)))


def capacity(situation: Situation, shape: Shape) -> int | None:
    """Return how many pilots of `shape` its partition's nodes could hold if nobody else were there.

    None where the scheduler told of no nodes at all. Nodes of unknown state count: unknown is not gone.
    """
    nodes = situation.snapshot.nodes
    if not nodes:
        return None
    return sum(
        how_many(shape.resources, node.total)
        for node in nodes
        if shape.partition in node.partitions and node.state not in _UNUSABLE
    )


class PlanDraft:
    """A plan in the making. Its notes name no function: every user is shown them."""

    def __init__(self, situation: Situation) -> None:
        self.now = situation.now
        self.settings = situation.settings
        self.pilots = situation.pilots
        self.effects: list[SubmitPilot | CancelPilot] = []
        self.notes: list[str] = []
        self.blocked: set[str] = set()  # partitions in which something was wanted that a cap refused; "" stands for all
        self.pending = sum(pilot.is_pending for pilot in self.pilots)
        self.live = len(self.pilots)
        self.capacity: dict[str, int | None] = {}
        self.lengths: dict[str, tuple[timedelta, ...]] = {}
        self.shapes = [shape for shape in self.settings.shapes if self._admit(shape, situation)]
        self.per_shape = Counter(
            pilot.shape for pilot in self.pilots if pilot.state is not PilotState.DRAINING and not self._is_old(pilot)
        )
        self.rooms = sorted((self._room(pilot) for pilot in self.pilots if self._offers(pilot)), key=order)
        self.needs = situation.needs

    # ---- what there is

    def _admit(self, shape: Shape, situation: Situation) -> bool:
        """Return whether pilots of a shape can be had; note why not."""
        partition = situation.snapshot.partition(shape.partition)
        if partition is None:
            self.notes.append(
                f"No pilots of shape {shape.name}: the scheduler has no partition {shape.partition!r}; it has "
                f"{', '.join(sorted(p.name for p in situation.snapshot.partitions)) or 'none'}."
            )
            return False
        self.lengths[shape.name] = allowed(self.settings, partition)
        self.capacity[shape.name] = capacity(situation, shape)
        why = situation.closed.get(shape.name, "")
        if not partition.is_up:
            why = f"partition {shape.partition!r} is down."
        elif self.capacity[shape.name] == 0:
            why = f"no node in service of partition {shape.partition!r} has {shape.resources}."
        if why:
            self.notes.append(f"No pilots of shape {shape.name}: {why}")
        return not why

    def _is_old(self, pilot: KnownPilot) -> bool:
        return _time_left(pilot, self.now) < self.settings.renew

    def _offers(self, pilot: KnownPilot) -> bool:
        return pilot.state is not PilotState.DRAINING and (pilot.is_pending or not self._is_old(pilot))

    def _room(self, pilot: KnownPilot) -> PilotBin:
        return PilotBin(
            pilot=pilot,
            free=pilot.resources,
            python=pilot.python,
            time_left=_time_left(pilot, self.now),
            shape=pilot.shape,
            is_gpu=pilot.resources.gpus > 0,
            only_over=self._replacement(pilot),
            slack=ZERO if pilot.is_pending else max(ZERO, self.settings.margin - _DISPATCH),
        )

    def _replacement(self, pilot: KnownPilot) -> timedelta | None:
        """Return the next shorter length for a pilot that is stuck in the queue."""
        if not is_stuck(pilot, self.settings, self.now):
            return None
        return shorter(self.lengths.get(pilot.shape, ()), pilot.walltime, ZERO)

    # ---- what is wanted

    def serve(self) -> None:
        """Put the open work into the pilots that live, and submit what the rest needs. GPU work chooses first."""
        needs = sorted(self.needs, key=lambda need: need.resources.gpus == 0)
        # What is held and found no room is on pilots that are leaving: it will wait again in a moment.
        running = [bin_ for bin_ in self.rooms if bin_.pilot is not None and not bin_.pilot.is_pending]
        coming = [need.waiting + _put(running, need, need.held, ZERO) for need in needs]
        for need, count in zip(needs, coming, strict=True):
            left = _put(self.rooms, need, count, required(need, self.settings))
            if left:
                self._open(need, left)

    def _open(self, need: Need, left: int) -> None:
        """Submit pilots for `left` invocations of `need`."""
        at_least = required(need, self.settings)
        shape = self._shape_for(need, at_least)
        if shape is None:
            self.notes.append(self._why_nothing_fits(need, left, at_least))
            return
        while left > 0:
            fresh = self._submit(shape, at_least, f"{left} of {need.function_id} wait")
            if fresh is None:
                self.notes.append(f"{left} invocations that need {need.resources} wait for a pilot that has room.")
                return
            self.rooms.append(fresh)
            left -= fresh.put(need, left, at_least)

    def _shape_for(self, need: Need, at_least: timedelta) -> Shape | None:
        """Return the shape for `need`; work without GPUs takes one without where it can."""
        fitting = [
            shape
            for shape in self.shapes
            if how_many(need.resources, shape.resources) > 0
            and not (need.python and shape.python and need.python != shape.python)
            and any(length >= at_least for length in self.lengths[shape.name])
        ]
        return min(fitting, key=lambda shape: shape.resources.gpus > 0 and need.resources.gpus == 0, default=None)

    def _why_nothing_fits(self, need: Need, left: int, at_least: timedelta) -> str:
        offers = "; ".join(
            f"{shape.name}: {shape.resources}"
            + (f", Python {shape.python}" if shape.python else "")
            + f", at most {max(self.lengths[shape.name], default=ZERO).total_seconds() / 60:g} min"
            for shape in self.shapes
        )
        wants = [str(need.resources)]
        if need.python:
            wants.append(f"Python {need.python}")
        if at_least:
            wants.append(f"a pilot of {at_least.total_seconds() / 60:.4g} min")
        return (
            f"{left} invocations need {', '.join(wants)}, which no open shape offers ({offers or 'no shape is open'})."
        )

    def keep_ready(self) -> None:
        """Submit what is missing of the pilots that shall be ready without work."""
        for shape in self.shapes:
            spare = sum(bin_.shape == shape.name and not bin_.work and bin_.only_over is None for bin_ in self.rooms)
            for _ in range(shape.ready - spare):
                fresh = self._submit(shape, ZERO, f"{shape.ready} to be ready")
                if fresh is None:
                    self.notes.append(f"{spare} of {shape.ready} spare pilots of shape {shape.name}.")
                    break
                self.rooms.append(fresh)
                spare += 1

    def _submit(self, shape: Shape, at_least: timedelta, why: str) -> PilotBin | None:
        """Add a submission, unless a cap forbids it."""
        queue = [pilot for pilot in self.pilots if pilot.shape == shape.name and pilot.is_pending]
        walltime = choose(self.lengths[shape.name], queue, at_least, self.settings, self.now)
        if walltime is None:
            self.notes.append(f"No length in harvest.lengths_min is short enough for partition {shape.partition!r}.")
            return None
        if self._refuse(shape):
            return None
        self.pending += 1
        self.live += 1
        self.per_shape[shape.name] += 1
        self.effects.append(SubmitPilot(shape=shape.name, walltime=walltime, why=why))
        return PilotBin(
            pilot=None,
            free=shape.resources,
            python=shape.python,
            time_left=walltime,
            shape=shape.name,
            is_gpu=shape.resources.gpus > 0,
        )

    def _refuse(self, shape: Shape) -> bool:
        """Return whether a cap forbids one more of `shape`; note which."""
        limit = self.capacity[shape.name]
        if self.live >= self.settings.max_pilots:
            self.blocked.add("")
            self.notes.append(f"No more pilots: max_pilots = {self.settings.max_pilots} is reached.")
        elif self.pending >= self.settings.max_pending:
            self.blocked.add("")
            self.notes.append(f"No more pilots for now: max_pending = {self.settings.max_pending} is reached.")
        elif limit is not None and self.per_shape[shape.name] >= limit:
            self.blocked.add(shape.partition)
            self.notes.append(
                f"No more pilots of shape {shape.name}: the nodes of partition {shape.partition!r} that are in service "
                f"hold {limit}, and so many are submitted."
            )
        else:
            return False
        return True

    # ---- what is too much

    def make_room(self) -> None:
        """Take the longest stuck pilot out of the queue where a cap keeps a shorter one from being tried."""
        if any(isinstance(effect, SubmitPilot) for effect in self.effects):
            return
        stuck = [
            bin_.pilot
            for bin_ in self.rooms
            if bin_.pilot is not None and bin_.only_over is not None and not bin_.work
            if "" in self.blocked or bin_.pilot.partition in self.blocked
        ]
        if stuck:
            pilot = max(stuck, key=lambda pilot: (pilot.walltime, -pilot.pending_since))
            minutes = pilot.walltime.total_seconds() / 60
            self.effects.append(
                CancelPilot(pilot_id=pilot.pilot_id, why=f"{minutes:g} min fit no gap; makes room for a shorter one")
            )

    def let_go(self) -> None:
        """Ask pilots to leave that were not needed for long, beyond those that shall be ready."""
        ready = {shape.name: shape.ready for shape in self.settings.shapes}
        already = {effect.pilot_id for effect in self.effects if isinstance(effect, CancelPilot)}
        spare = [(bin_.shape, bin_.pilot) for bin_ in self.rooms if bin_.pilot is not None and not bin_.work]
        for name in dict.fromkeys(shape for shape, _ in spare):
            mine = [pilot for shape, pilot in spare if shape == name and pilot.pilot_id not in already]
            idle = [pilot for pilot in mine if pilot.state is PilotState.READY]
            running = len(idle) + sum(pilot.state is PilotState.BOOTING for pilot in mine)
            surplus = max(0, len(idle) - ready.get(name, 0))
            if running >= ready.get(name, 0):
                self._dismiss([pilot for pilot in mine if self._waited_for_nothing(pilot)], "in the queue")
            long_idle = [pilot for pilot in idle if self._is_long_idle(pilot)]
            self._dismiss(sorted(long_idle, key=lambda pilot: pilot.idle_since or 0.0)[:surplus], "idle")

    def _waited_for_nothing(self, pilot: KnownPilot) -> bool:
        waited = self.now - pilot.pending_since
        return pilot.state is PilotState.QUEUED and waited > self.settings.idle.total_seconds()

    def _is_long_idle(self, pilot: KnownPilot) -> bool:
        since = pilot.idle_since
        return not pilot.activations and since is not None and self.now - since > self.settings.idle.total_seconds()

    def _dismiss(self, pilots: list[KnownPilot], where: str) -> None:
        seconds = self.settings.idle.total_seconds()
        self.effects += [
            CancelPilot(pilot_id=pilot.pilot_id, why=f"{where} for more than {seconds:g} s, and no work needs it")
            for pilot in pilots
        ]


def _put(rooms: Iterable[PilotBin], need: Need, count: int, at_least: timedelta) -> int:
    """Put up to `count` of `need` into `rooms`, and return how many found none."""
    for bin_ in rooms:
        if not count:
            break
        count -= bin_.put(need, count, at_least)
    return count


def _time_left(pilot: KnownPilot, now: float) -> timedelta:
    if pilot.is_pending:
        return pilot.walltime
    if pilot.ends_at is not None:
        return timedelta(seconds=pilot.ends_at - now)
    started = pilot.started_at if pilot.started_at is not None else pilot.pending_since
    return pilot.walltime - timedelta(seconds=now - started)
