"""Leases ahead of free slots, what is learned of durations, and leases that are asked back."""

import pytest
from support.dispatching import arrival, end, grants, names, new, only, teach, work, works

from harvester.domain.dispatch.explain import explain
from harvester.domain.dispatch.ledger.effects import Conclude, Requeue
from harvester.domain.dispatch.queueing.durations import Duration, Durations
from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.model.resources import Resources


def test_an_estimate_follows_the_runs_and_hardly_any_exceeds_its_upper_end():
    duration = Duration()
    for n in range(200):
        duration.learn(2.0 + (n % 5) / 10)
    estimate = duration.estimate()
    assert 2.0 < estimate.mean_s < 2.4
    assert 2.4 < estimate.upper_s < 3.5
    assert estimate.upper_s <= duration.needs_s < estimate.upper_s * 1.2


def test_little_is_known_of_a_function_before_its_fifth_run():
    duration = Duration()
    for _ in range(4):
        duration.learn(1.0)
        assert duration.estimate() is None
    duration.learn(1.0)
    assert duration.estimate().runs == 5


def test_only_so_many_functions_are_remembered():
    durations = Durations(keep=2)
    for name in "abac":
        for _ in range(5):
            durations.of(name).learn(1.0)
    assert [durations.estimate(name) is not None for name in "abc"] == [True, False, True]


def test_leases_go_ahead_of_free_slots_when_runs_are_known_to_be_short():
    dispatcher = new()
    teach(dispatcher, "f@1", 0.001)
    dispatcher.pilot_arrived(arrival(cpus=2), 1)
    held = grants(dispatcher.accept_many(works(300), 1))
    most = 0
    while held:
        held += grants(end(dispatcher, held.pop(0), 1, 0.001))
        most = max(most, len(held))
    assert 38 <= most <= 40, "20 ms of work for each CPU"


@pytest.mark.parametrize("seconds", [None, 0.5])
def test_no_lease_goes_ahead_when_runs_are_long_or_unknown(seconds):
    dispatcher = new()
    if seconds is not None:
        teach(dispatcher, "f@1", seconds)
    dispatcher.pilot_arrived(arrival(), 1)
    (grant,) = grants(dispatcher.accept_many(works(9), 1))
    assert len(grants(end(dispatcher, grant, 2, seconds or 0.0))) == 1


def test_a_lease_ahead_takes_nobodys_turn():
    dispatcher = new()
    teach(dispatcher, "f@1", 0.001)
    dispatcher.pilot_arrived(arrival(), 1)
    (grant,) = grants(dispatcher.accept_many(works(50, owner="a"), 1))
    dispatcher.accept_many(works(3, "unknown@1", "u", owner="b"), 1)
    order = []
    held = [grant]
    while held:
        grant = held.pop(0)
        order.append(grant.invocation_id)
        held += grants(end(dispatcher, grant, 1, 0.001))
    assert "u0" in order[:8]


def test_a_lease_ahead_is_asked_back_when_it_could_start_elsewhere():
    dispatcher = new()
    teach(dispatcher, "f@1", 0.001)
    dispatcher.pilot_arrived(arrival(), 1)
    (grant,) = grants(dispatcher.accept_many(works(4), 1))
    stuck, *ahead = grants(end(dispatcher, grant, 1, 0.001))
    assert [lease.invocation_id for lease in ahead] == ["i2", "i3"]
    assert "leased ahead" in explain(dispatcher, "i2", 1).summary
    dispatcher.pilot_arrived(arrival("p2"), 1)
    assert dispatcher.tick(1.05) == []
    assert [recall.invocation_id for recall in dispatcher.tick(1.15)] == ["i2"], "there is room for one"
    assert dispatcher.tick(1.3) == [], "its answer is on its way"
    effects = dispatcher.given_back("p1", "i2", ahead[0].fence, ActivationEnd.UNSTARTED, 1.4)
    assert only(effects, Requeue)[0].end is ActivationEnd.UNSTARTED
    (again,) = grants(effects)
    assert (again.invocation_id, again.pilot_id) == ("i2", "p2")
    assert stuck.invocation_id == "i1"


def test_a_lease_ahead_of_a_stuck_run_is_asked_back_though_the_other_pilots_are_busy():
    dispatcher = new()
    teach(dispatcher, "f@1", 0.001)
    dispatcher.pilot_arrived(arrival(), 1)
    (grant,) = grants(dispatcher.accept_many(works(3), 1))
    end(dispatcher, grant, 1, 0.001)
    dispatcher.pilot_arrived(arrival("p2"), 1)
    dispatcher.accept_many(works(3, "long@1", "l"), 1)
    assert dispatcher.tick(1.5) == []
    (recall,) = dispatcher.tick(2.1)
    assert (recall.pilot_id, recall.invocation_id) == ("p1", "i2")
    assert dispatcher.tick(2.5) == [], "not again at once"


def test_a_run_that_is_over_before_it_was_told_of_tells_when_it_began():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 1)
    (grant,) = grants(dispatcher.accept(work("i"), 1))
    (ended,) = only(end(dispatcher, grant, 2.0, 0.25), Conclude)
    assert (ended.state, ended.started_at) == (InvocationState.SUCCEEDED, 1.75)


def test_a_run_that_was_told_of_does_not_begin_twice():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 1)
    (grant,) = grants(dispatcher.accept(work("i"), 1))
    dispatcher.started("p1", "i", grant.fence, 1.5)
    (ended,) = only(end(dispatcher, grant, 2.0, 0.5), Conclude)
    assert ended.started_at is None


def test_a_function_without_a_walltime_is_kept_from_pilots_that_end_before_its_runs_usually_do():
    dispatcher = new()
    teach(dispatcher, "f@1", 100.0)
    dispatcher.pilot_arrived(arrival(time_left_s=60), 1)
    assert names(dispatcher.accept(work("i"), 1)) == []
    told = explain(dispatcher, "i", 1)
    assert "too little" in told.summary or "has only 60 s left" in told.summary
    assert any("learned from 5 runs" in detail for detail in told.details)
    assert names(dispatcher.pilot_arrived(arrival("p2", time_left_s=1000), 1)) == ["i"]


def test_what_was_learned_is_no_law_for_functions_that_checkpoint_or_declare_their_walltime():
    dispatcher = new()
    teach(dispatcher, "saves@1", 100.0, checkpoints=True)
    teach(dispatcher, "declares@1", 100.0, walltime_s=30.0)
    dispatcher.pilot_arrived(arrival(cpus=2, time_left_s=60), 1)
    assert names(dispatcher.accept(work("s", "saves@1", checkpoints=True), 1)) == ["s"]
    assert names(dispatcher.accept(work("d", "declares@1", walltime_s=30.0), 1)) == ["d"]


def test_one_long_run_does_not_shut_a_function_out_for_ever():
    dispatcher = new()
    teach(dispatcher, "f@1", 100.0)
    dispatcher.pilot_arrived(arrival(time_left_s=60), 1)
    dispatcher.accept(work("i"), 1)
    granted_at = None
    for now in range(2, 1000):
        dispatcher.heartbeat("p1", 60, now)
        if names(dispatcher.tick(now)):
            granted_at = now
            break
    assert granted_at is not None
    assert granted_at > 100, "it waited for about as long as a run was believed to take"


def test_no_lease_for_a_gpu_goes_ahead():
    dispatcher = new()
    room = Resources(cpus=2, gpus=1)
    hello = arrival("g", cpus=2)
    dispatcher.pilot_arrived(type(hello)(pilot_id="g", capacity=room, python="3.11", time_left_s=3600.0), 0)
    needs = Resources(cpus=1, gpus=1)
    dispatcher.accept_many([work(f"i{n}", resources=needs) for n in range(20)], 0)
    (held,) = dispatcher.pilot("g").leases.values()
    for _ in range(8):
        lease = held.lease
        effects = dispatcher.finished("g", held.invocation_id, lease.fence, None, 1, duration_s=0.001)
        (grant,) = grants(effects)
        held = dispatcher.entry(grant.invocation_id)


def test_with_owners_in_front_the_explanation_says_whose_turn_it_is():
    dispatcher = new()
    dispatcher.accept_many(works(3, owner="much"), 0)
    dispatcher.pilot_arrived(arrival(cpus=2), 0)
    dispatcher.accept_many(works(2, prefix="j", owner="first"), 0)
    told = explain(dispatcher, "i2", 1)
    assert any("less of their share" in detail for detail in told.details), told


def test_nothing_is_granted_ahead_that_would_hide_a_free_cpu_from_others():
    dispatcher = new()
    teach(dispatcher, "wide@1", 0.001, cpus=2)
    dispatcher.pilot_arrived(arrival(cpus=3), 1)
    dispatcher.accept_many(works(50, "wide@1", cpus=2), 1)
    for now in (2, 3, 4):
        running = next(iter(dispatcher.pilot("p1").leases.values()))
        dispatcher.finished("p1", running.invocation_id, running.fence, None, now, duration_s=0.001)
    assert names(dispatcher.accept(work("narrow", "narrow@1", owner="other"), 4.5)) == ["narrow"]
