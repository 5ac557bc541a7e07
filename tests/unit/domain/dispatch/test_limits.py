"""What users and sites set: limits on what runs at a time, priorities, times to live, deadlines."""

from datetime import timedelta

import pytest
from support.dispatching import arrival, end, grants, names, new, only, work, works

from harvester.domain.dispatch.explain import explain
from harvester.domain.dispatch.ledger.effects import Conclude, Requeue, Revoke
from harvester.domain.dispatch.ledger.entries import MOST_WARM
from harvester.domain.dispatch.queueing.lanes import SLACK
from harvester.domain.model.invocations import ActivationEnd, FailureKind, InvocationState


def test_no_more_of_a_function_runs_at_a_time_than_it_says():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(cpus=8), 0)
    first = grants(dispatcher.accept_many(works(5, max_running=2), 0))
    assert len(first) == 2
    assert "its limit is 2 at a time" in explain(dispatcher, "i4", 1).summary
    assert names(end(dispatcher, first[0], 1)) == ["i2"]


def test_a_functions_limit_holds_over_all_owners():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(cpus=8), 0)
    (grant,) = grants(dispatcher.accept(work("a", owner="a", max_running=1), 0))
    assert names(dispatcher.accept(work("b", owner="b", max_running=1), 0)) == []
    assert names(end(dispatcher, grant, 1)) == ["b"]


def test_no_more_of_an_owner_runs_at_a_time_than_the_site_allows():
    dispatcher = new(max_running_per_owner=2, owner_limits={"b": 3})
    dispatcher.pilot_arrived(arrival(cpus=16), 0)
    first = grants(dispatcher.accept_many(works(4, owner="a") + works(4, "g@1", "j", owner="a"), 0))
    assert len(first) == 2
    assert len(grants(dispatcher.accept_many(works(5, "h@1", "k", owner="b"), 0))) == 3
    assert "may have 2 at a time" in explain(dispatcher, "i3", 1).summary
    assert len(names(end(dispatcher, first[0], 1))) == 1


def test_others_go_on_beside_work_that_is_at_its_limit():
    dispatcher = new()
    dispatcher.accept_many(works(10, max_running=1, owner="a"), 0)
    dispatcher.accept_many(works(3, "g@1", "j", owner="a"), 0)
    got = names(dispatcher.pilot_arrived(arrival(cpus=4), 1))
    assert sorted(got) == ["i0", "j0", "j1", "j2"]


def test_an_eviction_frees_a_place_below_the_limit():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(cpus=1), 0)
    (grant,) = grants(dispatcher.accept_many(works(2, max_running=1), 0))
    effects = dispatcher.given_back("p1", "i0", grant.fence, ActivationEnd.EVICTED, 1)
    assert names(effects) == ["i0"], "evicted work goes first"


def test_a_higher_priority_goes_before_what_came_earlier_and_evicted_work_at_the_head_of_its_own():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    (running,) = grants(dispatcher.accept(work("evicted"), 0))
    dispatcher.accept_many([work("low", priority=-5), work("normal"), work("high", priority=7)], 0)
    dispatcher.accept(work("higher", "g@1", priority=9), 0)
    order = []
    effects = dispatcher.given_back("p1", "evicted", running.fence, ActivationEnd.EVICTED, 1)
    while grants(effects):
        (grant,) = grants(effects)
        order.append(grant.invocation_id)
        effects = end(dispatcher, grant, 1)
    assert order == ["higher", "high", "evicted", "normal", "low"]


def test_nobody_jumps_over_another_owner_by_priority():
    dispatcher = new()
    dispatcher.accept_many(works(4, owner="modest"), 0)
    dispatcher.accept_many(works(4, prefix="j", owner="pushy", priority=1000), 0)
    got = names(dispatcher.pilot_arrived(arrival(cpus=4), 1))
    assert sorted(name[0] for name in got) == ["i", "i", "j", "j"]


def test_a_priority_whose_work_was_cancelled_counts_no_longer():
    dispatcher = new()
    dispatcher.accept_many([work("gone", priority=9), work("f")], 0)
    dispatcher.accept(work("g", "g@1", priority=1), 0)
    dispatcher.cancel("gone", 0)
    assert names(dispatcher.pilot_arrived(arrival(), 1)) == ["g"]


def test_what_finds_no_slot_within_its_time_to_live_expires():
    dispatcher = new()
    dispatcher.accept_many([work("i", start_by=2.0), work("stays")], 0)
    assert dispatcher.tick(1.9) == []
    (ended,) = dispatcher.tick(2.1)
    assert (ended.invocation_id, ended.state) == ("i", InvocationState.EXPIRED)
    assert ended.failure.kind is FailureKind.EXPIRED
    assert "had to start within 2 s and found no slot in 2.1 s" in ended.failure.message
    assert names(dispatcher.pilot_arrived(arrival(), 3)) == ["stays"]


@pytest.mark.parametrize("limits", [{"start_by": 2.0}, {"end_by": 2.0}])
def test_what_has_expired_is_never_granted_even_between_two_ticks(limits):
    dispatcher = new()
    dispatcher.accept(work("i", **limits), 0)
    effects = dispatcher.pilot_arrived(arrival(), 2.0)
    assert names(effects) == []
    assert only(effects, Conclude)[0].state is InvocationState.EXPIRED


def test_what_had_begun_once_may_start_again_whenever():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    (grant,) = grants(dispatcher.accept(work("i", start_by=2.0), 0))
    dispatcher.started("p1", "i", grant.fence, 1)
    dispatcher.heartbeat("p1", 3600, 5)
    effects = dispatcher.given_back("p1", "i", grant.fence, ActivationEnd.EVICTED, 5)
    assert names(effects) == ["i"]


def test_what_came_back_unstarted_after_its_time_to_live_expires():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    (grant,) = grants(dispatcher.accept(work("i", start_by=2.0), 0))
    dispatcher.heartbeat("p1", 3600, 5)
    effects = dispatcher.given_back("p1", "i", grant.fence, ActivationEnd.UNSTARTED, 5)
    assert only(effects, Requeue)
    assert only(effects, Conclude)[0].state is InvocationState.EXPIRED
    assert names(effects) == []


def test_a_run_past_its_deadline_is_stopped_and_keeps_its_room_until_it_has():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    (grant,) = grants(dispatcher.accept(work("i", end_by=2.0), 0))
    dispatcher.started("p1", "i", grant.fence, 1)
    dispatcher.accept(work("next"), 1)
    effects = dispatcher.tick(2.0)
    (ended,) = only(effects, Conclude)
    assert ended.state is InvocationState.EXPIRED
    assert "had to end within 2 s and was running" in ended.failure.message
    assert only(effects, Revoke)[0].fence == grant.fence
    assert names(effects) == []
    after = dispatcher.given_back("p1", "i", grant.fence, ActivationEnd.CANCELLED, 2.5)
    assert names(after) == ["next"]
    assert not only(after, Conclude)


def test_deadlines_of_what_has_ended_do_not_pile_up():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    for n in range(5000):
        (grant,) = grants(dispatcher.accept(work(f"i{n}", end_by=1e6), 0))
        end(dispatcher, grant, 0)
    assert len(dispatcher._expiry) < 3000


@pytest.mark.parametrize("head", [{}, {"priority": 1}], ids=["in one queue", "behind a higher priority"])
def test_what_expires_behind_one_that_waits_for_ever_does_not_pile_up(head):
    dispatcher = new()
    dispatcher.accept(work("head", **head), 0)
    lane = dispatcher.entry("head").lane
    for second in range(10_000):
        dispatcher.accept(work(f"i{second}", at=second, start_by=second + 10), second)
        dispatcher.tick(second)
    assert sum(len(queue) for queue in lane.deques.values()) < 2 * SLACK
    left = [f"i{number}" for number in range(9_991, 10_000)]
    assert names(dispatcher.pilot_arrived(arrival(cpus=20), 10_000)) == ["head", *left]


def test_after_a_restart_a_deadline_still_holds():
    dispatcher = new(recovery=timedelta(seconds=60))
    dispatcher.recover(work("i", fence=7, attempts=1, pilot_id="p1", is_started=True, end_by=5.0), 0)
    effects = [effect for now in range(7) for effect in dispatcher.tick(now)]
    assert only(effects, Conclude)[0].state is InvocationState.EXPIRED


def test_idle_functions_are_forgotten_in_time():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    for n in range(10_000):
        (grant,) = grants(dispatcher.accept(work(f"i{n}", f"f{n}@1"), 0))
        end(dispatcher, grant, 0)
    dispatcher.tick(0)
    assert len(dispatcher._queues.functions) == 0
    assert list(dispatcher.pilot("p1").warm) == [f"f{n}@1" for n in range(10_000 - MOST_WARM, 10_000)]


def test_the_position_is_exact_near_the_head_and_an_estimate_far_behind():
    dispatcher = new()
    dispatcher.accept_many([work(f"i{n}", at=float(n)) for n in range(5000)], 0)
    for name in ("i1", "i2"):
        dispatcher.cancel(name, 0)
    assert dispatcher.position(dispatcher.entry("i100")) == 98
    assert abs(dispatcher.position(dispatcher.entry("i4000")) - 3998) <= 2


def test_small_work_does_not_keep_wide_work_from_a_pilot_for_ever():
    dispatcher = new(patience=timedelta(seconds=30))
    first = grants(dispatcher.accept_many(works(400), 0) + dispatcher.pilot_arrived(arrival(cpus=2), 0))
    dispatcher.accept(work("wide", "wide@1", cpus=2), 0)
    running, now = first, 0.0
    while "wide" not in [grant.invocation_id for grant in running]:
        now += 1.0
        dispatcher.heartbeat("p1", 3600, now)
        running = [*running[1:], *grants(end(dispatcher, running[0], now))]
        assert now < 40.0
    assert now > 30.0
