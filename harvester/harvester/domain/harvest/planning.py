"""What a planning decision is made of: the situation that goes in, the plan that comes out.

Owns the records that planner, policies, reconciler, daemon and simulator share, and the windows of a situation. Knows
neither store nor config: the daemon maps their records to these.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Protocol, assert_never

import msgspec

from harvester.domain.cluster import windows
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.cluster.survival import Survival
from harvester.domain.cluster.windows import NodeClaim, Window
from harvester.domain.contention.contention import Contention, contention
from harvester.domain.harvest.quiet_hours import QuietHours
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

PENDING = frozenset({PilotState.PLANNED, PilotState.QUEUED})
"""The states of a pilot that waits in the scheduler's queue, as far as we know."""

LEAD_S = 10.0
"""YIELDING: a pilot leaves so long before a start: a look, and the hand-over of what it runs."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of pilot that may be submitted."""

    name: str
    partition: str
    resources: Resources
    ready: int = 0  # pilots of this shape to keep without work, beyond what the open work needs
    python: str = ""  # "3.11": the minor version that its pilots run; empty where nobody knows


class HarvestMode(StrEnum):
    """How a site keeps pilots harmless."""

    PREEMPTIBLE = "preemptible"  # the scheduler evicts them: a pilot may outlive its window, and goes when it must
    STRICT = "strict"  # nobody evicts them: a pilot ends before its window does, and none is put where no end is known
    YIELDING = "yielding"  # nobody evicts them: pilots use every window, and leave as soon as a prime job could start


class HarvestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner must keep to."""

    shapes: tuple[Shape, ...]  # in the order of preference
    lengths: tuple[timedelta, ...]  # the walltimes that a pilot may be given, in any order
    max_pilots: int = 64  # submitted and not ended, all shapes together
    max_pending: int = 10  # submitted and not started
    patience: timedelta = timedelta(minutes=1)  # pending for longer than this: the length does not fit any gap
    idle: timedelta = timedelta(minutes=5)  # without work for longer than this, beyond `ready`: let go
    renew: timedelta = timedelta(seconds=30)  # with less time left than this, a pilot's successor is submitted
    margin: timedelta = timedelta(seconds=30)  # beyond a declared walltime, for start and drain of the pilot
    mode: HarvestMode = HarvestMode.PREEMPTIBLE
    window_margin: timedelta = timedelta(minutes=1)  # STRICT: a pilot has ended so long before its window does
    boot: timedelta = timedelta(seconds=10)  # from a pilot's start to its registration, as expected
    cycle: timedelta = timedelta(seconds=30)  # from one look of the scheduler at its queue to the next, as expected
    loop: timedelta = timedelta(seconds=15)  # `fib` and `var` act so often (their published figure)
    is_unbounded: bool = False  # harvest all there is, whatever work waits
    reserve: int | None = None  # `gap`, unbounded: pilots that wait for gaps nobody foresees; None: as bursts need
    longest: timedelta = timedelta(hours=4)  # `gap`: of a pilot in a window without a known end
    max_delay: timedelta = timedelta(seconds=15)  # YIELDING: no prime job may wait longer than this because of pilots
    # ---- brakes; `planner.decide` holds every policy to them
    max_nodes: int | None = None  # nodes that pilots may hold or wait for
    max_share: float | None = None  # of the nodes in service of the shapes' partitions; 0..1
    excluded_nodes: frozenset[str] = frozenset()
    excluded_partitions: frozenset[str] = frozenset()
    quiet_hours: tuple[QuietHours, ...] = ()


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Open invocations of one function version."""

    function_id: str
    resources: Resources
    waiting: int
    held: int = 0  # on a pilot now
    python: str = ""  # the minor version it needs; empty where any will do
    walltime: timedelta | None = None  # the declared length of one run
    checkpoints: bool = False  # it resumes, so a pilot may be shorter than one run


class KnownPilot(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot as we believe it, live or ended."""

    pilot_id: str
    name: str
    shape: str
    partition: str
    resources: Resources
    walltime: timedelta
    state: PilotState
    planned_at: float
    batch_job_id: str = ""
    python: str = ""
    submitted_at: float | None = None
    started_at: float | None = None
    last_seen_at: float | None = None
    ends_at: float | None = None
    activations: int = 0
    idle_since: float | None = None
    node: str = ""  # where it runs; empty while nobody knows
    nice: int = 0
    end_by: float | None = None  # STRICT: what it was planned to have ended by
    held_by_limit: str = ""  # the limit of our user, account or QOS that it waits for, in the scheduler's word
    bound_to: tuple[str, ...] = ()  # STRICT, while it waits: the nodes that it may start on; empty: nobody remembers

    @property
    def is_pending(self) -> bool:
        """Whether it waits in the scheduler's queue, as far as we know."""
        return self.state in PENDING

    @property
    def pending_since(self) -> float:
        """When its wait in the queue began."""
        return self.planned_at if self.submitted_at is None else self.submitted_at


class Situation(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All that a policy may look at.

    Owns what follows from it: contention, windows, nodes that pilots keep out of. Each is computed when it is first
    asked for, and once: what `msgspec.structs.replace` returns computes its own.
    """

    snapshot: ClusterSnapshot
    needs: tuple[Need, ...]
    pilots: tuple[KnownPilot, ...]  # the live ones
    settings: HarvestSettings
    now: float
    closed: dict[str, str] = {}  # shapes that take no submission for now, and why
    bad_nodes: dict[str, str] = {}  # nodes on which pilots failed again and again, and why they are left alone for now
    drained: dict[str, str] = {}  # nodes that an admin wants pilots to leave, and why; running ones leave too
    survival: Survival | None = None  # what was learned of the gaps of this cluster; None where nothing was
    mark: str = ""  # how the names of our batch jobs begin; empty: only those of `pilots` are ours
    doubted: frozenset[str] = frozenset()  # prime jobs that did not start where we thought: see `delays`
    disbelieved: frozenset[str] = frozenset()  # YIELDING: prime jobs for which nodes were left to no avail

    @cached_property
    def contention(self) -> Contention:
        """What prime jobs want of the nodes, as if our pilots were not there."""
        live = {pilot.name for pilot in self.pilots}
        going = {pilot.name for pilot in self.pilots if pilot.state is PilotState.DRAINING}
        if self.mark:
            marked = {batch.name for batch in self.snapshot.batch_jobs if batch.name.startswith(self.mark)}
            going |= marked - live  # we believe them ended, so they were told to
        return contention(
            self.snapshot,
            self.now,
            ours=live | going,
            going=going,
            doubted=self.doubted,
            disbelieved=self.disbelieved,
        )

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The windows that pilots may be put into, as the mode asks for them: open now, or about to open by a limit."""
        ours = {pilot.name for pilot in self.pilots}
        found = windows.compute(
            self.snapshot,
            self.now,
            ours=ours,
            horizon=self.settings.cycle + self.settings.loop,
            next_claims=self._next_claims(ours),
        )
        shunned = self.excluded_nodes.keys() | self.leaving_nodes.keys()
        return tuple(window for window in found if window.node not in shunned) if shunned else found

    def _next_claims(self, ours: set[str]) -> dict[str, NodeClaim] | None:
        """Return what ends windows; None: what the scheduler has planned."""
        mode = self.settings.mode
        match mode:
            case HarvestMode.PREEMPTIBLE:
                return None
            case HarvestMode.STRICT:
                return self.contention.claims
            case HarvestMode.YIELDING:
                # Pilots go when they must, so only what is wanted now ends a window that the scheduler leaves open.
                found = windows.claims(self.snapshot, self.now, ours=ours)
                for name, claim in self.contention.claims.items():
                    if claim.at <= self.now + LEAD_S:
                        windows.put(found, (name,), claim._replace(at=min(claim.at, self.now)))
                return found
            case _:
                assert_never(mode)

    @cached_property
    def excluded_nodes(self) -> dict[str, str]:
        """The nodes that pilots keep out of, and why."""
        configured = dict.fromkeys(self.settings.excluded_nodes, "it is in harvest.excluded_nodes")
        return {**configured, **self.bad_nodes, **self.drained}

    @cached_property
    def leaving_nodes(self) -> dict[str, str]:
        """The nodes that nobody should be on any longer, and why: a pilot there is asked to leave."""
        found: dict[str, str] = {}
        soon = self.now + self.settings.window_margin.total_seconds()
        for reservation in self.snapshot.reservations:
            if reservation.is_floating:
                continue  # it never begins
            if reservation.start_at <= soon and (reservation.end_at is None or reservation.end_at > self.now):
                found.update(dict.fromkeys(reservation.nodes, f"reservation {reservation.name} begins on it"))
        found.update((node.name, node.leaving) for node in self.snapshot.nodes if node.leaving)
        return {**found, **self.drained}

    def departs_at(self) -> float | None:
        """Return when the next pilot must be asked to leave for a start that is planned; None where none is."""
        if self.settings.mode is HarvestMode.PREEMPTIBLE:
            return None
        is_yielding = self.settings.mode is HarvestMode.YIELDING
        lead_s = LEAD_S if is_yielding else self.settings.window_margin.total_seconds()
        wanted = self.contention.wanted
        departures = [wanted[pilot.node].at - lead_s for pilot in self.pilots if pilot.node in wanted]
        return min((at for at in departures if at > self.now), default=None)


class SubmitPilot(msgspec.Struct, frozen=True, kw_only=True):
    """Submit one pilot."""

    shape: str
    walltime: timedelta
    why: str
    nice: int = 0  # beyond the configured one: the lower goes first
    time_min: timedelta | None = None  # the scheduler may shorten it to this, where it can
    nodes: tuple[str, ...] = ()  # the nodes that it is meant for; binding where `end_by` is given
    end_by: float | None = None  # STRICT: Unix seconds; it must not be started where it would end later
    exclude: tuple[str, ...] = ()  # nodes that it must not be started on; filled in by `planner.decide`


class CancelPilot(msgspec.Struct, frozen=True, kw_only=True):
    """Ask one pilot to leave, or take it out of the queue."""

    pilot_id: str
    why: str


class PolicyError(Exception):
    """A policy asked for what there is not. Its text says what, and what there is."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why nothing more is done."""

    effects: tuple[SubmitPilot | CancelPilot, ...] = ()
    held: dict[str, str] = {}  # pilots that wait and must not be started for now, and why; all others may be
    notes: tuple[str, ...] = ()  # sentences for people: every refusal to submit has one
    failure: Exception | None = None  # what the policy raised, or a `PolicyError`; filled in by `planner.decide`

    def checked(self) -> Plan:
        """Return the plan. Raises `failure` where there is one."""
        if self.failure is not None:
            raise self.failure
        return self


class Policy(Protocol):
    """Decides how many pilots there should be, of which shape and length."""

    def plan(self, situation: Situation) -> Plan:
        """Return what to submit and cancel. Pure: the same situation gives the same plan."""
        ...
