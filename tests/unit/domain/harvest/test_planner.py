"""The planner and its demand policy: how many pilots, of which shape and length, and why no more."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import ClusterSnapshot, Node, NodeState, Partition, Reservation
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import (
    CancelPilot,
    HarvestMode,
    HarvestSettings,
    KnownPilot,
    Need,
    Plan,
    PolicyError,
    Shape,
    Situation,
    SubmitPilot,
)
from harvester.domain.harvest.policies.demand import DemandPolicy
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

NOW = 1_000_000.0
MINUTES = (2, 4, 6, 8, 14, 22, 34, 56, 90)
CPU = Shape(name="cpu", partition="harvest", resources=Resources(cpus=4), ready=0)
GPU = Shape(name="gpu", partition="gpus", resources=Resources(cpus=4, gpus=2), ready=0)
POLICY = DemandPolicy()


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def settings(**changes: object) -> HarvestSettings:
    plain = HarvestSettings(shapes=(CPU, GPU), lengths=tuple(minutes(m) for m in MINUTES))
    return replace(plain, **changes)


def cluster(nodes: int = 8, **partition: object) -> ClusterSnapshot:
    cpu_nodes = [
        Node(name=f"n{i}", state=NodeState.IDLE, partitions=("harvest",), total=CPU.resources, free=CPU.resources)
        for i in range(nodes)
    ]
    gpu_nodes = [
        Node(name=f"g{i}", state=NodeState.IDLE, partitions=("gpus",), total=GPU.resources, free=GPU.resources)
        for i in range(2)
    ]
    return ClusterSnapshot(
        taken_at=NOW,
        scheduler="fake",
        nodes=(*cpu_nodes, *gpu_nodes),
        batch_jobs=(),
        partitions=(Partition(name="harvest", **({"is_preemptible": True} | partition)), Partition(name="gpus")),
    )


def situation(*pilots: KnownPilot, needs: tuple[Need, ...] = (), **changes: object) -> Situation:
    plain = Situation(snapshot=cluster(), needs=needs, pilots=pilots, settings=settings(), now=NOW)
    return replace(plain, **changes)


def pilot(name: str = "p", state: PilotState = PilotState.READY, **changes: object) -> KnownPilot:
    plain = KnownPilot(
        pilot_id=name,
        name=name,
        shape="cpu",
        partition="harvest",
        resources=CPU.resources,
        walltime=minutes(90),
        state=state,
        planned_at=NOW - 1,
        batch_job_id=name,
        submitted_at=NOW - 1,
        ends_at=NOW + 5000 if state is PilotState.READY else None,
        idle_since=NOW - 1 if state is PilotState.READY else None,
    )
    return replace(plain, **changes)


def work(waiting: int, **changes: object) -> Need:
    return replace(Need(function_id="f@1", resources=Resources(cpus=1), waiting=waiting), **changes)


def submitted(plan: Plan) -> list[tuple[str, float]]:
    return [(e.shape, e.walltime / minutes(1)) for e in plan.effects if isinstance(e, SubmitPilot)]


def cancelled(plan: Plan) -> list[str]:
    return [effect.pilot_id for effect in plan.effects if isinstance(effect, CancelPilot)]


def test_without_work_and_nothing_to_keep_ready_nothing_is_submitted():
    assert POLICY.plan(situation()) == Plan()


def test_as_many_pilots_as_the_waiting_work_needs():
    assert submitted(POLICY.plan(situation(needs=(work(9),)))) == [("cpu", 90)] * 3


def test_room_in_pilots_that_live_in_whatever_state_counts_before_new_ones():
    states = (PilotState.READY, PilotState.BOOTING, PilotState.QUEUED, PilotState.PLANNED)
    pilots = [pilot(state.name, state) for state in states]
    assert submitted(POLICY.plan(situation(*pilots, needs=(work(16),)))) == []
    assert submitted(POLICY.plan(situation(*pilots, needs=(work(17),)))) == [("cpu", 90)]


def test_work_that_a_pilot_runs_already_takes_its_room():
    needs = (work(1, held=4),)
    assert submitted(POLICY.plan(situation(pilot(activations=4, idle_since=None), needs=needs))) == [("cpu", 90)]


def test_a_draining_pilot_has_no_room_and_its_work_wants_another_pilot():
    draining = pilot(state=PilotState.DRAINING)
    assert submitted(POLICY.plan(situation(draining, needs=(work(0, held=1),)))) == [("cpu", 90)]


def test_the_configured_number_is_kept_ready_beyond_the_work():
    ready = settings(shapes=(replace(CPU, ready=2),))
    assert submitted(POLICY.plan(situation(settings=ready))) == [("cpu", 90)] * 2
    busy = (work(0, held=4),)
    assert submitted(POLICY.plan(situation(pilot("a", activations=4), pilot("b"), needs=busy, settings=ready))) == [
        ("cpu", 90)
    ]


def test_a_successor_is_submitted_before_a_ready_pilots_time_is_over():
    ready = settings(shapes=(replace(CPU, ready=1),))
    assert submitted(POLICY.plan(situation(pilot(ends_at=NOW + 20), settings=ready))) == [("cpu", 90)]
    assert submitted(POLICY.plan(situation(pilot(ends_at=NOW + 60), settings=ready))) == []


def test_no_more_are_pending_than_the_cap_and_the_note_says_so():
    plan = POLICY.plan(situation(needs=(work(100),), settings=settings(max_pending=3)))
    assert len(submitted(plan)) == 3
    assert "max_pending = 3" in " ".join(plan.notes)


def test_no_more_pilots_live_than_the_cap_and_the_note_says_so():
    pilots = [pilot(str(i), activations=4) for i in range(3)]
    plan = POLICY.plan(situation(*pilots, needs=(work(100, held=12),), settings=settings(max_pilots=4)))
    assert len(submitted(plan)) == 1
    assert "max_pilots = 4" in " ".join(plan.notes)


def test_no_more_are_submitted_than_the_nodes_in_service_hold():
    plan = POLICY.plan(situation(needs=(work(100),), snapshot=cluster(nodes=2)))
    assert submitted(plan) == [("cpu", 90)] * 2
    assert "hold 2" in " ".join(plan.notes)


def test_a_length_over_the_partitions_limit_is_never_asked():
    assert submitted(POLICY.plan(situation(needs=(work(1),), snapshot=cluster(max_time=minutes(60))))) == [("cpu", 56)]


def test_a_partition_shorter_than_every_length_gets_its_own_limit():
    assert submitted(POLICY.plan(situation(needs=(work(1),), snapshot=cluster(max_time=minutes(1))))) == [("cpu", 1)]


def test_after_a_length_was_pending_for_longer_than_our_patience_the_next_shorter_one_is_tried():
    stuck = pilot("a", PilotState.QUEUED, submitted_at=NOW - 61)
    assert submitted(POLICY.plan(situation(stuck, needs=(work(1),)))) == [("cpu", 56)]
    fresh = pilot("b", PilotState.QUEUED, submitted_at=NOW - 1, walltime=minutes(56))
    assert submitted(POLICY.plan(situation(stuck, fresh, needs=(work(5),)))) == [("cpu", 56)]
    both = replace(fresh, submitted_at=NOW - 61)
    assert submitted(POLICY.plan(situation(stuck, both, needs=(work(1),)))) == [("cpu", 34)]


def test_the_shortest_length_waits_where_it_is_stuck():
    stuck = pilot("a", PilotState.QUEUED, submitted_at=NOW - 999, walltime=minutes(2))
    assert POLICY.plan(situation(stuck, needs=(work(1),))).effects == ()


def test_when_stuck_pilots_fill_the_cap_the_longest_is_taken_out_of_the_queue():
    stuck = [pilot(str(m), PilotState.QUEUED, submitted_at=NOW - 61, walltime=minutes(m)) for m in (90, 56)]
    plan = POLICY.plan(situation(*stuck, needs=(work(1),), settings=settings(max_pending=2)))
    assert cancelled(plan) == ["90"]
    assert submitted(plan) == []


def test_work_with_a_declared_walltime_gets_a_pilot_that_is_long_enough():
    stuck = pilot("a", PilotState.QUEUED, submitted_at=NOW - 61, walltime=minutes(8))
    needs = (work(1, walltime=minutes(20)),)
    assert submitted(POLICY.plan(situation(stuck, needs=needs))) == [("cpu", 22)]
    checkpointing = (work(1, walltime=minutes(20), checkpoints=True),)
    assert submitted(POLICY.plan(situation(stuck, needs=checkpointing))) == [("cpu", 6)]


def test_a_ready_pilot_whose_time_is_too_short_for_the_work_is_not_counted_on():
    needs = (work(1, walltime=minutes(20)),)
    assert submitted(POLICY.plan(situation(pilot(ends_at=NOW + 600), needs=needs))) == [("cpu", 90)]
    assert submitted(POLICY.plan(situation(pilot(ends_at=NOW + 1206), needs=needs))) == []


def test_a_stuck_pilot_is_counted_on_where_no_shorter_one_could_run_the_work():
    stuck = pilot("a", PilotState.QUEUED, submitted_at=NOW - 999, walltime=minutes(90))
    needs = (work(1, walltime=minutes(80)),)
    assert POLICY.plan(situation(stuck, needs=needs)).effects == ()


def test_work_that_is_longer_than_every_length_is_explained_and_submits_nothing():
    plan = POLICY.plan(situation(needs=(work(3, walltime=minutes(90)),)))
    assert submitted(plan) == []
    assert "3 invocations need 1 CPU, a pilot of 90.5 min" in plan.notes[0]


def test_gpu_work_goes_to_the_gpu_shape_and_cpu_work_prefers_the_other():
    gpu_work = Need(function_id="g@1", resources=Resources(cpus=1, gpus=1), waiting=2)
    order = settings(shapes=(GPU, CPU))
    assert submitted(POLICY.plan(situation(needs=(work(1), gpu_work), settings=order))) == [("gpu", 90)]
    assert submitted(POLICY.plan(situation(needs=(work(1),), settings=order))) == [("cpu", 90)]


def test_work_that_no_shape_can_hold_is_explained_with_what_the_shapes_offer():
    plan = POLICY.plan(situation(needs=(work(1, resources=Resources(cpus=5)),)))
    assert submitted(plan) == []
    assert "need 5 CPUs" in plan.notes[0]
    assert "cpu: 4 CPUs" in plan.notes[0]


def test_work_for_another_python_does_not_count_on_pilots_or_shapes_that_run_this_one():
    other = (work(1, python="3.13"),)
    shapes = (replace(CPU, python="3.11"),)
    plan = POLICY.plan(situation(pilot(python="3.11"), needs=other, settings=settings(shapes=shapes)))
    assert submitted(plan) == []
    assert "Python 3.13" in plan.notes[0]


def test_a_partition_that_is_down_gets_nothing_and_cpu_work_takes_the_gpu_shape():
    plan = POLICY.plan(situation(needs=(work(1),), snapshot=cluster(is_up=False)))
    assert submitted(plan) == [("gpu", 90)]
    assert "partition 'harvest' is down" in plan.notes[0]


def test_a_partition_that_does_not_exist_is_named_beside_those_that_do():
    shapes = (replace(CPU, partition="hravest"),)
    plan = POLICY.plan(situation(needs=(work(1),), settings=settings(shapes=shapes)))
    assert submitted(plan) == []
    assert "no partition 'hravest'" in plan.notes[0]
    assert "gpus, harvest" in plan.notes[0]


def test_a_shape_that_is_held_back_gets_nothing_and_the_note_has_the_reason():
    plan = POLICY.plan(situation(needs=(work(1),), closed={"cpu": "paused.", "gpu": "paused."}))
    assert plan.effects == ()
    assert "No pilots of shape cpu: paused." in plan.notes


def test_idle_pilots_beyond_those_to_be_ready_leave_after_a_while_the_longest_idle_first():
    ready = settings(shapes=(replace(CPU, ready=1),))
    pilots = [pilot(str(age), idle_since=NOW - age) for age in (400, 500, 10)]
    assert cancelled(POLICY.plan(situation(*pilots, settings=ready))) == ["500", "400"]
    assert cancelled(POLICY.plan(situation(pilots[0], settings=ready))) == []


def test_an_idle_pilot_stays_while_its_replacement_is_only_in_the_queue():
    ready = settings(shapes=(replace(CPU, ready=1),))
    queued = pilot("q", PilotState.QUEUED)
    assert cancelled(POLICY.plan(situation(pilot(idle_since=NOW - 400), queued, settings=ready))) == []


def test_a_pilot_that_waits_in_the_queue_for_nothing_is_taken_out_after_a_while():
    old = pilot("old", PilotState.QUEUED, submitted_at=NOW - 301)
    new = pilot("new", PilotState.QUEUED, submitted_at=NOW - 30)
    assert cancelled(POLICY.plan(situation(old, new))) == ["old"]


def test_a_paused_planner_submits_nothing_but_still_lets_go():
    idle = pilot(idle_since=NOW - 400, python="3.12")
    plan = decide(POLICY, situation(idle, needs=(work(1, python="3.11"),)), paused="an admin said so")
    assert submitted(plan) == []
    assert cancelled(plan) == [idle.pilot_id]
    assert "an admin said so" in plan.notes[0]


class _Greedy:
    """A policy that keeps to no limit."""

    def plan(self, situation: Situation) -> Plan:
        submits = [SubmitPilot(shape="cpu", walltime=minutes(2), why="") for _ in range(100)]
        cancels = [CancelPilot(pilot_id=pilot.pilot_id, why="") for pilot in situation.pilots] * 2
        return Plan(effects=(*submits, *cancels))


def test_no_policy_can_break_the_caps_or_cancel_a_pilot_that_is_starting():
    pilots = [pilot(state.name, state) for state in PilotState if state not in {PilotState.LOST, PilotState.FAILED}]
    plan = decide(_Greedy(), situation(*pilots, settings=settings(max_pending=5, max_pilots=20)))
    assert len(submitted(plan)) == 4, "one waits already, a second was cancelled and makes room"
    assert cancelled(plan) == ["QUEUED", "READY"]


LIVE = (PilotState.PLANNED, PilotState.QUEUED, PilotState.BOOTING, PilotState.READY, PilotState.DRAINING)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    pilots = []
    for number in range(draw(st.integers(0, 12))):
        shape = draw(st.sampled_from((CPU, GPU)))
        age = draw(st.floats(0, 7200))
        state = draw(st.sampled_from(LIVE))
        called = state in {PilotState.READY, PilotState.DRAINING}
        activations = draw(st.integers(0, 4)) if called else 0
        pilots.append(
            KnownPilot(
                pilot_id=str(number),
                name=str(number),
                shape=shape.name,
                partition=shape.partition,
                resources=shape.resources,
                walltime=minutes(draw(st.sampled_from(MINUTES))),
                state=state,
                planned_at=NOW - age,
                submitted_at=None if state is PilotState.PLANNED else NOW - age,
                ends_at=NOW + draw(st.floats(-10, 5400)) if called else None,
                activations=activations,
                idle_since=NOW - age if called and not activations else None,
            )
        )
    needs = draw(
        st.lists(
            st.builds(
                Need,
                function_id=st.just("f@1"),
                resources=st.builds(Resources, cpus=st.integers(1, 5), gpus=st.integers(0, 3)),
                waiting=st.integers(0, 10_000),
                held=st.integers(0, 20),
                walltime=st.none() | st.floats(1, 100).map(minutes),
                checkpoints=st.booleans(),
            ),
            max_size=4,
        )
    )
    shapes = (replace(CPU, ready=draw(st.integers(0, 3))), replace(GPU, ready=draw(st.integers(0, 2))))
    limits = settings(shapes=shapes, max_pilots=draw(st.integers(0, 15)), max_pending=draw(st.integers(0, 8)))
    return situation(*pilots, needs=tuple(needs), settings=limits)


@given(situations())
def test_the_caps_hold_whatever_the_situation(case: Situation):
    plan = POLICY.plan(case)
    fresh = len(submitted(plan))
    if fresh:
        assert len(case.pilots) + fresh <= case.settings.max_pilots
        assert sum(p.is_pending for p in case.pilots) + fresh <= case.settings.max_pending


@given(situations())
def test_no_pilot_is_submitted_without_work_beyond_those_to_be_ready(case: Situation):
    quiet = replace(case, needs=())
    for shape in case.settings.shapes:
        assert sum(name == shape.name for name, _ in submitted(POLICY.plan(quiet))) <= shape.ready


@given(situations())
def test_only_queued_and_idle_ready_pilots_are_cancelled_and_none_twice(case: Situation):
    gone = cancelled(POLICY.plan(case))
    assert len(gone) == len(set(gone))
    for one in case.pilots:
        if one.pilot_id in gone:
            assert one.state in {PilotState.QUEUED, PilotState.READY}
            assert one.activations == 0


@given(situations())
def test_every_wait_that_is_not_served_has_a_note(case: Situation):
    plan = POLICY.plan(case)
    room = sum(p.resources.cpus for p in case.pilots) + 4 * len(submitted(plan))
    if sum(need.waiting for need in case.needs) > room:
        assert plan.notes


@given(situations())
def test_once_a_plan_is_performed_the_next_one_submits_nothing_more(case: Situation):
    plan = POLICY.plan(case)
    gone = set(cancelled(plan))
    fresh = [
        pilot(f"new{i}", PilotState.QUEUED, shape=shape, walltime=minutes(length), submitted_at=NOW)
        for i, (shape, length) in enumerate(submitted(plan))
    ]
    shapes = {shape.name: shape for shape in case.settings.shapes}
    fresh = [replace(p, resources=shapes[p.shape].resources, partition=shapes[p.shape].partition) for p in fresh]
    kept = [p for p in case.pilots if p.pilot_id not in gone]
    again = POLICY.plan(replace(case, pilots=(*kept, *fresh)))
    if not gone:  # a pilot taken out of the queue makes room for another length
        assert submitted(again) == []


# ---- what the site forbids, or has no room for -----------------------------------------------------------------------

LIMIT = "QOSMaxJobsPerUserLimit"


def waiting(**changes: object) -> KnownPilot:
    """Return a pilot that waits for a limit, for longer than our patience."""
    plain = pilot("p", PilotState.QUEUED, planned_at=NOW - 600, submitted_at=NOW - 600, held_by_limit=LIMIT)
    return replace(plain, **changes)


def test_a_pilot_that_waits_for_a_limit_is_not_replaced_by_a_shorter_one_and_gets_no_company():
    plan = decide(POLICY, situation(waiting(), needs=(work(99),)))
    assert (submitted(plan), cancelled(plan)) == ([], [])
    [note] = [note for note in plan.notes if LIMIT in note]
    assert note.startswith("No more pilots of shape cpu: p waits for a limit of our user, account or QOS")
    # One that waits as long for nodes is stuck: a shorter one is tried.
    assert submitted(decide(POLICY, situation(waiting(held_by_limit=""), needs=(work(4),)))) == [("cpu", 56)]


def test_a_limit_of_one_shape_keeps_no_other_shape_from_being_submitted():
    partitions = tuple(Partition(name=name, is_preemptible=True) for name in ("harvest", "gpus"))
    snapshot = replace(cluster(), partitions=partitions)
    gpu_work = work(1, resources=Resources(cpus=1, gpus=1))
    plan = decide(POLICY, situation(waiting(), needs=(work(9), gpu_work), snapshot=snapshot))
    assert submitted(plan) == [("gpu", 90)]


def test_a_policy_cannot_exchange_a_pilot_that_waits_for_a_limit_but_may_let_it_go():
    class Exchange:
        def plan(self, situation: Situation) -> Plan:
            wish = SubmitPilot(shape="cpu", walltime=minutes(2), why="shorter")
            return Plan(effects=(CancelPilot(pilot_id="p", why="fits no gap"), *([wish] if situation.needs else [])))

    assert cancelled(decide(Exchange(), situation(waiting(), needs=(work(1),)))) == []
    assert cancelled(decide(Exchange(), situation(waiting()))) == ["p"]


def test_a_partition_that_takes_no_pilots_of_ours_gets_none_and_the_reason_is_told():
    plan = decide(POLICY, situation(needs=(work(1),), snapshot=cluster(refuses="only root may submit to it")))
    assert submitted(plan) == []
    assert any("partition harvest takes no pilots: only root may submit to it" in note for note in plan.notes)


def test_pilots_keep_off_nodes_that_they_would_wake():
    known = cluster()
    asleep = replace(known.nodes[3], state=NodeState.DOWN, free=Resources(cpus=0), is_asleep=True)
    snapshot = replace(known, nodes=(*known.nodes[:3], asleep, *known.nodes[4:]))
    plan = decide(POLICY, situation(needs=(work(1),), snapshot=snapshot))
    assert [effect.exclude for effect in plan.effects if isinstance(effect, SubmitPilot)] == [("n3",)]


@pytest.mark.parametrize("mode", [HarvestMode.STRICT, HarvestMode.YIELDING])
def test_who_must_see_prime_jobs_submits_nothing_where_they_are_hidden(mode):
    hidden = "other users' batch jobs from this one (PrivateData=jobs)"
    snapshot = replace(cluster(), hidden=hidden)
    blind = situation(needs=(work(1),), snapshot=snapshot, settings=settings(mode=mode))
    plan = decide(POLICY, blind)
    assert submitted(plan) == []
    assert any(hidden in note for note in plan.notes)
    assert submitted(decide(POLICY, situation(needs=(work(1),), snapshot=snapshot)))


def test_a_reservation_that_floats_sends_nobody_away():
    begun = Reservation(name="r", nodes=("n1",), start_at=NOW - 1)
    snapshot = replace(cluster(), reservations=(begun,))
    assert "n1" in situation(snapshot=snapshot).leaving_nodes
    floating = replace(snapshot, reservations=(replace(begun, is_floating=True),))
    assert "n1" not in situation(snapshot=floating).leaving_nodes


class Wrong:
    """A policy of another package, with whatever is wrong with it."""

    def __init__(self, found: object) -> None:
        self.found = found

    def plan(self, situation: Situation) -> Plan:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found  # type: ignore[return-value]  # that is what is wrong


def ask(shape: str) -> SubmitPilot:
    return SubmitPilot(shape=shape, walltime=minutes(8), why="test")


def test_a_policy_that_asks_for_an_unknown_shape_is_told_so_and_its_other_wishes_count():
    plan = decide(Wrong(Plan(effects=(ask("cpus"), ask("cpu"), ask("cpus")))), situation())
    assert [effect.shape for effect in plan.effects] == ["cpu"]
    assert isinstance(plan.failure, PolicyError)
    assert str(plan.failure) == "it asks for pilots of the shape 'cpus', which is not there; there are cpu, gpu"
    with pytest.raises(PolicyError):
        plan.checked()


def test_a_policy_that_raises_does_not_keep_pilots_from_leaving():
    leaves = pilot(node="n1")
    error = ValueError("on purpose")
    plan = decide(Wrong(error), situation(leaves, drained={"n1": "an admin wants it"}))
    assert [effect.pilot_id for effect in plan.effects if isinstance(effect, CancelPilot)] == [leaves.pilot_id]
    assert plan.failure is error


def test_a_policy_that_returns_no_plan_is_told_so():
    assert str(decide(Wrong(None), situation()).failure) == "plan() returned a NoneType, not a Plan"


def test_a_plan_that_is_right_has_no_failure():
    plan = decide(POLICY, situation())
    assert plan.failure is None
    assert plan.checked() is plan


def test_a_shape_that_is_larger_than_a_partition_gives_of_a_node_is_not_submitted():
    small = situation(needs=(work(1),), snapshot=cluster(most=Resources(cpus=2)))
    plan = decide(POLICY, small)
    assert submitted(plan) == []
    assert any("partition harvest gives 2 CPUs of a node at most" in note for note in plan.notes)
    assert submitted(decide(POLICY, situation(needs=(work(1),), snapshot=cluster(most=Resources(cpus=4)))))
