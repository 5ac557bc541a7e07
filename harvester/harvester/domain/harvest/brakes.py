"""Brakes: what no policy may do, whatever the snapshot. Every submission and cancellation passes here.

Owns the caps on pilots, pending pilots, nodes and share; quiet hours; excluded nodes and partitions; and that a pilot
that is starting is never cancelled (start-and-kill loops are what sites complain of), unless the site wants its node:
for a prime job, as the mode has it (`modes`), or because nobody should be on it any longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import cached_property

from msgspec.structs import replace

from harvester.domain.cluster.snapshot import Node, NodeState
from harvester.domain.harvest.modes import rules_of
from harvester.domain.harvest.planning import (
    PENDING,
    CancelPilot,
    HarvestMode,
    KnownPilot,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.harvest.shapes import within
from harvester.domain.model.pilots import PilotState

_CANCELLABLE = frozenset({PilotState.QUEUED, PilotState.READY})
_MAY_LEAVE = _CANCELLABLE | {PilotState.BOOTING}  # where the site wants the node: see `departures`
_IN_SERVICE = frozenset({NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED, NodeState.RESERVED})
_TAKES_WORK = frozenset({NodeState.IDLE, NodeState.MIXED, NodeState.ALLOCATED})


class Brakes:
    """Counts what has been allowed so far, and why something was not.

    Parameters
    ----------
    paused: why nothing is submitted; empty while something may be. Pilots are still let go while paused.
    """

    def __init__(self, situation: Situation, paused: str = "") -> None:
        self._situation = situation
        self._settings = settings = situation.settings
        self._shapes = {
            shape.name: shape
            for shape in settings.shapes
            if shape.name not in situation.closed and shape.partition not in settings.excluded_partitions
        }
        self._pilots = {pilot.pilot_id: pilot for pilot in situation.pilots}
        self._live = len(situation.pilots)
        self._pending = sum([pilot.state in PENDING for pilot in situation.pilots])
        self._stop = f"paused, {paused}" if paused else self._quiet
        self._fresh = 0  # nodes that what was allowed takes, less those that it gives up
        self._refused: Counter[str] = Counter()
        self._rules = rules_of(situation)

    @cached_property
    def _quiet(self) -> str:
        for hours in self._settings.quiet_hours:
            if hours.holds(self._situation.now):
                return f"these are quiet hours ({hours})"
        return ""

    # ---- submissions

    def submission(self, wish: SubmitPilot) -> SubmitPilot | None:
        """Return what may be submitted of `wish`, None where nothing may."""
        order, why = self._checked(wish)
        if order is None:
            self._refused[why] += 1
            return None
        self._live += 1
        self._pending += 1
        self._fresh += 1
        return order

    def _checked(self, wish: SubmitPilot) -> tuple[SubmitPilot | None, str]:
        shape = self._shapes.get(wish.shape)
        if self._stop or shape is None or shape.name in self._limited:
            return None, ""  # all three are told once, not once a submission
        why = self._refused_by_site(shape) or self._full()
        if why:
            return None, why
        shunned = self._shunned(shape.partition)
        if wish.nodes:
            nodes = tuple(name for name in wish.nodes if shape.partition in self._open_nodes.get(name, ()))
            if not nodes:
                return None, "the nodes that it was meant for are out of service, reserved or excluded"
            wish = replace(wish, nodes=nodes)
        order, why = self._rules.fitted(wish, shape)
        # A pilot that is bound to its node needs no word of others.
        if order is None or order.end_by is not None or not shunned:
            return order, why
        return replace(order, exclude=shunned), why

    def _refused_by_site(self, shape: Shape) -> str:
        """Return why the scheduler would not take, or not start, one more pilot of a shape."""
        snapshot = self._situation.snapshot
        partition = snapshot.partition(shape.partition)
        if partition is not None and partition.refuses:
            return f"partition {partition.name} takes no pilots: {partition.refuses}"
        if partition is not None and within(shape.resources, partition.most) != shape.resources:
            most = within(shape.resources, partition.most)
            return f"partition {partition.name} gives {most} of a node at most, and shape {shape.name} asks for more"
        if snapshot.hidden and self._settings.mode is not HarvestMode.PREEMPTIBLE:
            mode = self._settings.mode
            return f"mode = {mode} must see whom pilots would delay, and the scheduler hides {snapshot.hidden}"
        return ""

    @cached_property
    def _limited(self) -> dict[str, KnownPilot]:
        """Return, by shape, a pilot that waits for a limit of our user, account or QOS: others would wait, too."""
        return {pilot.shape: pilot for pilot in self._situation.pilots if pilot.is_pending and pilot.held_by_limit}

    def _full(self) -> str:
        settings = self._settings
        if self._live >= settings.max_pilots:
            return f"max_pilots = {settings.max_pilots} is reached"
        if self._pending >= settings.max_pending:
            return f"max_pending = {settings.max_pending} pilots wait in the queue"
        if self._has_node_cap and self._held + self._fresh >= self._most_nodes:
            return f"pilots hold or wait for {self._held + self._fresh} nodes, and {self._cap_words} allows no more"
        return ""

    @property
    def _has_node_cap(self) -> bool:
        return self._settings.max_nodes is not None or self._settings.max_share is not None

    @cached_property
    def _held(self) -> int:
        return _nodes_held(self._situation.pilots)

    @cached_property
    def _most_nodes(self) -> float:
        settings = self._settings
        return min(
            float("inf") if settings.max_nodes is None else settings.max_nodes,
            float("inf") if settings.max_share is None else int(settings.max_share * self._nodes_in_service),
        )

    @property
    def _cap_words(self) -> str:
        settings = self._settings
        if settings.max_nodes is not None and settings.max_nodes <= self._most_nodes:
            return f"max_nodes = {settings.max_nodes}"
        return f"max_share = {settings.max_share:g} of {self._nodes_in_service} nodes in service"

    @cached_property
    def _nodes_in_service(self) -> int:
        partitions = {shape.partition for shape in self._settings.shapes}
        return sum(
            node.state in _IN_SERVICE and not partitions.isdisjoint(node.partitions)
            for node in self._situation.snapshot.nodes
        )

    @cached_property
    def _open_nodes(self) -> dict[str, tuple[str, ...]]:
        """Return the nodes that a pilot may be meant for, each with its partitions."""
        shut = {*self._situation.excluded_nodes, *self._situation.leaving_nodes}
        nodes = self._situation.snapshot.nodes
        return {node.name: node.partitions for node in nodes if node.state in _TAKES_WORK and node.name not in shut}

    def _shunned(self, partition: str) -> tuple[str, ...]:
        """Return the nodes of a partition that are excluded or asleep. Slurm refuses unknown names in --exclude."""
        return tuple(sorted(node.name for node in self._shunned_nodes if partition in node.partitions))

    @cached_property
    def _shunned_nodes(self) -> list[Node]:
        shunned = self._situation.excluded_nodes
        return [node for node in self._situation.snapshot.nodes if node.is_asleep or node.name in shunned]

    # ---- cancellations

    def cancellation(self, wish: CancelPilot, wanted: Collection[str] = ()) -> CancelPilot | None:
        """Return `wish` if it may be done: the pilot is ours, and is not starting.

        Parameters
        ----------
        wanted: the shapes of which the policy wants more. A pilot of these that waits for a limit stays: it would only
            be replaced by one that waits for the same.
        """
        pilot = self._pilots.get(wish.pilot_id)
        if pilot is not None and pilot.is_pending and pilot.held_by_limit and pilot.shape in wanted:
            return None
        return self._allow(wish, _CANCELLABLE)

    def _allow(self, wish: CancelPilot, states: frozenset[PilotState]) -> CancelPilot | None:
        """Return `wish` if its pilot is in one of `states`, and count the pilot as gone."""
        pilot = self._pilots.get(wish.pilot_id)
        if pilot is None or pilot.state not in states:
            return None
        del self._pilots[wish.pilot_id]
        if pilot.is_pending:
            self._live -= 1
            self._pending -= 1
            self._fresh -= 1
        return wish

    def departures(self) -> list[CancelPilot]:
        """Return the pilots that must go whatever the policy thinks.

        In quiet hours all; else those on nodes that nobody should be on any longer, and those that the mode sends away.
        """
        if self._quiet:
            wishes = [CancelPilot(pilot_id=pilot_id, why=self._quiet) for pilot_id in self._pilots]
        else:
            left = self._situation.leaving_nodes
            wishes = [
                CancelPilot(pilot_id=pilot.pilot_id, why=f"pilots must leave node {pilot.node}: {left[pilot.node]}")
                for pilot in self._situation.pilots
                if not pilot.is_pending and pilot.node in left
            ]
            wishes += self._rules.departures()
        return [wish for wish in wishes if self._allow(wish, _MAY_LEAVE) is not None]

    def held(self) -> dict[str, str]:
        """Return the pilots that wait and must not be started for now, and why. To be asked last."""
        return {pilot_id: why for pilot_id, why in self._rules.held().items() if pilot_id in self._pilots}

    # ---- words

    def notes(self) -> tuple[str, ...]:
        """Return why nothing, or less than the policy wants, is submitted."""
        words = [f"Nothing is submitted: {self._stop}"] if self._stop else []
        words += [
            f"{count} more pilot{'s' * (count > 1)} wanted, but not submitted: {why}."
            for why, count in self._refused.items()
            if why
        ]
        for shape in self._settings.shapes:
            if shape.partition in self._settings.excluded_partitions:
                words.append(f"No pilots of shape {shape.name}: {shape.partition!r} is in harvest.excluded_partitions.")
        words += [
            f"No more pilots of shape {name}: {pilot.name} waits for a limit of our user, account or QOS"
            f" ({pilot.held_by_limit}), and others would, too."
            for name, pilot in self._limited.items()
        ]
        left_alone = {**self._situation.bad_nodes, **self._situation.drained}
        words += [f"Pilots keep off node {name}: {why}." for name, why in left_alone.items()]
        return tuple(dict.fromkeys(words))


def _nodes_held(pilots: tuple[KnownPilot, ...]) -> int:
    """Return the nodes that pilots hold, and one more for each that waits or whose node nobody has told."""
    held = {pilot.node for pilot in pilots if pilot.node}
    return len(held) + sum(not pilot.node for pilot in pilots)
