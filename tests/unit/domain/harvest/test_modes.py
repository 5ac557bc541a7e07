"""The ways of being harmless: which pilots leave for prime jobs, and what is not submitted meanwhile."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

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
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import (
    CancelPilot,
    HarvestMode,
    HarvestSettings,
    KnownPilot,
    Plan,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.harvest.policies import by_name
from harvester.domain.harvest.yielding_mode import LONGEST
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

NOW = 1_000_000.0
WHOLE = Resources(cpus=4)
BOTH = ("prime", "harvest")
BOTH_MODES = pytest.mark.parametrize("mode", [HarvestMode.STRICT, HarvestMode.YIELDING])
STATES = pytest.mark.parametrize("state", [PilotState.BOOTING, PilotState.READY])


def node(name: str, *, cpus: int = 0, **changes) -> Node:
    state = NodeState.IDLE if cpus == 4 else NodeState.MIXED if cpus else NodeState.ALLOCATED
    made = {"name": name, "state": state, "partitions": BOTH, "total": WHOLE, "free": Resources(cpus=cpus)}
    return Node(**made | changes)


def batch(name: str, state: BatchState, nodes: str = "", **changes) -> BatchJob:
    made = {"batch_job_id": name, "name": name, "user": "u", "partition": "prime", "state": state}
    names = tuple(nodes.split())
    made |= {"nodes": names, "requested": Resources(cpus=4 * max(1, len(names)))}
    return BatchJob(**made | changes)


def prime(count: int = 1, **changes) -> BatchJob:
    made = {"requested": Resources(cpus=4 * count), "node_count": count, "limit": timedelta(hours=1)}
    made |= {"batch_job_id": "9", "name": "prime", "user": "u", "partition": "prime", "state": BatchState.PENDING}
    return BatchJob(**made | changes)


def pilot(name: str, on: str = "", *, state: PilotState | None = None, ends: float = 7200, **changes) -> KnownPilot:
    made = {
        "pilot_id": name,
        "name": name,
        "shape": "node",
        "partition": "harvest",
        "resources": WHOLE,
        "walltime": timedelta(minutes=10),
        "state": state or (PilotState.READY if on else PilotState.QUEUED),
        "planned_at": NOW - 60,
        "node": on,
        "ends_at": NOW + ends if on else None,
    }
    return KnownPilot(**made | changes)


def seen(mode: HarvestMode, *things: Node | BatchJob | Reservation | KnownPilot, **changes) -> Situation:
    """A look that shows `things`, with the batch jobs of those that are pilots."""
    pilots = tuple(thing for thing in things if isinstance(thing, KnownPilot))
    ours = tuple(
        batch(
            pilot.name,
            BatchState.RUNNING if pilot.node else BatchState.PENDING,
            pilot.node,
            partition="harvest",
            end_at=pilot.ends_at,
            requested=pilot.resources,
        )
        for pilot in pilots
    )
    snapshot = ClusterSnapshot(
        taken_at=NOW,
        scheduler="fake",
        nodes=tuple(thing for thing in things if isinstance(thing, Node)),
        batch_jobs=(*(thing for thing in things if isinstance(thing, BatchJob)), *ours),
        partitions=(Partition(name="prime", priority_tier=2), Partition(name="harvest")),
        reservations=tuple(thing for thing in things if isinstance(thing, Reservation)),
    )
    settings = HarvestSettings(
        shapes=(Shape(name="node", partition="harvest", resources=WHOLE),),
        lengths=(timedelta(minutes=10), timedelta(minutes=90)),
        mode=mode,
        is_unbounded=True,
    )
    return Situation(snapshot=snapshot, needs=(), pilots=pilots, settings=settings, now=NOW, **changes)


def plan(mode: HarvestMode, *things, policy: str = "gap", **changes) -> Plan:
    return decide(by_name(policy), seen(mode, *things, **changes))


def gone(found: Plan) -> dict[str, str]:
    return {effect.pilot_id: effect.why for effect in found.effects if isinstance(effect, CancelPilot)}


def orders(found: Plan) -> list[SubmitPilot]:
    return [effect for effect in found.effects if isinstance(effect, SubmitPilot)]


def test_in_preemptible_mode_nothing_is_submitted_where_nobody_evicts_pilots_any_more():
    found = plan(HarvestMode.PREEMPTIBLE, node("n1", cpus=4))
    assert orders(found) == []
    assert "pilots are not evicted from partition harvest" in " ".join(found.notes)
    asked = seen(HarvestMode.PREEMPTIBLE, node("n1", cpus=4))
    evicted = replace(asked.snapshot, partitions=(Partition(name="harvest", is_preemptible=True),))
    assert orders(decide(by_name("gap"), replace(asked, snapshot=evicted)))


# ---- prime jobs that would start without us

LEAST = (
    node("n1"),
    node("n2"),
    batch("2", BatchState.RUNNING, "n2", end_at=NOW + 600),
    prime(start_at=NOW + 600, nodes=("n2",), reason="Resources"),
)
"""The prime job's planned start is another prime job's end, and names none of our nodes."""


@BOTH_MODES
@STATES
def test_a_pilot_leaves_for_a_prime_job_that_is_planned_behind_another_and_names_none_of_our_nodes(mode, state):
    found = plan(mode, *LEAST, pilot("p1", "n1", state=state))
    assert gone(found)["p1"].endswith("batch job 9 would start on it")


@BOTH_MODES
def test_a_pilot_leaves_a_part_of_a_node_that_a_prime_job_needs_as_a_whole(mode):
    part = pilot("p1", "n1", resources=Resources(cpus=1))
    assert set(gone(plan(mode, node("n1", cpus=3), part, prime()))) == {"p1"}
    assert gone(plan(mode, node("n1", cpus=3), part, prime(requested=Resources(cpus=3)))) == {}


@BOTH_MODES
def test_only_the_pilots_that_are_in_the_way_leave(mode):
    assert set(gone(plan(mode, node("n1"), node("n2"), pilot("p1", "n1"), pilot("p2", "n2"), prime()))) == {"p1"}


@BOTH_MODES
def test_who_is_leaving_is_not_asked_again_and_nobody_is_asked_in_its_place(mode):
    draining = pilot("p1", "n1", state=PilotState.DRAINING)
    assert gone(plan(mode, node("n1"), node("n2"), draining, pilot("p2", "n2"), prime())) == {}


@BOTH_MODES
def test_a_pilot_that_was_told_to_leave_and_that_we_believe_ended_is_no_prime_job(mode):
    told = batch("hv-1", BatchState.RUNNING, "n1", partition="harvest", end_at=NOW + 7200)
    things = (node("n1"), node("n2"), told, pilot("p2", "n2"), prime())
    assert gone(plan(mode, *things, mark="hv-")) == {}
    assert set(gone(plan(mode, *things))) == {"p2"}


@BOTH_MODES
def test_in_doubt_all_leave(mode):
    things = (node("n1"), node("n2"), pilot("p1", "n1"), pilot("p2", "n2"))
    assert set(gone(plan(mode, *things, prime(waits_for=WaitsFor.UNKNOWN)))) == {"p1", "p2"}
    assert set(gone(plan(mode, *things, prime(features="[a|b]*2")))) == {"p1", "p2"}
    assert gone(plan(mode, *things, prime(waits_for=WaitsFor.OTHER))) == {}


def test_nobody_leaves_for_prime_jobs_where_the_scheduler_evicts():
    assert gone(plan(HarvestMode.PREEMPTIBLE, *LEAST, pilot("p1", "n1"))) == {}


# ---- when


def needs_both(end: float) -> tuple[Node | BatchJob, ...]:
    """A prime job that needs the pilot's node, and one that another leaves at `end`."""
    return (node("n1"), node("n2"), batch("2", BatchState.RUNNING, "n2", end_at=NOW + end), prime(2))


@pytest.mark.parametrize(("end", "ends", "leaves"), [(50, 7200, True), (70, 7200, False), (50, -20, False)])
def test_in_strict_mode_a_pilot_leaves_a_margin_before_a_start_unless_it_ends_by_itself(end, ends, leaves):
    found = plan(HarvestMode.STRICT, *needs_both(end), pilot("p1", "n1", ends=ends))
    assert ("p1" in gone(found)) == leaves


@pytest.mark.parametrize(("end", "leaves"), [(8, True), (50, False)])
def test_in_yielding_mode_a_pilot_leaves_a_short_lead_before_a_start(end, leaves):
    assert ("p1" in gone(plan(HarvestMode.YIELDING, *needs_both(end), pilot("p1", "n1")))) == leaves


# ---- who waits, and who would be submitted


def test_in_yielding_mode_every_window_is_used():
    found = orders(plan(HarvestMode.YIELDING, node("n1", cpus=4), node("n2", cpus=4)))
    assert found
    assert all(order.end_by is None for order in found)
    assert orders(plan(HarvestMode.STRICT, node("n1", cpus=4), node("n2", cpus=4))) == []


def test_in_yielding_mode_who_waits_is_held_and_nobody_is_submitted_while_a_prime_job_is_about_to_start():
    things = (node("n1"), node("n2", cpus=4), node("n3", cpus=4), pilot("p1", "n1"), pilot("p2"), prime(3))
    found = plan(HarvestMode.YIELDING, *things, policy="var")
    assert set(gone(found)) == {"p1"}
    assert set(found.held) == {"p2"}
    assert orders(found) == []
    assert "batch job 9 is about to start in harvest" in " ".join(found.notes)


def test_in_yielding_mode_what_a_prime_job_in_another_partition_wants_changes_nothing_here():
    apart = node("n1", cpus=4, partitions=("prime",))
    found = plan(HarvestMode.YIELDING, apart, node("n2", cpus=4), pilot("p2"), prime(), policy="var")
    assert gone(found) == found.held == {}
    assert orders(found)


@pytest.mark.parametrize("policy", ["demand", "gap", "fib", "var"])
def test_in_yielding_mode_no_pilot_is_longer_than_what_keeps_the_harm_small(policy):
    found = orders(plan(HarvestMode.YIELDING, node("n1", cpus=4), policy=policy))
    assert all(order.walltime <= LONGEST for order in found)
    asked = seen(HarvestMode.YIELDING, node("n1", cpus=4))
    assert len({order.walltime for order in orders(decide(by_name(policy), asked))}) <= len(asked.settings.lengths)


def test_in_strict_mode_a_pilot_that_waits_leaves_the_queue_when_its_own_node_is_wanted():
    waiting = pilot("p2", end_by=NOW + 1800, bound_to=("n2",))
    things = (node("n1", cpus=4), node("n2", cpus=4), waiting)
    assert gone(plan(HarvestMode.STRICT, *things, prime(), policy="var")) == {}
    assert set(gone(plan(HarvestMode.STRICT, *things, prime(required_nodes=("n2",)), policy="var"))) == {"p2"}


def test_in_strict_mode_a_pilot_of_which_nobody_remembers_the_node_keeps_off_every_start():
    waiting = pilot("p2", end_by=NOW + 1800)
    things = (node("n1", cpus=4), node("n2", cpus=4), waiting)
    assert set(gone(plan(HarvestMode.STRICT, *things, prime(), policy="var"))) == {"p2"}


def test_in_strict_mode_a_window_ends_where_a_prime_job_would_start_without_us():
    """The scheduler has not planned it at all."""
    things = (node("n1", cpus=4), *needs_both(3600)[1:])
    (first, *_) = orders(plan(HarvestMode.STRICT, *things))
    assert first.nodes == ("n1",)
    assert first.end_by == NOW + 3600 - 60


# ---- nodes that nobody should be on

EVERY_MODE = pytest.mark.parametrize("mode", list(HarvestMode))


@EVERY_MODE
@STATES
def test_pilots_leave_a_node_that_is_drained_and_nobody_comes(mode, state):
    things = (node("n1", leaving="it is being drained", state=NodeState.DRAINED), pilot("p1", "n1", state=state))
    found = plan(mode, *things)
    assert gone(found)["p1"] == "pilots must leave node n1: it is being drained"


@EVERY_MODE
def test_pilots_leave_a_node_that_an_admin_drains_and_keep_out_of_it(mode):
    things = (node("n1", cpus=2), node("n2", cpus=4), pilot("p1", "n1", resources=Resources(cpus=2)))
    found = plan(mode, *things, drained={"n1": "an admin drains it"})
    assert gone(found)["p1"] == "pilots must leave node n1: an admin drains it"
    assert all("n1" in order.exclude for order in orders(found))
    assert "Pilots keep off node n1: an admin drains it." in found.notes


@EVERY_MODE
@pytest.mark.parametrize(("begins", "leaves"), [(30, True), (300, False), (-30, True)])
def test_pilots_leave_a_node_that_is_reserved_soon(mode, begins, leaves):
    held = Reservation(name="maint", nodes=("n1",), start_at=NOW + begins, end_at=NOW + 900)
    found = plan(mode, node("n1"), pilot("p1", "n1", ends=1000), held)
    assert ("p1" in gone(found)) == leaves
    assert not leaves or "maint" in gone(found)["p1"]
    over = Reservation(name="maint", nodes=("n1",), start_at=NOW - 900, end_at=NOW - 1)
    assert gone(plan(mode, node("n1"), pilot("p1", "n1", ends=1000), over)) == {}


@EVERY_MODE
def test_a_pilot_that_is_leaving_is_not_asked_again(mode):
    draining = pilot("p1", "n1", state=PilotState.DRAINING)
    assert gone(plan(mode, node("n1", leaving="it is being drained"), draining)) == {}


@EVERY_MODE
def test_no_pilot_is_meant_for_a_node_that_is_left(mode):
    held = Reservation(name="maint", nodes=("n1",), start_at=NOW + 30, end_at=NOW + 900)
    quiet = plan(mode, node("n1", cpus=4, leaving="it is to be rebooted"), policy="demand")
    assert orders(quiet) == []
    found = orders(plan(mode, node("n1", cpus=4), held, node("n2", cpus=4)))
    assert all("n1" not in order.nodes for order in found)
