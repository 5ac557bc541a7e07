from datetime import timedelta

import pytest

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.explain import explain
from harvester.domain.dispatch.ledger.effects import (
    Acknowledge,
    Arrival,
    Conclude,
    Grant,
    Greet,
    KeepCheckpoint,
    MovePilot,
    Requeue,
    Revoke,
    SendDrain,
)
from harvester.domain.dispatch.losing import GONE
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind, InvocationState
from harvester.domain.model.pilots import DrainReason, PilotEvent, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.wire import Held

LONG = 3600.0


def work(name="i1", function="f@1", **kwargs):
    kwargs.setdefault("resources", Resources(cpus=1))
    return Work(invocation_id=name, function_id=function, accepted_at=0.0, **kwargs)


def arrival(pilot="p1", cpus=1, time_left_s=LONG, **kwargs):
    return Arrival(pilot_id=pilot, capacity=Resources(cpus=cpus), python="3.11", time_left_s=time_left_s, **kwargs)


def only(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


@pytest.fixture
def dispatcher():
    return Dispatcher(DispatcherSettings(), epoch=1)


def grant_of(effects):
    (grant,) = only(effects, Grant)
    return grant


def test_an_invocation_goes_to_a_pilot_that_is_there_already(dispatcher):
    effects = dispatcher.pilot_arrived(arrival(), 0)
    assert only(effects, MovePilot)[0].event is PilotEvent.REGISTERED
    assert only(effects, Greet) == [Greet(pilot_id="p1", abandon=())]
    grant = grant_of(dispatcher.accept(work(), 1))
    assert (grant.pilot_id, grant.attempt, grant.resumed) == ("p1", 1, False)


def test_a_pilot_never_gets_more_than_it_has_room_for(dispatcher):
    dispatcher.pilot_arrived(arrival(cpus=2), 0)
    effects = dispatcher.accept_many([work(f"i{n}") for n in range(5)], 1)
    assert len(only(effects, Grant)) == 2


def test_a_result_is_committed_once_and_acknowledged_every_time(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(), 1))
    first = dispatcher.finished("p1", "i1", grant.fence, None, 2)
    assert only(first, Conclude)[0].state is InvocationState.SUCCEEDED
    again = dispatcher.finished("p1", "i1", grant.fence, None, 3)
    assert not only(again, Conclude)
    assert only(again, Acknowledge)


def test_a_result_under_an_old_token_changes_nothing(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    old = grant_of(dispatcher.accept(work(), 1))
    dispatcher.disconnected("p1", 1)
    dispatcher.pilot_arrived(arrival("p2"), 1)
    new = next(grant for now in (1, 2, 3, 4) for grant in only(dispatcher.tick(now), Grant))
    assert new.fence > old.fence
    assert not only(dispatcher.finished("p1", "i1", old.fence, None, 6), Conclude)
    assert only(dispatcher.finished("p2", "i1", new.fence, None, 7), Conclude)


def test_a_silent_pilot_is_lost_after_the_lease_and_its_work_resumes_from_the_checkpoint(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(), 0))
    assert only(dispatcher.checkpointed("p1", "i1", grant.fence, 1, 1), KeepCheckpoint)
    dispatcher.pilot_arrived(arrival("p2", cpus=1), 1)
    for now in (2, 3, 3.9):
        assert dispatcher.heartbeat("p2", LONG, now) == []
        assert dispatcher.tick(now) == []
    effects = dispatcher.tick(4.0)
    assert only(effects, MovePilot)[0].event is PilotEvent.SILENT
    assert only(effects, Requeue)[0].end is ActivationEnd.PILOT_LOST
    again = grant_of(effects)
    assert (again.pilot_id, again.resumed, again.attempt) == ("p2", True, 2)


def test_a_lost_pilot_that_comes_back_is_told_to_leave(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.tick(3.5)
    dispatcher.tick(4.2)
    held = (Held(invocation_id="i1", fence=3),)
    effects = dispatcher.pilot_arrived(arrival(held=held), 5)
    assert only(effects, Greet)[0].abandon == held
    assert only(effects, SendDrain)[0].reason is DrainReason.DISMISSED


def test_a_gateway_that_slept_does_not_blame_the_pilots(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.tick(0.25)
    assert dispatcher.tick(60) == []


def test_evicted_work_goes_before_everything_that_waits(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work("evicted"), 0))
    dispatcher.accept(work("waits"), 1)
    dispatcher.draining("p1", DrainReason.EVICTED, 2)
    dispatcher.given_back("p1", "evicted", grant.fence, ActivationEnd.EVICTED, 2)
    assert grant_of(dispatcher.pilot_arrived(arrival("p2"), 3)).invocation_id == "evicted"


def test_a_draining_pilot_gets_nothing(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.draining("p1", DrainReason.WALLTIME, 1)
    assert dispatcher.accept(work(), 2) == []


def test_goodbye_after_an_eviction_makes_the_pilot_evicted_and_after_the_walltime_finished(dispatcher):
    for pilot, reason, event in [
        ("p1", DrainReason.EVICTED, PilotEvent.PREEMPTED),
        ("p2", DrainReason.WALLTIME, PilotEvent.FINISHED),
    ]:
        dispatcher.pilot_arrived(arrival(pilot), 0)
        dispatcher.draining(pilot, reason, 1)
        assert only(dispatcher.left(pilot, reason, 1), MovePilot)[0].event is event


def test_an_exception_is_retried_as_often_as_the_function_says(dispatcher):
    failure = Failure(kind=FailureKind.EXCEPTION, message="ValueError: no")
    dispatcher.pilot_arrived(arrival(), 0)
    first = grant_of(dispatcher.accept(work(max_retries=1), 0))
    effects = dispatcher.finished("p1", "i1", first.fence, failure, 1)
    assert only(effects, Requeue)[0].retries_used == 1
    second = grant_of(effects)
    (end,) = only(dispatcher.finished("p1", "i1", second.fence, failure, 2), Conclude)
    assert (end.state, end.failure) == (InvocationState.FAILED, failure)


def test_eviction_does_not_spend_the_users_retries(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(max_retries=1), 0))
    for _ in range(5):
        effects = dispatcher.given_back("p1", "i1", grant.fence, ActivationEnd.EVICTED, 1)
        assert only(effects, Requeue)[0].retries_used == 0
        grant = grant_of(effects)


def test_an_invocation_that_kills_its_slot_three_times_is_poison(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(), 0))
    for _ in range(2):
        grant = grant_of(dispatcher.given_back("p1", "i1", grant.fence, ActivationEnd.SLOT_DIED, 1))
    (end,) = only(dispatcher.given_back("p1", "i1", grant.fence, ActivationEnd.SLOT_DIED, 1), Conclude)
    assert end.failure.kind is FailureKind.POISON


def test_a_slot_that_dies_on_a_leaving_pilot_is_no_sign_of_poison(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(), 0))
    dispatcher.draining("p1", DrainReason.EVICTED, 1)
    effects = dispatcher.given_back("p1", "i1", grant.fence, ActivationEnd.SLOT_DIED, 1)
    assert only(effects, Requeue)[0].deaths == 0


def test_cancel_is_final_at_once_and_keeps_the_room_until_the_slot_has_stopped(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(), 0))
    effects = dispatcher.cancel("i1", 1)
    assert only(effects, Conclude)[0].state is InvocationState.CANCELLED
    assert only(effects, Revoke)
    assert dispatcher.accept(work("i2"), 1) == []
    after = dispatcher.given_back("p1", "i1", grant.fence, ActivationEnd.CANCELLED, 2)
    assert not only(after, Conclude)
    assert grant_of(after).invocation_id == "i2"


def test_cancel_of_a_waiting_invocation_means_that_it_never_runs(dispatcher):
    dispatcher.accept(work(), 0)
    assert only(dispatcher.cancel("i1", 1), Conclude)
    assert not only(dispatcher.pilot_arrived(arrival(), 2), Grant)


def test_a_run_that_would_outlive_the_pilot_is_not_placed_there_unless_it_checkpoints(dispatcher):
    dispatcher.pilot_arrived(arrival(cpus=4, time_left_s=60), 0)
    assert dispatcher.accept(work("long", "long@1", walltime_s=120), 0) == []
    assert grant_of(dispatcher.accept(work("saves", "saves@1", walltime_s=120, checkpoints=True), 0))
    assert grant_of(dispatcher.accept(work("short", "short@1", walltime_s=30), 0))


def test_a_function_pickled_by_another_python_waits_for_a_pilot_that_has_it(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    assert dispatcher.accept(work(python="3.12"), 0) == []
    assert "runs Python 3.11" in explain(dispatcher, "i1", 1).summary


def test_shapes_take_turns_so_that_none_starves(dispatcher):
    dispatcher.accept_many([work(f"a{n}") for n in range(10)], 0)
    dispatcher.accept_many([work(f"b{n}", "g@1", walltime_s=5.0) for n in range(10)], 0)
    grants = only(dispatcher.pilot_arrived(arrival(cpus=6), 1), Grant)
    assert [grant.invocation_id[0] for grant in grants].count("b") == 3


def test_after_a_restart_held_work_goes_on_where_it_is(dispatcher):
    dispatcher.recover(work(fence=7, attempts=1, pilot_id="p1", is_started=True), 0)
    held = (Held(invocation_id="i1", fence=7, is_started=True),)
    effects = dispatcher.pilot_arrived(arrival(held=held), 1)
    assert only(effects, Greet)[0].abandon == ()
    assert not only(effects, Grant)
    assert only(dispatcher.finished("p1", "i1", 7, None, 2), Conclude)


def test_after_a_restart_a_grant_that_was_not_written_down_is_believed(dispatcher):
    dispatcher.recover(work(), 0)
    held = (Held(invocation_id="i1", fence=9, is_started=True),)
    effects = dispatcher.pilot_arrived(arrival(held=held), 1)
    grant = grant_of(effects)
    assert (grant.adopted, grant.fence) == (True, 9)
    assert only(effects, Greet)[0].abandon == ()


def test_a_lease_that_never_reached_its_pilot_is_given_again(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    lost = grant_of(dispatcher.accept(work(), 0))
    dispatcher.disconnected("p1", 1)
    again = grant_of(dispatcher.pilot_arrived(arrival(), 2))
    assert again.fence > lost.fence


def test_after_a_restart_pilots_have_the_recovery_time_to_call():
    settings = DispatcherSettings(recovery=timedelta(seconds=15))
    dispatcher = Dispatcher(settings, epoch=2)
    dispatcher.recover(work(fence=7, attempts=1, pilot_id="p1"), 0)
    assert [t for t in range(20) if only(dispatcher.tick(t), Requeue)] == [15]


def test_tokens_of_a_later_life_are_greater(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    first = grant_of(dispatcher.accept(work(), 0))
    later = Dispatcher(DispatcherSettings(), epoch=2)
    later.pilot_arrived(arrival(), 0)
    assert grant_of(later.accept(work(), 0)).fence > first.fence


def test_an_admins_eviction_reaches_a_pilot_that_was_away(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.disconnected("p1", 1)
    dispatcher.evict("p1", DrainReason.ASKED, 1)
    assert only(dispatcher.pilot_arrived(arrival(), 2), SendDrain)


def test_the_explanation_says_why_nothing_happens(dispatcher):
    dispatcher.accept(work(), 0)
    assert explain(dispatcher, "i1", 1).summary == "It waits: no pilot is alive."
    dispatcher.pilot_arrived(arrival(time_left_s=2), 1)
    assert "has only 1 s left" in explain(dispatcher, "i1", 2).summary


def test_a_cut_off_pilot_that_the_scheduler_has_ended_is_given_up_at_once(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant = grant_of(dispatcher.accept(work(), 0))
    dispatcher.pilot_arrived(arrival("p2"), 0)
    dispatcher.disconnected("p1", 1)
    effects = dispatcher.ended("p1", PilotState.LOST, 1)
    assert only(effects, Requeue)[0].end is ActivationEnd.PILOT_LOST
    assert not only(effects, MovePilot), "whoever told it has written it down"
    again = grant_of(effects)
    assert (again.pilot_id, again.attempt) == ("p2", 2)
    assert dispatcher.ended("p1", PilotState.LOST, 1) == []
    held = (Held(invocation_id="i1", fence=grant.fence, is_started=True),)
    assert only(dispatcher.pilot_arrived(arrival(held=held), 2), Greet)[0].abandon == held


def test_work_of_a_pilot_that_had_to_leave_is_evicted_when_the_scheduler_has_ended_it(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    grant_of(dispatcher.accept(work(), 0))
    dispatcher.draining("p1", DrainReason.EVICTED, 1)
    dispatcher.disconnected("p1", 1)
    assert only(dispatcher.ended("p1", PilotState.LOST, 1), Requeue)[0].end is ActivationEnd.EVICTED


def test_a_pilot_that_is_connected_lives_whatever_the_scheduler_says(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.accept(work(), 0)
    assert dispatcher.ended("p1", PilotState.LOST, 1) == []
    assert dispatcher.pilot("p1") is not None
    assert dispatcher.ended("nobody", PilotState.LOST, 1) == []


def test_after_a_restart_a_pilot_that_ended_meanwhile_does_not_cost_the_recovery_time(dispatcher):
    dispatcher.recover(work(fence=7, attempts=1, pilot_id="p1", is_started=True), 0)
    assert only(dispatcher.ended("p1", PilotState.LOST, 0.5), Requeue)[0].fence == 7


def test_a_pilot_that_broke_ends_failed(dispatcher):
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.draining("p1", DrainReason.BROKEN, 1)
    assert only(dispatcher.left("p1", DrainReason.BROKEN, 1), MovePilot)[0].event is PilotEvent.FAILED


def test_the_pilots_gone_last_are_remembered_and_no_more_of_them(dispatcher):
    for number in range(GONE + 1):
        dispatcher.pilot_arrived(arrival(f"p{number}"), 0)
        dispatcher.left(f"p{number}", DrainReason.WALLTIME, 0)
    assert only(dispatcher.pilot_arrived(arrival("p1"), 1), SendDrain)[0].reason is DrainReason.DISMISSED
    assert not only(dispatcher.pilot_arrived(arrival("p0"), 1), SendDrain), "the store knows that it is over"
