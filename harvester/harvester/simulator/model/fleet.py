"""The fleet: simulated pilots, and the daemon that plans them with the daemon's own planner.

Owns pilots from submission to end, and what the planner is told of them. A model of a cluster owns the nodes: it starts
pilots on them, ends them, and says what the scheduler shows. Nothing here knows the future.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.harvest import planner
from harvester.domain.harvest.planning import (
    CancelPilot,
    HarvestMode,
    HarvestSettings,
    KnownPilot,
    Policy,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.supervision.gap_watch import GapWatch
from harvester.simulator.parameters import Parameters, TimeMin
from harvester.simulator.report.report import Interval

SHAPE = "node"
HARVEST, PRIME = "harvest", "prime"
WHOLE = Resources(cpus=1)
NOTHING = Resources(cpus=0)
_USER = "harvester"
_EVERYTHING = 1_000_000  # more pilots than any cluster has nodes: harvest all there is
_replace = msgspec.structs.replace


@dataclass(slots=True)
class ModelPilot:
    """A pilot of the simulation, with what planner and scheduler say of it."""

    pilot_id: str
    order: SubmitPilot
    known: KnownPilot
    batch: BatchJob
    started_at: float = 0.0
    ready_at: float = 0.0
    ends_at: float = 0.0
    node: str = ""
    is_ready: bool = False

    @property
    def walltime_s(self) -> float:
        """The limit that it asks for, in seconds."""
        return self.order.walltime.total_seconds()

    @property
    def is_plain(self) -> bool:
        """Whether only its limit decides where it fits."""
        order = self.order
        return order.time_min is None and order.end_by is None and not order.exclude

    def length_in(self, room_s: float, now: float, *, is_largest: bool, grain_s: float) -> float:
        """Return the limit that it gets, in seconds, when started `now` where `room_s` are left; 0 if it must wait.

        Parameters
        ----------
        is_largest: whether --time-min means the largest fit, and not exactly the minimum.
        grain_s: limits are multiples of this.
        """
        wanted = self.walltime_s
        if self.order.time_min is not None:
            least = self.order.time_min.total_seconds()
            fitting = wanted if room_s >= wanted else room_s // grain_s * grain_s
            wanted = max(least, fitting) if is_largest else least
        if self.order.end_by is not None and now + wanted > self.order.end_by:
            return 0.0
        return wanted if wanted <= room_s else 0.0

    @property
    def bound_to(self) -> tuple[str, ...] | None:
        """The nodes that it must be on, None where any will do. They are binding only together with a deadline."""
        return self.order.nodes if self.order.end_by is not None and self.order.nodes else None


@dataclass(slots=True)
class Account:
    """What the pilots made of it."""

    started: int = 0
    evicted: int = 0
    warming_s: float = 0.0
    ready_s: float = 0.0
    intervals: list[Interval] = field(default_factory=list)


class Fleet:
    """The pilots, pending and running, and their planner.

    Parameters
    ----------
    policy: the one to be tried.
    parameters: of the simulation.
    """

    def __init__(self, policy: Policy, parameters: Parameters) -> None:
        self._policy = policy
        self._settings = settings(parameters)
        self._boot_s = parameters.boot_s
        self._number = 0
        self._queue: list[ModelPilot] | None = None
        self._held: Collection[str] = ()  # pilots that wait and must not be started
        self._grain = timedelta(seconds=parameters.granularity_s)
        self._is_cut_largest = parameters.time_min is TimeMin.LARGEST
        self._partitions = _partitions(parameters)
        self._booting: dict[str, ModelPilot] = {}
        self._taken_at = 0.0
        self.pending: dict[str, ModelPilot] = {}
        self.running: dict[str, ModelPilot] = {}
        self.account = Account()
        self._watch = GapWatch()
        self.calls = 0

    def snapshot(self, nodes: tuple[Node, ...], primes: Iterable[BatchJob], now: float) -> ClusterSnapshot:
        """Return what the scheduler would show: `nodes`, other people's batch jobs, and the pilots."""
        ours = [pilot.batch for pilot in self.pending.values()]
        ours += [pilot.batch for pilot in self.running.values()]
        return ClusterSnapshot(
            taken_at=now,
            scheduler="simulator",
            nodes=nodes,
            batch_jobs=(*primes, *ours),
            partitions=self._partitions,
            grain=self._grain,
            cuts_time_min=self._is_cut_largest,
        )

    def learn(self, snapshot: ClusterSnapshot, changed: Iterable[Node], now: float) -> None:
        """Let the daemon's own watch learn of gaps from a look.

        Parameters
        ----------
        changed: the nodes that are in a gap, or have been since the last look.
        """
        running = [pilot.known for pilot in self.running.values()]
        self._watch.look(_replace(snapshot, nodes=tuple(changed)), running, self._settings.shapes, now)

    def plan(self, snapshot: ClusterSnapshot, now: float) -> list[ModelPilot]:
        """Let the planner decide; return the running pilots that it asks to leave, for the model to end."""
        self._awake(now)
        known = [pilot.known for pilot in (*self.pending.values(), *self.running.values())]
        situation = Situation(
            snapshot=snapshot,
            needs=(),
            pilots=tuple(known),
            settings=self._settings,
            now=now,
            survival=self._watch.survival,
        )
        self.calls += 1
        leaving: list[ModelPilot] = []
        plan = planner.decide(self._policy, situation).checked()
        self._held, self._queue = plan.held, None
        for effect in plan.effects:
            if isinstance(effect, SubmitPilot):
                self._submit(effect, now)
            else:
                leaving += self._cancel(effect)
        return leaving

    def queue(self) -> list[ModelPilot]:
        """Return the pending pilots in the order in which the scheduler takes them: less nice first, then older."""
        if self._queue is None:
            free = [pilot for pilot in self.pending.values() if pilot.pilot_id not in self._held]
            self._queue = sorted(free, key=lambda pilot: pilot.order.nice)
        return self._queue

    def start(self, pilot: ModelPilot, node: str, now: float, length_s: float) -> None:
        """Start `pilot` on `node` with a limit of `length_s` seconds."""
        del self.pending[pilot.pilot_id]
        self._queue = None
        self.running[pilot.pilot_id] = self._booting[pilot.pilot_id] = pilot
        pilot.node, pilot.started_at = node, now
        pilot.ready_at, pilot.ends_at = now + self._boot_s, now + length_s
        pilot.known = _replace(
            pilot.known,
            state=PilotState.BOOTING,
            walltime=timedelta(seconds=length_s),
            started_at=now,
            ends_at=pilot.ends_at,
            node=node,
        )
        pilot.batch = _replace(pilot.batch, state=BatchState.RUNNING, nodes=(node,), end_at=pilot.ends_at)
        self.account.started += 1

    def leave(self, pilot: ModelPilot, ends_at: float) -> None:
        """Note that a running pilot was asked to leave and will have done so by `ends_at`."""
        pilot.ends_at = min(pilot.ends_at, ends_at)
        self._booting.pop(pilot.pilot_id, None)
        pilot.known = _replace(pilot.known, state=PilotState.DRAINING)

    def end(self, pilot: ModelPilot, now: float, *, is_evicted: bool) -> None:
        """End a running pilot, and count what it was good for."""
        del self.running[pilot.pilot_id]
        self._booting.pop(pilot.pilot_id, None)
        account = self.account
        ready_at = min(pilot.ready_at, now)
        account.warming_s += ready_at - pilot.started_at
        account.ready_s += now - ready_at
        account.evicted += is_evicted
        if now > ready_at:
            account.intervals.append(Interval(ready_at=ready_at, ends_at=now, is_evicted=is_evicted))

    def _awake(self, now: float) -> None:
        ready = [pilot for pilot in self._booting.values() if pilot.ready_at <= now]
        for pilot in ready:
            del self._booting[pilot.pilot_id]
            # Demand is without bound here, so whoever is ready is at work.
            pilot.known = _replace(pilot.known, state=PilotState.READY, activations=1, last_seen_at=now)

    def _submit(self, order: SubmitPilot, now: float) -> None:
        self._number += 1
        walltime = -(-order.walltime // self._grain) * self._grain  # rounded up, as the scheduler does
        pilot_id = f"p{self._number}"
        name = f"hv-{pilot_id}"
        batch_job_id = f"h{self._number}"
        self.pending[pilot_id] = ModelPilot(
            pilot_id=pilot_id,
            order=_replace(order, walltime=walltime),
            known=KnownPilot(
                pilot_id=pilot_id,
                name=name,
                shape=order.shape,
                partition=HARVEST,
                resources=WHOLE,
                walltime=order.walltime,
                state=PilotState.QUEUED,
                planned_at=now,
                submitted_at=now,
                batch_job_id=batch_job_id,
                nice=order.nice,
                end_by=order.end_by,
                bound_to=order.nodes if order.end_by is not None else (),
            ),
            batch=BatchJob(
                batch_job_id=batch_job_id,
                name=name,
                user=_USER,
                partition=HARVEST,
                state=BatchState.PENDING,
                requested=WHOLE,
                submitted_at=now,
            ),
        )
        self._queue = None

    def _cancel(self, effect: CancelPilot) -> list[ModelPilot]:
        if self.pending.pop(effect.pilot_id, None) is not None:
            self._queue = None
            return []
        pilot = self.running.get(effect.pilot_id)
        return [] if pilot is None else [pilot]


def settings(parameters: Parameters) -> HarvestSettings:
    """Return what the planner is told: whole nodes, demand without bound, the parameters' limits."""
    return HarvestSettings(
        shapes=(Shape(name=SHAPE, partition=HARVEST, resources=WHOLE, ready=_EVERYTHING),),
        lengths=parameters.lengths,
        max_pilots=parameters.max_pilots,
        max_pending=parameters.max_pending,
        mode=parameters.mode,
        window_margin=timedelta(seconds=parameters.margin_s),
        boot=timedelta(seconds=parameters.boot_s),
        cycle=timedelta(seconds=parameters.cycle_s),
        is_unbounded=True,
    )


def idle_node(name: str) -> Node:
    """Return a node that nobody uses."""
    return Node(name=name, state=NodeState.IDLE, partitions=(PRIME, HARVEST), total=WHOLE, free=WHOLE)


def busy_node(name: str) -> Node:
    """Return a node with a batch job, ours or another's."""
    return Node(name=name, state=NodeState.ALLOCATED, partitions=(PRIME, HARVEST), total=WHOLE, free=NOTHING)


def _partitions(parameters: Parameters) -> tuple[Partition, ...]:
    is_preemptible = parameters.mode is HarvestMode.PREEMPTIBLE
    grace = timedelta(seconds=parameters.grace_s if is_preemptible else 0.0)
    return (
        Partition(name=PRIME),
        Partition(name=HARVEST, is_preemptible=is_preemptible, max_time=parameters.max_time, grace_time=grace),
    )
