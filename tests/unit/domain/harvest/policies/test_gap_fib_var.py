"""What each policy keeps in the queue, and why."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.cluster.survival import Survival
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import (
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
from harvester.domain.harvest.policies import by_name
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

NOW = 1_000_000.0
WHOLE = Resources(cpus=8, gpus=2)
NODE = Shape(name="node", partition="harvest", resources=WHOLE)
LENGTHS = tuple(timedelta(minutes=minutes) for minutes in (2, 4, 6, 8, 14, 22, 34, 56, 90))


def cluster(*until: float | None, free: Resources = WHOLE, **changes: object) -> ClusterSnapshot:
    """A free node for each of `until`: how many seconds it is free, None where nobody knows.

    Until then a prime job waits, which also needs a node where another one runs for so long.
    """
    nodes = tuple(
        Node(name=f"n{number}", state=NodeState.IDLE, partitions=("harvest",), total=WHOLE, free=free)
        for number in range(len(until))
    )
    jobs = tuple(
        BatchJob(
            batch_job_id=f"j{number}",
            name="prime",
            user="u",
            partition="harvest",
            state=BatchState.PENDING,
            reason="Resources",
            nodes=(f"n{number}", f"busy{number}"),
            required_nodes=(f"n{number}", f"busy{number}"),
            node_count=2,
            start_at=NOW + seconds,
        )
        for number, seconds in enumerate(until)
        if seconds is not None
    )
    jobs += tuple(
        replace(job, batch_job_id=f"r{job.batch_job_id}", state=BatchState.RUNNING, nodes=job.nodes[1:], start_at=NOW,
                end_at=job.start_at)
        for job in jobs
    )  # fmt: skip
    partitions = (Partition(name="harvest", is_preemptible=True),)
    plain = ClusterSnapshot(taken_at=NOW, scheduler="fake", nodes=nodes, batch_jobs=jobs, partitions=partitions)
    return replace(plain, **changes)


def situation(snapshot: ClusterSnapshot, *pilots: KnownPilot, **changes: object) -> Situation:
    known = {name: changes.pop(name) for name in ("survival", "needs", "closed") if name in changes}
    plain = HarvestSettings(
        shapes=(NODE,),
        lengths=LENGTHS,
        max_pending=100,
        max_pilots=1000,
        cycle=timedelta(seconds=10),
        is_unbounded=True,
        reserve=0,
    )
    return Situation(
        snapshot=snapshot, **{"needs": (), **known}, pilots=pilots, now=NOW, settings=replace(plain, **changes)
    )


def queued(order: SubmitPilot, number: int = 0, **changes: object) -> KnownPilot:
    plain = KnownPilot(
        pilot_id=f"p{number}",
        name=f"hv-{number}",
        shape=order.shape,
        partition="harvest",
        resources=WHOLE,
        walltime=order.walltime,
        state=PilotState.QUEUED,
        planned_at=NOW - 1,
        submitted_at=NOW - 1,
        end_by=order.end_by,
    )
    return replace(plain, **changes)


def submits(plan: Plan) -> list[SubmitPilot]:
    return [effect for effect in plan.effects if isinstance(effect, SubmitPilot)]


def lengths(plan: Plan) -> list[float]:
    return [order.walltime.total_seconds() for order in submits(plan)]


def gap(asked: Situation) -> Plan:
    return decide(by_name("gap"), asked)


def test_an_unknown_policy_is_told_with_those_there_are():
    with pytest.raises(ValueError, match='no policy "gab"; there are demand, fib, gap, var'):
        by_name("gab")


# ---- gap


def test_a_window_without_a_known_end_gets_the_longest_pilot():
    assert lengths(gap(situation(cluster(None)))) == [4 * 3600]
    short = cluster(None, partitions=(Partition(name="harvest", is_preemptible=True, max_time=timedelta(hours=1)),))
    assert lengths(gap(situation(short))) == [3600]


def test_a_window_with_a_known_end_gets_lengths_that_fit_whenever_the_scheduler_comes_by():
    found = lengths(gap(situation(cluster(1000.0))))
    assert found == [1000, 997, 995, 992, 990]
    nice = [order.nice for order in submits(gap(situation(cluster(1000.0, None))))]
    assert nice[0] == 0, "the longest goes first, so it does not take the place of one that was cut"
    assert nice[1:] == sorted(nice[1:])
    assert nice[1] > 0


def test_lengths_are_such_as_the_scheduler_keeps():
    minutes = cluster(1000.0, grain=timedelta(minutes=1))
    assert lengths(gap(situation(minutes))) == [960, 900, 840, 780, 720]


def test_a_window_that_is_too_short_for_a_boot_gets_nothing():
    assert lengths(gap(situation(cluster(12.0)))) == []


@pytest.mark.parametrize("cuts", [False, True])
@pytest.mark.parametrize("until", [None, 5000.0])
def test_pilots_that_cannot_outlast_their_boot_are_not_submitted_and_that_is_said(until, cuts):
    brief = {"longest": timedelta(seconds=14), "boot": timedelta(seconds=10), "reserve": 5}
    plan = gap(situation(cluster(until, cuts_time_min=cuts), survival=Survival().opened([300.0] * 9), **brief))
    assert plan.effects == ()
    assert any("lasts for 14 s at most, and one of less than 15 s is not worth its boot" in note for note in plan.notes)
    barely = gap(situation(cluster(until, cuts_time_min=cuts), **brief | {"longest": timedelta(seconds=15)}))
    assert lengths(barely)[0] == 15


def test_what_waits_already_and_will_do_is_left_alone():
    first = situation(cluster(1000.0, None))
    waiting = [queued(order, number) for number, order in enumerate(submits(gap(first)))]
    assert gap(replace(first, pilots=tuple(waiting))).effects == ()


def test_what_fits_no_window_leaves_the_queue_only_where_it_is_in_the_way():
    asked = situation(cluster(None), max_pending=2)
    stale = SubmitPilot(shape="node", walltime=timedelta(minutes=3), why="")
    plan = gap(replace(asked, pilots=(queued(stale, 0),)))
    assert [type(effect) for effect in plan.effects] == [SubmitPilot]
    plan = gap(replace(asked, pilots=(queued(stale, 0), queued(stale, 1))))
    assert [type(effect) for effect in plan.effects] == [CancelPilot, SubmitPilot]


def test_the_reserve_is_long_while_no_end_is_known_and_a_ladder_where_ends_are_known():
    calm = situation(cluster(), reserve=20, survival=Survival().opened([None] * 50))
    assert set(lengths(gap(calm))) == {4 * 3600.0}
    half = Survival().opened([600.0, None] * 50)
    found = lengths(gap(situation(cluster(), reserve=20, survival=half)))
    assert found.count(4 * 3600) == 10
    assert all(400 < length < 800 for length in found if length != 4 * 3600)


def test_where_the_scheduler_cuts_by_itself_one_kind_of_pilot_does_for_all_windows():
    found = submits(gap(situation(cluster(1000.0, None, cuts_time_min=True))))
    assert [(order.walltime, order.time_min) for order in found] == [(timedelta(hours=4), timedelta(seconds=15))] * 2


def test_a_pilot_that_ends_before_its_window_has_its_successor_waiting():
    busy = cluster(1000.0)
    pilot = KnownPilot(
        pilot_id="p", name="hv-p", shape="node", partition="harvest", resources=WHOLE, state=PilotState.READY,
        walltime=timedelta(minutes=4), planned_at=NOW - 200, ends_at=NOW + 20, node="n0", activations=1,
    )  # fmt: skip
    taken = replace(busy.nodes[0], state=NodeState.ALLOCATED, free=Resources(cpus=0))
    job = BatchJob(
        batch_job_id="p", name="hv-p", user="me", partition="harvest", state=BatchState.RUNNING, nodes=("n0",),
        requested=WHOLE, end_at=NOW + 20,
    )  # fmt: skip
    asked = situation(replace(busy, nodes=(taken,), batch_jobs=(*busy.batch_jobs, job)), pilot)
    assert lengths(gap(asked))[0] == 980
    assert lengths(gap(replace(asked, settings=replace(asked.settings, cycle=timedelta(0), loop=timedelta(0))))) == []


def test_a_window_of_a_part_gets_pilots_of_a_part_and_gpus_are_not_wasted_on_pilots_without():
    part = Shape(name="part", partition="harvest", resources=Resources(cpus=2))
    gpu = Shape(name="gpu", partition="harvest", resources=Resources(cpus=1, gpus=1))
    mixed = {"shapes": (NODE, part, gpu)}
    assert {order.shape for order in submits(gap(situation(cluster(None), **mixed)))} == {"node"}
    rest = situation(cluster(None, free=Resources(cpus=5)), **mixed)
    assert [order.shape for order in submits(gap(rest))] == ["part", "part"]
    with_gpu = situation(cluster(None, free=Resources(cpus=5, gpus=2)), **mixed)
    assert [order.shape for order in submits(gap(with_gpu))] == ["gpu", "gpu"]


def test_it_harvests_for_the_work_there_is_and_no_more():
    work = Need(function_id="f@1", resources=Resources(cpus=8), waiting=2)
    few = situation(cluster(None, None, None, 1000.0), is_unbounded=False, needs=(work,))
    assert lengths(gap(few)) == [4 * 3600] * 2
    assert gap(replace(few, needs=())).effects == ()


def test_work_that_needs_its_time_gets_a_window_that_lasts_long_enough():
    work = Need(function_id="f@1", resources=Resources(cpus=8), waiting=1, walltime=timedelta(minutes=20))
    asked = situation(cluster(600.0, 2000.0), is_unbounded=False, needs=(work,))
    assert lengths(gap(asked)) == [1990]


def test_in_strict_mode_each_pilot_is_bound_to_a_window_with_a_known_end():
    found = submits(gap(situation(cluster(1000.0, None), mode=HarvestMode.STRICT)))
    assert {order.nodes for order in found} == {("n0",)}
    assert {order.end_by for order in found} == {NOW + 1000 - 60}
    assert lengths(gap(situation(cluster(1000.0, None), mode=HarvestMode.STRICT)))[0] == 940


def test_in_strict_mode_a_pilot_whose_node_is_wanted_earlier_is_asked_to_leave_even_while_it_boots():
    pilot = KnownPilot(
        pilot_id="p", name="hv-p", shape="node", partition="harvest", resources=WHOLE, state=PilotState.BOOTING,
        walltime=timedelta(minutes=4), planned_at=NOW - 5, node="n0",
    )  # fmt: skip
    wanted = cluster(50.0)
    plan = gap(situation(wanted, pilot, mode=HarvestMode.STRICT))
    assert [effect.pilot_id for effect in plan.effects if isinstance(effect, CancelPilot)] == ["p"]
    assert not [effect for effect in gap(situation(wanted, pilot)).effects if isinstance(effect, CancelPilot)]


def test_in_strict_mode_a_pilot_that_waited_too_long_for_its_window_leaves_the_queue():
    order = SubmitPilot(shape="node", walltime=timedelta(seconds=900), why="", end_by=NOW + 800)
    plan = gap(situation(cluster(900.0), queued(order), mode=HarvestMode.STRICT))
    assert plan.effects[0] == CancelPilot(pilot_id="p0", why="started now, it would outlive its window")


def test_in_strict_mode_every_policy_is_cut_to_windows():
    asked = situation(cluster(1000.0, None), mode=HarvestMode.STRICT)
    for name in ("fib", "var"):
        found = submits(decide(by_name(name), asked))
        assert [order.nodes for order in found] == [("n0",)]
        assert found[0].walltime == timedelta(seconds=930)


# ---- fib and var, as published


def test_fib_keeps_ten_of_each_length_the_longest_first():
    found = submits(decide(by_name("fib"), situation(cluster(), max_pending=200)))
    assert len(found) == 90
    assert {length: lengths(Plan(effects=tuple(found))).count(length * 60) for length in (2, 90)} == {2: 10, 90: 10}
    assert [order.nice for order in found] == sorted(order.nice for order in found)
    assert found[0].walltime == timedelta(minutes=90)


def test_fib_fills_up_what_was_started_at_its_next_turn():
    asked = situation(cluster(), max_pending=200)
    waiting = [queued(order, number) for number, order in enumerate(submits(decide(by_name("fib"), asked)))][3:]
    assert decide(by_name("fib"), replace(asked, pilots=tuple(waiting))).effects == ()
    later = replace(asked, pilots=tuple(waiting), now=NOW + 15)
    assert lengths(decide(by_name("fib"), later)) == [90 * 60] * 3


def test_var_keeps_a_hundred_that_the_scheduler_may_cut():
    found = submits(decide(by_name("var"), situation(cluster(), max_pending=200)))
    assert len(found) == 100
    assert {(order.walltime, order.time_min) for order in found} == {(timedelta(hours=2), timedelta(minutes=2))}


@pytest.mark.parametrize("name", ["fib", "gap", "var"])
def test_a_shape_that_is_closed_gets_nothing_and_the_plan_says_why(name):
    plan = decide(by_name(name), situation(cluster(None), closed={"node": "paused after 5 failures"}))
    assert plan.effects == ()
    assert "paused after 5 failures" in " ".join(plan.notes)
