"""Whatever the snapshot: no policy plans a pilot on a node that it must not have, past a cap, or past its window."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from harvester.domain.cluster.snapshot import (
    BatchJob,
    BatchState,
    ClusterSnapshot,
    Node,
    NodeState,
    Partition,
    Reservation,
    WaitsFor,
)
from harvester.domain.cluster.survival import Survival
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import (
    LEAD_S,
    CancelPilot,
    HarvestMode,
    HarvestSettings,
    KnownPilot,
    Need,
    Plan,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.harvest.policies import POLICIES, by_name
from harvester.domain.harvest.quiet_hours import QuietHours
from harvester.domain.harvest.yielding_mode import LONGEST
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

NOW = 1_000_000.0
NAMES = tuple(f"n{number}" for number in range(6))
WHOLE = Resources(cpus=4, gpus=1)
SHAPES = (
    Shape(name="whole", partition="harvest", resources=WHOLE, ready=3),
    Shape(name="part", partition="harvest", resources=Resources(cpus=1), ready=2),
    Shape(name="other", partition="other", resources=Resources(cpus=2)),
)
SECONDS = st.floats(-1000, 20_000)
LIVE = (PilotState.PLANNED, PilotState.QUEUED, PilotState.BOOTING, PilotState.READY, PilotState.DRAINING)


class Reckless:
    """A policy that knows nothing of nodes and limits, and asks for everything."""

    def plan(self, situation: Situation) -> Plan:
        submits = [
            SubmitPilot(shape=shape.name, walltime=timedelta(minutes=minutes), why="", nodes=nodes, end_by=end_by)
            for shape in SHAPES
            for minutes in (1, 10, 600)
            for nodes, end_by in (((), None), (NAMES, None), (NAMES[:1], NOW + 10**6), (("nowhere",), None))
        ]
        cancels = [CancelPilot(pilot_id=pilot.pilot_id, why="") for pilot in situation.pilots]
        return Plan(effects=(*submits, *cancels, *submits * 20))


EVERYBODY = [*[by_name(name) for name in POLICIES], Reckless()]


@st.composite
def snapshots(draw: st.DrawFn) -> ClusterSnapshot:
    partitions = st.sampled_from((("harvest",), ("other",), ("harvest", "other")))
    nodes = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=2, unique=True)):
        state = draw(st.sampled_from((*[NodeState.IDLE] * 6, NodeState.MIXED, *NodeState)))
        free = WHOLE if state is NodeState.IDLE else Resources(cpus=draw(st.integers(0, 4)))
        leaving = draw(st.sampled_from((*[""] * 6, "it is being drained")))
        nodes.append(Node(name=name, state=state, partitions=draw(partitions), total=WHOLE, free=free, leaving=leaving))
    jobs = []
    for number in range(draw(st.integers(0, 5))):
        state = draw(st.sampled_from((*[BatchState.PENDING] * 3, BatchState.RUNNING)))
        begin = NOW + draw(SECONDS) if draw(st.integers(0, 3)) else None
        jobs.append(
            BatchJob(
                batch_job_id=f"j{number}",
                name="prime",
                user="u",
                partition="harvest",
                state=state,
                waits_for=draw(st.sampled_from((*[WaitsFor.OTHER] * 2, *WaitsFor))),
                node_count=draw(st.integers(1, 3)),
                nodes=tuple(draw(st.lists(st.sampled_from(NAMES), unique=True))),
                start_at=begin,
                end_at=NOW + draw(SECONDS) if state is BatchState.RUNNING else None,
            )
        )
    if draw(st.booleans()):  # a window with a known end, which the others may cut short
        jobs.append(
            BatchJob(
                batch_job_id="later", name="prime", user="u", partition="harvest", state=BatchState.PENDING,
                waits_for=WaitsFor.OTHER, nodes=NAMES, start_at=NOW + draw(st.floats(100, 20_000)),
            )
        )  # fmt: skip
    reservations = []
    for number in range(draw(st.integers(0, 2))):
        begins = draw(SECONDS)
        held = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True)))
        until = draw(st.none() | st.floats(begins, 30_000))
        reservations.append(
            Reservation(name=f"r{number}", nodes=held, start_at=NOW + begins, end_at=until and NOW + until)
        )
    return ClusterSnapshot(
        taken_at=NOW,
        scheduler="fake",
        nodes=tuple(nodes),
        batch_jobs=tuple(jobs),
        partitions=tuple(
            Partition(name=name, max_time=draw(st.sampled_from((None, timedelta(minutes=30)))))
            for name in ("harvest", "other")
        ),
        reservations=tuple(reservations),
        grain=draw(st.sampled_from((timedelta(seconds=1), timedelta(minutes=1)))),
        cuts_time_min=draw(st.booleans()),
    )


@st.composite
def pilots(draw: st.DrawFn) -> tuple[KnownPilot, ...]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        state = draw(st.sampled_from(LIVE))
        is_running = state not in {PilotState.PLANNED, PilotState.QUEUED}
        age = draw(st.floats(0, 5000))
        found.append(
            KnownPilot(
                pilot_id=f"p{number}",
                name=f"hv-{number}",
                shape="whole",
                partition="harvest",
                resources=WHOLE,
                walltime=timedelta(minutes=draw(st.integers(1, 240))),
                state=state,
                planned_at=NOW - age,
                submitted_at=NOW - age,
                ends_at=NOW + draw(SECONDS) if is_running else None,
                idle_since=NOW - age if state is PilotState.READY else None,
                node=draw(st.sampled_from(NAMES)) if is_running else "",
                end_by=draw(st.none() | st.floats(NOW - 100, NOW + 20_000)),
            )
        )
    return tuple(found)


@st.composite
def situations(draw: st.DrawFn, mode: HarvestMode | None = None) -> Situation:
    needs = tuple(
        Need(
            function_id=f"f{number}", resources=Resources(cpus=draw(st.integers(1, 4))), waiting=draw(st.integers(0, 9))
        )
        for number in range(draw(st.integers(0, 2)))
    )
    known = Survival().opened(draw(st.lists(st.none() | st.floats(1, 1e5), max_size=10)))
    return Situation(
        snapshot=draw(snapshots()),
        needs=needs,
        pilots=draw(pilots()),
        now=NOW,
        closed=draw(st.sampled_from(({}, {"part": "it failed"}))),
        drained=draw(st.sampled_from(({}, {}, {"n2": "an admin drains it"}))),
        bad_nodes=draw(st.sampled_from(({}, {"n1": "pilots fail there"}, {"n1": "x", "gone": "x"}))),
        survival=draw(st.sampled_from((None, known))),
        settings=HarvestSettings(
            shapes=SHAPES,
            lengths=tuple(timedelta(minutes=minutes) for minutes in (2, 8, 90)),
            mode=mode or draw(st.sampled_from(HarvestMode)),
            is_unbounded=draw(st.booleans()),
            max_pilots=draw(st.just(50) | st.integers(0, 12)),
            max_pending=draw(st.just(50) | st.integers(0, 12)),
            max_nodes=draw(st.none() | st.integers(0, 20)),
            max_share=draw(st.none() | st.floats(0, 1)),
            excluded_nodes=frozenset(draw(st.lists(st.sampled_from(NAMES), max_size=2))),
            excluded_partitions=draw(st.sampled_from((frozenset(), frozenset({"other"})))),
        ),
    )


def planned(situation: Situation, policy: object) -> tuple[list[SubmitPilot], set[str]]:
    plan = decide(policy, situation)
    submits = [effect for effect in plan.effects if isinstance(effect, SubmitPilot)]
    return submits, {effect.pilot_id for effect in plan.effects if isinstance(effect, CancelPilot)}


def forbidden(situation: Situation) -> dict[str, str]:
    """The nodes that no pilot may be planned on, and why."""
    bad = {
        node.name: node.state.value
        for node in situation.snapshot.nodes
        if node.state in {NodeState.DOWN, NodeState.DRAINED, NodeState.RESERVED, NodeState.UNKNOWN}
    }
    for held in situation.snapshot.reservations:
        if held.start_at <= NOW and (held.end_at is None or held.end_at > NOW):
            bad |= dict.fromkeys(held.nodes, "reserved")
    excluded = dict.fromkeys(situation.settings.excluded_nodes, "excluded")
    leaving = {node.name: "leaving" for node in situation.snapshot.nodes if node.leaving}
    return bad | excluded | situation.bad_nodes | situation.drained | leaving


everybody = pytest.mark.parametrize("policy", EVERYBODY, ids=lambda policy: type(policy).__name__)


@everybody
@settings(max_examples=examples(80))
@given(situation=situations())
def test_no_pilot_is_planned_on_a_node_that_is_down_drained_reserved_or_excluded(policy, situation):
    bad = forbidden(situation)
    nodes = {node.name: node for node in situation.snapshot.nodes}
    shapes = {shape.name: shape for shape in SHAPES}
    for order in planned(situation, policy)[0]:
        assert not set(order.nodes) & set(bad)
        assert set(order.nodes) <= set(nodes), "a node that the scheduler does not know"
        partition = shapes[order.shape].partition
        assert partition not in situation.settings.excluded_partitions
        assert order.shape not in situation.closed
        # A pilot that is bound to no node is kept off the excluded ones by the scheduler itself.
        if order.end_by is None:
            shunned = {*situation.settings.excluded_nodes, *situation.bad_nodes, *situation.drained}
            assert set(order.exclude) == {name for name in shunned & set(nodes) if partition in nodes[name].partitions}


@everybody
@settings(max_examples=examples(80))
@given(situation=situations())
def test_no_cap_is_passed(policy, situation):
    submits, gone = planned(situation, policy)
    limits = situation.settings
    waiting = [pilot for pilot in situation.pilots if pilot.is_pending and pilot.pilot_id not in gone]
    live = [pilot for pilot in situation.pilots if not (pilot.is_pending and pilot.pilot_id in gone)]
    if submits:
        assert len(waiting) + len(submits) <= limits.max_pending
        assert len(live) + len(submits) <= limits.max_pilots
        held = len({pilot.node for pilot in live if pilot.node}) + sum(not pilot.node for pilot in live)
        most = [] if limits.max_nodes is None else [limits.max_nodes]
        if limits.max_share is not None:
            out = {NodeState.DOWN, NodeState.DRAINED, NodeState.UNKNOWN}
            most.append(limits.max_share * sum(node.state not in out for node in situation.snapshot.nodes))
        assert held + len(submits) <= min(most, default=10**9)


@everybody
@settings(max_examples=examples(80))
@given(situation=situations(mode=HarvestMode.STRICT))
def test_in_strict_mode_no_pilot_outlives_its_window(policy, situation):
    margin = situation.settings.window_margin.total_seconds()
    claims = situation.contention.claims
    for order in planned(situation, policy)[0]:
        assert order.end_by is not None
        assert NOW + order.walltime.total_seconds() <= order.end_by
        assert order.nodes
        for node in order.nodes:
            assert node in claims, "a window without a known end"
            assert order.end_by <= claims[node].at - margin


@everybody
@settings(max_examples=examples(80))
@given(situation=situations(mode=HarvestMode.YIELDING))
def test_in_yielding_mode_nobody_stays_where_a_prime_job_is_about_to_start_and_nobody_new_comes(policy, situation):
    submits, gone = planned(situation, policy)
    held = decide(policy, situation).held
    plan = situation.contention
    partitions = {node.name: node.partitions for node in situation.snapshot.nodes}
    wanted = {name for start in plan.starts if start.at <= NOW + LEAD_S for name in start.nodes}
    taken = {partition for name in wanted for partition in partitions[name]}
    assert not taken & {shape.partition for order in submits for shape in SHAPES if shape.name == order.shape}
    for pilot in situation.pilots:
        claim = plan.wanted.get(pilot.node)
        is_in_the_way = claim is not None and claim.at <= NOW + LEAD_S
        if pilot.state in {PilotState.BOOTING, PilotState.READY} and is_in_the_way:
            assert pilot.pilot_id in gone
        if pilot.state is PilotState.QUEUED and pilot.partition in taken:
            assert pilot.pilot_id in {*gone, *held}
    assert all(order.walltime <= LONGEST for order in submits)


@everybody
@settings(max_examples=examples(40))
@given(situation=situations())
def test_pilots_leave_nodes_that_nobody_should_be_on_any_longer_in_every_mode(policy, situation):
    _, gone = planned(situation, policy)
    left = {node.name for node in situation.snapshot.nodes if node.leaving} | set(situation.drained)
    left.update(
        name
        for held in situation.snapshot.reservations
        if held.start_at <= NOW and (held.end_at is None or held.end_at > NOW)
        for name in held.nodes
    )
    stay = {PilotState.PLANNED, PilotState.QUEUED, PilotState.DRAINING}
    assert gone >= {p.pilot_id for p in situation.pilots if p.node in left and p.state not in stay}


@everybody
@settings(max_examples=examples(40))
@given(situation=situations())
def test_nobody_who_is_starting_is_cancelled_unless_the_site_wants_the_node(policy, situation):
    _, gone = planned(situation, policy)
    starting = {pilot.pilot_id for pilot in situation.pilots if pilot.state is PilotState.BOOTING}
    on = {pilot.pilot_id: pilot.node for pilot in situation.pilots}
    if situation.settings.mode is HarvestMode.PREEMPTIBLE:
        left = {node.name for node in situation.snapshot.nodes if node.leaving} | set(situation.drained)
        soon = NOW + situation.settings.window_margin.total_seconds()
        left.update(*(held.nodes for held in situation.snapshot.reservations if held.start_at <= soon))
        assert not gone & {pilot_id for pilot_id in starting if on[pilot_id] not in left}
    assert not gone & {pilot.pilot_id for pilot in situation.pilots if pilot.state is PilotState.PLANNED}


@everybody
@given(situation=situations())
def test_in_quiet_hours_nothing_is_submitted_and_everybody_leaves(policy, situation):
    from msgspec.structs import replace

    hours = (QuietHours(begin_min=0, end_min=24 * 60, zone="UTC"),)
    submits, gone = planned(replace(situation, settings=replace(situation.settings, quiet_hours=hours)), policy)
    assert submits == []
    stays = {PilotState.PLANNED, PilotState.DRAINING}  # nobody knows its id yet, and it leaves already
    assert gone == {pilot.pilot_id for pilot in situation.pilots if pilot.state not in stays}


@everybody
@given(situation=situations())
def test_the_same_situation_gives_the_same_plan(policy, situation):
    assert decide(policy, situation) == decide(policy, situation)
