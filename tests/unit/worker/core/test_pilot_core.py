"""The session: single decisions first, then any order of stimuli."""

from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.sessions import HOST, LIMITED, PILOT, PLAIN, RESUMABLE, WELCOME, ack, death, lease, linked, of, saved, sent

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.model.pilots import DrainReason
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.payload.calls import encode_calls
from harvester.domain.protocol import wire
from harvester_worker.core.activations import Death
from harvester_worker.core.effects import (
    HandOver,
    KillSlot,
    Leave,
    LookAtBlobs,
    Reconnect,
    Send,
    ShareBlobs,
    Start,
    StopSlot,
    TakeBack,
)
from harvester_worker.core.leases import AHEAD, STALL_S
from harvester_worker.core.pilot_core import PATIENCE_S, PilotCore
from harvester_worker.core.reporter import LINGER_S
from harvester_worker.ipc.slot_messages import RunEnded


def test_a_lease_that_fits_is_started_at_once_and_told_a_moment_later():
    session = linked()
    effects = session.received([lease(gpus=1)], 0.5)
    assert [(e.lease.invocation_id, e.gpus) for e in of(effects, Start)] == [("i", ("0",))]
    assert sent(effects) == []
    assert session.next_at == 0.5 + LINGER_S
    assert sent(session.tick(session.next_at)) == [wire.Started(invocation_id="i", fence=1)]


def test_a_run_that_is_over_at_once_is_told_of_by_its_end_alone():
    session = linked()
    session.received([lease()], 0.5)
    effects = session.ended([(("i", 1), RunEnded(value=b"1", duration_s=0.001))], 0.501)
    assert sent(effects) == [wire.Finished(invocation_id="i", fence=1, value=b"1", duration_s=0.001)]
    assert sent(session.tick(0.6)) == []


def test_a_checkpoint_is_told_after_the_beginning():
    session = linked()
    session.received([lease()], 0.5)
    effects = session.checkpointed(("i", 1), saved(b"s"), 0.501)
    assert [type(m) for m in sent(effects)] == [wire.Started, wire.Checkpoint]


def test_a_large_lease_that_waits_is_not_starved_by_small_ones():
    session = linked()
    session.received([lease("a"), lease("large", cpus=2)], 1.0)
    assert of(session.received([lease("small")], 2.0), Start) == []
    started = of(session.ended([(("a", 1), RunEnded())], 3.0), Start)
    assert [e.lease.invocation_id for e in started] == ["large"]


def test_a_lease_that_waits_for_a_device_lets_others_pass():
    session = linked()
    session.received([lease("a", cpus=0, gpus=2), lease("b", cpus=1, gpus=1)], 1.0)
    assert [e.lease.invocation_id for e in of(session.received([lease("c")], 2.0), Start)] == ["c"]


def test_a_lease_that_can_never_fit_or_names_unknown_code_is_given_back():
    stranger = msgspec.structs.replace(PLAIN, function_id="stranger@1")
    effects = linked().received([lease("large", cpus=3), lease("strange", function=stranger)], 1.0)
    assert [m.end for m in sent(effects)] == [ActivationEnd.UNSTARTED] * 2


def test_a_repeated_lease_changes_nothing():
    session = linked()
    session.received([lease()], 1.0)
    assert of(session.received([lease()], 2.0), Start) == []
    session.ended([(("i", 1), RunEnded())], 3.0)
    assert session.received([lease()], 4.0) == []


def test_an_eviction_gives_back_the_unstarted_and_asks_the_running():
    session = linked()
    session.received([lease("a", function=RESUMABLE), lease("b"), lease("c")], 1.0)
    session.tick(2.0)
    effects = session.leave(DrainReason.EVICTED, 10.0)
    assert sent(effects) == [
        wire.Draining(reason=DrainReason.EVICTED),
        wire.GivenBack(invocation_id="c", fence=1, end=ActivationEnd.UNSTARTED),
    ]
    assert {e.key[0]: e.within_s for e in of(effects, HandOver)} == {"a": PILOT.handover_s, "b": PILOT.finish_s}


def test_at_an_eviction_the_deadlines_kill_and_give_back():
    session = linked()
    session.received([lease("a", function=RESUMABLE), lease("b")], 1.0)
    session.leave(DrainReason.EVICTED, 10.0)
    session.tick(10.9)
    assert session.next_at == 11.0
    effects = session.tick(11.0)
    assert [e.key[0] for e in of(effects, KillSlot)] == ["b"]
    assert sent(effects, wire.GivenBack) == [
        wire.GivenBack(invocation_id="b", fence=1, end=ActivationEnd.EVICTED),
    ]
    assert [e.key[0] for e in of(session.tick(15.0), KillSlot)] == ["a"]


def test_a_short_grace_time_cuts_every_deadline():
    session = linked(pilot=msgspec.structs.replace(PILOT, grace_s=2.0))
    session.received([lease(function=RESUMABLE)], 1.0)
    session.leave(DrainReason.EVICTED, 10.0)
    effects = session.tick(11.0)
    assert of(effects, KillSlot)
    assert of(session.tick(11.5), Leave), "before the scheduler kills, whatever is unacknowledged"


def test_a_pilot_leaves_when_the_last_report_is_acknowledged():
    session = linked()
    session.received([lease(function=RESUMABLE)], 1.0)
    session.leave(DrainReason.EVICTED, 10.0)
    assert sent(session.checkpointed(("i", 1), saved(b"s"), 10.1), wire.Checkpoint)
    assert not of(session.ended([(("i", 1), RunEnded(is_evicted=True))], 10.1), Leave)
    assert not of(session.received([ack(wire.AckKind.CHECKPOINT, seq=1)], 10.2), Leave)
    effects = session.received([ack(wire.AckKind.GIVEN_BACK)], 10.3)
    assert sent(effects) == [wire.Goodbye(reason=DrainReason.EVICTED)]
    assert of(effects, Leave)


def test_an_evicted_pilot_stays_for_a_moment_so_that_those_that_wait_can_be_held_before_its_node_is_free():
    session = linked(pilot=msgspec.structs.replace(PILOT, linger_s=0.25))
    assert sent(session.leave(DrainReason.EVICTED, 10.0)) == [wire.Draining(reason=DrainReason.EVICTED)]
    assert not of(session.tick(10.2), Leave)
    assert session.next_at == 10.25
    assert of(session.tick(10.25), Leave)
    other = linked(pilot=msgspec.structs.replace(PILOT, linger_s=0.25))
    assert of(other.leave(DrainReason.ASKED, 10.0), Leave), "nobody waits for its node"


def test_nobody_lingers_into_the_kill():
    session = linked(pilot=msgspec.structs.replace(PILOT, linger_s=60.0, grace_s=2.0))
    session.leave(DrainReason.EVICTED, 10.0)
    assert of(session.tick(11.5), Leave)


def test_a_silent_gateway_delays_the_leave_by_two_seconds_only():
    session = linked()
    session.received([lease()], 1.0)
    session.leave(DrainReason.EVICTED, 10.0)
    session.ended([(("i", 1), RunEnded(value=b"1"))], 10.5)
    assert not of(session.tick(12.4), Leave)
    assert of(session.tick(12.6), Leave)


def test_asked_and_then_evicted_becomes_more_urgent():
    session = linked(pilot=msgspec.structs.replace(PILOT, finish_s=3.0, grace_s=2.0))
    session.received([lease()], 1.0)
    session.leave(DrainReason.ASKED, 10.0)
    effects = session.leave(DrainReason.EVICTED, 10.5)
    assert sent(effects) == [wire.Draining(reason=DrainReason.EVICTED)]
    assert of(session.tick(11.5), KillSlot)


def test_the_walltime_drain_lets_plain_functions_run_until_nearly_the_end():
    session = linked(end_at=100.0)
    session.received([lease("a", function=RESUMABLE), lease("b")], 1.0)
    assert session.next_at <= 85.0
    effects = session.tick(85.0)
    assert sent(effects, wire.Draining) == [wire.Draining(reason=DrainReason.WALLTIME)]
    assert of(effects, HandOver)
    assert not of(session.tick(95.0), KillSlot)
    assert len(of(session.tick(96.0), KillSlot)) == 2


def test_a_signal_near_the_end_is_the_walltimes_and_as_urgent():
    session = linked(end_at=100.0)
    session.received([lease()], 1.0)
    session.tick(85.0)
    session.leave(DrainReason.EVICTED, 86.0)
    assert session.drain is not None
    assert session.drain.reason is DrainReason.WALLTIME
    assert of(session.tick(87.0), KillSlot)


def test_a_dead_slot_is_told_and_during_a_drain_it_was_evicted():
    session = linked()
    session.received([lease("a"), lease("b")], 1.0)
    assert sent(session.slot_died(death(("a", 1)), 2.0), wire.GivenBack)[0].end is ActivationEnd.SLOT_DIED
    session.leave(DrainReason.EVICTED, 10.0)
    assert sent(session.slot_died(death(("b", 1)), 10.1), wire.GivenBack)[0].end is ActivationEnd.EVICTED


def test_a_function_that_breaks_under_the_schedulers_signal_was_evicted():
    failure = Failure(kind=FailureKind.EXCEPTION, message="solver died")
    session = linked()
    session.received([lease("a"), lease("b")], 1.0)
    early = session.ended([(("a", 1), RunEnded(failure=failure, is_signalled=True))], 2.0)
    assert sent(early)[0].end is ActivationEnd.EVICTED
    session.leave(DrainReason.EVICTED, 2.0)
    assert sent(session.ended([(("b", 1), RunEnded(failure=failure))], 2.1))[0].end is ActivationEnd.EVICTED


def test_a_cancelled_function_is_stopped_then_killed_and_its_room_is_free_when_it_is_dead():
    session = linked()
    session.received([lease(cpus=2)], 1.0)
    cancel = wire.Cancel(invocation_id="i", fence=1)
    assert of(session.received([cancel], 2.0), StopSlot)
    assert of(session.received([cancel], 2.1), StopSlot) == []
    effects = session.tick(3.0)
    assert sent(effects, wire.GivenBack)[0].end is ActivationEnd.CANCELLED
    assert of(session.received([lease("next")], 3.0), Start) == []
    assert of(session.slot_died(death(("i", 1)), 3.1), Start)


def test_a_declared_walltime_ends_in_a_failure():
    session = linked()
    session.received([lease(function=LIMITED)], 1.0)
    effects = session.tick(21.0)
    assert of(effects, KillSlot)
    assert sent(effects, wire.Finished)[0].failure.kind is FailureKind.WALLTIME


def test_what_is_unacknowledged_is_sent_again_on_a_new_connection_unless_abandoned():
    session = linked()
    session.received([lease("a"), lease("b")], 1.0)
    session.ended([(("a", 1), RunEnded(value=b"1"))], 2.0)
    session.checkpointed(("b", 1), saved(b"s"), 2.0)
    session.unlinked(3.0)
    assert {held.invocation_id for held in session.hello(3.0).held} == {"a", "b"}
    again = sent(session.received([WELCOME], 4.0))
    assert [type(m) for m in again] == [wire.Finished, wire.Checkpoint]
    abandon = (wire.Held(invocation_id="a", fence=1), wire.Held(invocation_id="b", fence=1))
    session.unlinked(5.0)
    effects = session.received([wire.Welcome(heartbeat_s=1.0, lease_s=5.0, abandon=abandon)], 6.0)
    assert sent(effects) == []
    assert of(effects, KillSlot) == [KillSlot(key=("b", 1))]
    assert session.hello(7.0).held == ()


def test_one_checkpoint_is_on_its_way_at_a_time_in_quiet_times():
    session = linked()
    session.received([lease()], 1.0)
    assert sent(session.checkpointed(("i", 1), saved(b"1"), 2.0), wire.Checkpoint)[0].seq == 1
    assert sent(session.checkpointed(("i", 1), saved(b"2"), 3.0)) == []
    assert sent(session.checkpointed(("i", 1), saved(b"3"), 4.0)) == []
    assert sent(session.received([ack(wire.AckKind.CHECKPOINT, seq=1)], 5.0))[0].state == b"3"


def test_a_pilot_that_was_stopped_for_longer_than_a_lease_connects_again():
    session = linked()
    assert of(session.tick(1.0), Send)
    assert session.tick(60.0) == [Reconnect()]


def test_a_pilot_without_gateway_and_work_leaves_after_a_while():
    session = PilotCore(PILOT, HOST, (), now=0.0, end_at=10_000.0)
    assert session.tick(PATIENCE_S - 1) == []
    assert of(session.tick(PATIENCE_S), Leave)


def test_a_dismissed_pilot_drops_everything_and_leaves():
    session = linked()
    session.received([lease()], 1.0)
    effects = session.received([wire.Drain(reason=DrainReason.DISMISSED)], 2.0)
    assert of(effects, KillSlot)
    assert of(effects, Leave)
    assert sent(effects, wire.GivenBack | wire.Finished) == []


def short(*, cpus=2):
    """Return a session that knows the plain function as a short one and runs it in a slot of so many CPUs."""
    session = linked()
    session.received([lease("first", cpus=cpus)], 0.0)
    session.ended([(("first", 1), RunEnded(duration_s=0.0001))], 0.1)
    assert of(session.received([lease("head", cpus=cpus)], 0.2), Start)
    return session


def queue(session, *names, at=0.2, cpus=2):
    effects = session.received([lease(name, cpus=cpus) for name in names], at)
    return [(e.lease.invocation_id, e.behind[0]) for e in of(effects, Start)]


def begun(session):
    """Return what `Hello` tells, as names: what has begun and what has not."""
    held = session.hello(0.0).held
    return [h.invocation_id for h in held if h.is_started], [h.invocation_id for h in held if not h.is_started]


def test_short_runs_are_queued_at_a_slot_and_follow_one_another_without_the_room_changing_hands():
    session = short()
    assert queue(session, "a", "b") == [("a", "head"), ("b", "head")]
    assert begun(session) == (["head", "first"], ["a", "b"])
    effects = session.ended([(("head", 1), RunEnded()), (("a", 1), RunEnded())], 0.201)
    assert [m.invocation_id for m in sent(effects, wire.Finished)] == ["head", "a"]
    assert begun(session)[0] == ["b", "first", "head", "a"], "the last three are told and not acknowledged"
    assert of(effects, Start) == []


def test_no_more_is_queued_than_a_slot_can_do_in_a_moment():
    session = short()
    assert len(queue(session, *(f"i{number}" for number in range(2 * AHEAD)))) == AHEAD
    slow = linked()
    slow.received([lease("first", cpus=2)], 0.0)
    slow.ended([(("first", 1), RunEnded(duration_s=0.002))], 0.1)
    slow.received([lease("head", cpus=2)], 0.2)
    assert len(queue(slow, "a", "b", "c")) == 1, "2 ms of the one that runs, and 2 of one behind it"


def test_a_function_that_nobody_has_seen_or_that_takes_long_is_not_queued_at_a_slot():
    session = linked()
    session.received([lease("head", cpus=2)], 0.0)
    assert queue(session, "unknown") == []
    session.ended([(("head", 1), RunEnded(duration_s=1.0))], 0.3)
    assert queue(session, "long", at=0.3) == []


def test_nothing_is_queued_past_one_that_waits_for_room():
    session = linked()
    session.received([lease("first")], 0.0)
    session.ended([(("first", 1), RunEnded(duration_s=0.0001))], 0.1)
    session.received([lease("a"), lease("b"), lease("large", cpus=2)], 0.2)
    assert queue(session, "small", cpus=1) == []


def test_what_is_queued_behind_a_run_that_turns_out_long_is_taken_back_for_other_slots():
    session = short(cpus=1)
    session.received([lease("other")], 0.2)
    queue(session, "a", "b", "c", "d", cpus=1)
    session.tick(0.21)
    effects = session.tick(0.2 + STALL_S)
    assert of(effects, TakeBack) == [TakeBack(key=("head", 1)), TakeBack(key=("other", 1))]
    session.ended([(("other", 1), RunEnded())], 0.23)
    effects = session.taken_back([("a", 1), ("c", 1)], 0.23)
    assert {e.behind for e in of(effects, Start)} <= {("b", 1), ("d", 1)}, "not behind the long one again"
    assert len(of(effects, Start)) == 2


def test_at_a_drain_what_is_queued_at_a_slot_goes_back_unstarted():
    session = short()
    queue(session, "a", "b", "c")
    effects = session.leave(DrainReason.EVICTED, 0.201)
    assert of(effects, TakeBack) == [TakeBack(key=("head", 1))]
    effects = session.taken_back([("b", 1), ("c", 1)], 0.201)
    assert {m.invocation_id: m.end for m in sent(effects)} == dict.fromkeys("bc", ActivationEnd.UNSTARTED)
    effects = session.ended([(("head", 1), RunEnded())], 0.202)
    assert [e.key for e in of(effects, HandOver)] == [("a", 1)], "the slot had begun it before it could be taken back"


def test_a_recalled_lease_goes_back_if_it_has_not_begun_and_runs_on_if_it_has():
    session = short()
    queue(session, "a", "b")
    session.received([lease("waits", function=RESUMABLE, cpus=2)], 0.2)
    for name in ("head", "a", "waits"):
        effects = session.received([wire.Recall(invocation_id=name, fence=1)], 0.201)
        ends = [m.end for m in sent(effects, wire.GivenBack)]
        assert ends == ([ActivationEnd.UNSTARTED] if name == "waits" else [])
        assert of(effects, TakeBack) == ([TakeBack(key=("head", 1))] if name == "a" else [])
    effects = session.taken_back([("a", 1), ("b", 1)], 0.202)
    assert sent(effects) == [wire.GivenBack(invocation_id="a", fence=1, end=ActivationEnd.UNSTARTED)]
    assert begun(session)[1] == ["b"]
    assert of(session.ended([(("head", 1), RunEnded())], 0.203), Start), "b, in a slot of its own"


def test_a_cancelled_activation_that_a_slot_has_begun_meanwhile_is_stopped():
    session = short()
    queue(session, "a", "b")
    cancels = [wire.Cancel(invocation_id=name, fence=1) for name in ("a", "b")]
    assert len(of(session.received(cancels, 0.201), TakeBack)) == 2
    effects = session.taken_back([("b", 1)], 0.201)
    assert sent(effects) == [wire.GivenBack(invocation_id="b", fence=1, end=ActivationEnd.CANCELLED)]
    assert of(session.ended([(("head", 1), RunEnded())], 0.202), StopSlot) == [StopSlot(key=("a", 1))]


def test_a_dead_slot_is_blamed_on_the_run_that_it_was_at_and_the_others_wait_again():
    session = short()
    queue(session, "a", "b")
    dead = death(("head", 1), ("a", 1), ("b", 1), begun=2, blamed=("a", 1))
    effects = session.slot_died(dead, 0.21)
    assert [(m.invocation_id, m.end) for m in sent(effects)] == [("a", ActivationEnd.SLOT_DIED)]
    assert [(e.lease.invocation_id, e.behind) for e in of(effects, Start)] == [("head", None)]
    effects = session.ended([(("head", 1), RunEnded())], 0.22)
    assert [(e.lease.invocation_id, e.behind) for e in of(effects, Start)] == [("b", None)], (
        "nothing is queued behind one whose end was lost once"
    )


def held_up(count):
    """Return a session whose only slot is at the last of so many, which keeps it from telling the ends before it."""
    session = linked()
    session.received([lease("first", function=LIMITED, cpus=2)], 0.0)
    session.ended([(("first", 1), RunEnded(duration_s=0.0001))], 0.1)
    session.received([lease(f"i{number}", function=LIMITED, cpus=2) for number in range(count)], 0.2)
    assert of(session.tick(0.2 + STALL_S), TakeBack) == [TakeBack(key=("i0", 1))]
    session.taken_back([], 0.2 + STALL_S)  # all had begun
    return session


def test_a_run_whose_end_the_next_one_holds_back_has_not_run_for_too_long():
    session = held_up(2)
    assert sent(session.tick(21.0), wire.Finished) == []
    effects = session.ended([(("i0", 1), RunEnded(value=b"in time")), (("i1", 1), RunEnded())], 40.0)
    assert [(m.invocation_id, m.failure) for m in sent(effects, wire.Finished)] == [("i0", None), ("i1", None)]


def test_a_run_that_holds_back_the_ends_before_it_is_ended_by_its_own_walltime():
    session = held_up(3)
    assert sent(session.tick(21.0)) == []
    assert of(session.tick(40.0), KillSlot) == []
    effects = session.tick(41.1)
    (finished,) = sent(effects, wire.Finished)
    assert (finished.invocation_id, finished.failure.kind) == ("i2", FailureKind.WALLTIME)
    assert of(effects, KillSlot) == [KillSlot(key=("i0", 1))]
    dead = death(("i0", 1), ("i1", 1), ("i2", 1), begun=3, blamed=("i2", 1))
    effects = session.slot_died(dead, 41.2)
    assert sent(effects) == []
    assert [e.lease.invocation_id for e in of(effects, Start)] == ["i0"]
    effects = session.ended([(("i0", 1), RunEnded())], 41.3)
    assert [e.lease.invocation_id for e in of(effects, Start)] == ["i1"]


def test_nothing_is_queued_at_a_slot_of_another_owner_or_function():
    session = short()
    session.ended([(("head", 1), RunEnded(duration_s=0.0001))], 0.15)
    session.received([lease("warm", function=RESUMABLE, cpus=2)], 0.15)
    session.ended([(("warm", 1), RunEnded(duration_s=0.0001))], 0.16)
    same, owners = lease("same", cpus=2), msgspec.structs.replace(lease("owners", cpus=2), owner="somebody else")
    other = lease("function", function=RESUMABLE, cpus=2)
    effects = session.received([lease("front", cpus=2), same, owners, other], 0.2)
    assert [(e.lease.invocation_id, e.behind) for e in of(effects, Start)] == [("front", None), ("same", ("front", 1))]
    effects = session.ended([(("front", 1), RunEnded()), (("same", 1), RunEnded())], 0.201)
    assert [(e.lease.invocation_id, e.behind) for e in of(effects, Start)] == [("owners", None)]
    effects = session.ended([(("owners", 1), RunEnded())], 0.202)
    assert [(e.lease.invocation_id, e.behind) for e in of(effects, Start)] == [("function", None)]


def test_forgotten_code_is_not_run_and_what_is_at_work_with_it_goes_on():
    session = linked()
    session.received([lease("a", cpus=2), lease("b", cpus=2), wire.Forget(function_id=PLAIN.function_id)], 0.1)
    effects = session.received([lease("c", cpus=2)], 0.1)
    assert [(m.invocation_id, m.end) for m in sent(effects)] == [("c", ActivationEnd.UNSTARTED)]
    effects = session.ended([(("a", 1), RunEnded())], 0.2)
    assert [e.lease.invocation_id for e in of(effects, Start)] == ["b"]


def test_a_new_connection_begins_without_code():
    session = linked()
    session.unlinked(0.1)
    effects = session.received([WELCOME, lease("a")], 0.2)
    assert [m.end for m in sent(effects, wire.GivenBack)] == [ActivationEnd.UNSTARTED]


def test_a_cancelled_activation_whose_slot_dies_before_it_began_is_cancelled():
    session = short()
    session.received([wire.Cancel(invocation_id="head", fence=1)], 0.2)
    effects = session.slot_died(death(("head", 1), begun=0, blamed=None), 0.21)
    assert sent(effects) == [wire.GivenBack(invocation_id="head", fence=1, end=ActivationEnd.CANCELLED)]


def test_many_calls_in_one_invocation_may_take_as_long_as_each_of_them_together():
    session = linked()
    chunk = msgspec.structs.replace(lease(function=LIMITED), encoding=Encoding.CALLS, arguments=encode_calls([b""] * 3))
    session.received([chunk], 0.0)
    session.leave(DrainReason.WALLTIME, 0.0)
    assert of(session.tick(59.0), KillSlot) == []
    assert sent(session.tick(60.0), wire.Finished)[0].failure.kind is FailureKind.WALLTIME


def test_many_calls_in_a_file_may_take_as_long_as_each_of_them_together_once_the_slot_has_counted_them():
    session = linked()
    in_file = msgspec.structs.replace(
        lease(function=LIMITED), encoding=Encoding.CALLS, arguments=BlobRef(name="00/large-00-args", size=1)
    )
    session.received([wire.Welcome(heartbeat_s=1.0, lease_s=5.0, blobs="/b", blobs_mark="m", blob_bytes=1)], 0.5)
    session.blobs_seen("/b", "m", 0.5)
    assert of(session.received([in_file], 1.0), Start)
    session.counted(("i", 1), 3, 2.0)
    assert not of(session.tick(61.9), KillSlot)
    effects = session.tick(62.1)
    assert of(effects, KillSlot)
    (finished,) = sent(effects, wire.Finished)
    assert finished.failure.kind is FailureKind.WALLTIME


def test_many_calls_are_resumable_whatever_the_function_declares():
    session = linked()
    session.received([msgspec.structs.replace(lease(), encoding=Encoding.CALLS)], 0.0)
    assert [e.within_s for e in of(session.leave(DrainReason.EVICTED, 1.0), HandOver)] == [PILOT.handover_s]


BLOBS = msgspec.structs.replace(WELCOME, blobs="/shared", blobs_mark="m", blob_bytes=1000)
BY_REFERENCE = msgspec.structs.replace(lease("blob"), arguments=BlobRef(name="aa/blob-args", size=5))


def test_a_pilot_shares_the_directory_that_it_has_seen():
    session = linked()
    assert of(session.received([BLOBS], 0.1), LookAtBlobs) == [LookAtBlobs(directory="/shared", mark="m")]
    assert sent(session.received([BY_REFERENCE], 0.1))[0].end is ActivationEnd.UNSTARTED
    effects = session.blobs_seen("/shared", "m", 0.2)
    assert of(effects, ShareBlobs) == [ShareBlobs(directory="/shared", mark="m", blob_bytes=1000)]
    assert sent(effects) == [wire.SharesBlobs()]
    again = msgspec.structs.replace(BY_REFERENCE, fence=2)
    assert of(session.received([again], 0.3), Start)


def test_a_look_that_was_answered_too_late_shares_nothing():
    session = linked()
    session.received([BLOBS], 0.1)
    session.received([msgspec.structs.replace(BLOBS, blobs_mark="another")], 0.2)
    assert session.blobs_seen("/shared", "m", 0.3) == []


def test_a_result_by_reference_is_told_to_a_gateway_that_came_back_only_after_the_sharing():
    session = linked()
    session.received([BLOBS], 0.1)
    session.blobs_seen("/shared", "m", 0.2)
    session.received([lease("a")], 0.3)
    session.unlinked(0.4)
    session.ended([(("a", 1), RunEnded(value=BlobRef(name="aa/a-r1", size=5)))], 0.5)
    session.hello(0.6)
    assert [type(message) for message in sent(session.received([BLOBS], 0.7))] == [wire.SharesBlobs, wire.Finished]
    session.unlinked(0.8)
    session.hello(0.9)
    elsewhere = msgspec.structs.replace(BLOBS, blobs_mark="another")
    assert wire.SharesBlobs() not in sent(session.received([elsewhere], 1.0))


def test_a_pilot_that_loses_the_directory_gives_the_work_back_and_calls_anew():
    session = linked()
    session.received([BLOBS], 0.1)
    session.blobs_seen("/shared", "m", 0.2)
    leases = [msgspec.structs.replace(BY_REFERENCE, invocation_id=name) for name in ("a", "b", "c")]
    session.received(leases, 0.3)
    effects = session.ended([(("a", 1), RunEnded(is_unshared=True))], 0.4)
    assert {m.invocation_id: m.end for m in sent(effects, wire.GivenBack)} == {
        "a": ActivationEnd.UNSTARTED,
        "c": ActivationEnd.UNSTARTED,
    }
    assert [type(e) for e in effects if isinstance(e, ShareBlobs | Reconnect)] == [ShareBlobs, Reconnect]


class Slot:
    """A slot as the agent sees it: what was sent there and not ended, in order."""

    def __init__(self, gpus):
        self.gpus = gpus
        self.keys: list[Any] = []
        self.untold = 0  # of these, over and not told yet
        self.is_doomed = False
        self.has_waited = False  # for others: its CPU may be somebody else's too

    @property
    def begun(self):
        return self.keys[: self.untold + 1]


class World:
    """Everything around a session, as far as it can break a promise."""

    def __init__(self):
        self.now = 0.0
        self.session = linked(end_at=200.0)
        self.slots: list[Slot] = []
        self.reported: dict[Any, set[Any]] = {}
        self.leased: set[Any] = set()
        self.abandoned: set[Any] = set()
        self.blamed: set[Any] = set()
        self.count = 0
        self.link = True
        self.is_busy = False  # a slot cannot be asked what it has begun
        self.left_at: float | None = None

    def slot_of(self, key):
        return next(slot for slot in self.slots if key in slot.keys)

    def perform(self, effects):
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            assert self.left_at is None or isinstance(effect, TakeBack), "nothing follows Leave"
            match effect:
                case Start():
                    self.start(effect)
                case TakeBack():
                    slot = self.slot_of(effect.key)
                    taken = [] if self.is_busy else slot.keys[len(slot.begun) :]
                    slot.keys = slot.keys[: len(slot.keys) - len(taken)]
                    todo += self.session.taken_back(taken, self.now)
                case KillSlot():
                    self.slot_of(effect.key).is_doomed = True
                case Send(message=wire.Finished() | wire.GivenBack() as report):
                    assert self.link
                    key = (report.invocation_id, report.fence)
                    self.reported.setdefault(key, set()).add(report)
                    assert len(self.reported[key]) == 1, "two different ends of one activation"
                    if isinstance(report, wire.GivenBack) and report.end is ActivationEnd.SLOT_DIED:
                        assert key in self.blamed
                case Leave():
                    self.left_at = self.now
        self.check()

    def start(self, effect):
        key = (effect.lease.invocation_id, effect.lease.fence)
        assert not any(key in slot.keys for slot in self.slots), "run twice at a time"
        if effect.behind is not None:
            slot = self.slot_of(effect.behind)
            assert not slot.is_doomed
            assert slot.gpus == effect.gpus
        else:
            taken = {device for slot in self.slots for device in slot.gpus}
            assert not taken & set(effect.gpus), "a device was given to two slots"
            assert sum(not slot.has_waited for slot in self.slots) < PILOT.capacity.cpus
            slot = Slot(effect.gpus)
            self.slots.append(slot)
        assert len(slot.gpus) == effect.lease.resources.gpus
        slot.keys.append(key)

    def check(self):
        leases = self.session._leases
        held = {(h.invocation_id, h.fence) for h in leases.held()}
        settling = {(h.invocation_id, h.fence) for h in self.session._settling.held()}
        assert not held & settling, "held and over"
        in_use = [lane for lane in {a.at for a in leases.at_slot(held)} if not lane.is_lent]
        in_use += [activation.at for activation in leases.killed.values()]
        assert leases.room.cpus == PILOT.capacity.cpus - len(in_use)
        assert leases.waits.keys() <= leases.running.keys()
        assert leases.lent == sum(activation.at.is_lent for activation in leases.waits.values())
        assert not (held | settling) & set(self.session._reporter.outbox.reported), "held and reported"
        for activation in leases.running.values():
            lane = activation.at
            there = [each.key for each in (lane.head, *lane.queue)]
            assert self.slot_of(activation.key).keys == there, "the session thinks of another order than the slot has"

    def step(self, kind, pick, number):  # noqa: C901, PLR0912, PLR0915 - one line a kind of stimulus
        slot = self.slots[pick % len(self.slots)] if self.slots else None
        held = sorted((h.invocation_id, h.fence) for h in self.session._leases.held())
        key = held[pick % len(held)] if held else None
        match kind:
            case "lease":
                self.count += 1
                gpus = max(0, number - 7)
                made = lease(f"i{self.count}", function=[PLAIN, RESUMABLE, LIMITED][pick % 3], cpus=1, gpus=gpus)
                if self.link:
                    self.leased.add((made.invocation_id, 1))
                    self.perform(self.session.received([made], self.now))
            case "busy":
                self.is_busy = number % 2 == 0
            case "cancel" if key and self.link:
                self.perform(self.session.received([wire.Cancel(invocation_id=key[0], fence=1)], self.now))
            case "recall" if key and self.link:
                self.perform(self.session.received([wire.Recall(invocation_id=key[0], fence=1)], self.now))
            case "checkpoint" if slot and not slot.is_doomed:
                self.tell(slot, slot.untold)
                progress = msgspec.structs.replace(saved(b"s"), taken_at=self.now, had_descendants=number % 3 == 0)
                self.perform(self.session.checkpointed(slot.keys[0], progress, self.now))
            case "waits" if slot and not slot.is_doomed and not slot.untold:
                slot.has_waited = True
                self.perform(self.session.waits(slot.keys[0], self.now))
            case "goes on" if slot and not slot.is_doomed:
                self.perform(self.session.waits(slot.keys[0], self.now, is_over=True))
            case "over, untold" if slot:
                slot.untold = min(slot.untold + 1, len(slot.keys) - 1)
            case "ended" if slot and not slot.is_doomed:
                evicted = bool(self.session.drain) and number % 2 == 0
                self.tell(slot, slot.untold + 1, evicted=evicted, family=number % 3 == 0)
            case "died" if slot:
                self.die(slot, between_runs=number % 3 == 0)
            case "ack" if self.link and self.reported:
                reported = sorted(self.reported)
                key = reported[pick % len(reported)]
                kind = wire.AckKind.FINISHED
                self.perform(self.session.received([ack(kind, key[0])], self.now))
            case "cut":
                self.link = False
                self.perform(self.session.unlinked(self.now))
            case "link":
                self.link = True
                held = self.session.hello(self.now).held
                abandon = held[: number % 3]
                self.abandoned |= {(h.invocation_id, h.fence) for h in abandon}
                welcome = wire.Welcome(heartbeat_s=1.0, lease_s=5.0, abandon=abandon)
                self.perform(self.session.received([welcome], self.now))
            case "leave":
                reason = [DrainReason.EVICTED, DrainReason.ASKED, DrainReason.WALLTIME][pick % 3]
                self.perform(self.session.leave(reason, self.now))
            case "time":
                self.pass_time(number)
            case "moment":
                self.pass_time(number / 200)

    def tell(self, slot, count, *, evicted=False, family=False):
        if not count:
            return
        told, slot.keys = slot.keys[:count], slot.keys[count:]
        slot.untold = 0
        if not slot.keys:
            self.slots.remove(slot)
        ends = [(key, RunEnded(is_evicted=evicted, had_descendants=family, duration_s=0.0001)) for key in told]
        self.perform(self.session.ended(ends, self.now))

    def die(self, slot, *, between_runs):
        self.slots.remove(slot)
        blamed = None if between_runs else slot.keys[slot.untold]
        self.blamed.add(blamed)
        begun = slot.begun[:-1] if between_runs else slot.begun
        dead = Death(keys=tuple(slot.keys), begun=frozenset(begun), blamed=blamed)
        self.perform(self.session.slot_died(dead, self.now))

    def pass_time(self, seconds):
        until = self.now + seconds
        for _ in range(20_000):
            if self.left_at is not None or self.session.next_at > until:
                break
            before = self.session.next_at
            self.now = max(self.now, before)
            self.perform(self.session.tick(self.now))
            assert self.left_at is not None or self.session.next_at > before, "the timer turns without an end"
        self.now = max(self.now, until)
        if self.left_at is None:
            self.perform(self.session.tick(self.now))


KINDS = ["lease"] * 5 + ["ended"] * 3 + [
    "busy", "waits", "goes on", "cancel", "recall", "checkpoint", "over, untold", "died", "ack", "cut", "link", "leave",
    "time", "moment",
]  # fmt: skip


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9)), max_size=60))
@example([("lease", 0, 0), ("cut", 0, 0), ("leave", 1, 0), ("time", 0, 6), ("time", 0, 9)])  # it leaves, cut off
def test_whatever_happens_no_lease_is_lost_or_doubled_and_the_pilot_leaves_in_time(steps):
    world = World()
    for step in steps:
        if world.left_at is not None:
            break
        world.step(*step)
    is_heard = world.left_at is None or world.link
    if world.left_at is None:
        world.step("link", 0, 0)
    began_at = world.now
    world.perform(world.session.leave(DrainReason.EVICTED, world.now))
    world.pass_time(PILOT.grace_s)
    assert world.left_at is not None
    assert world.left_at <= min(began_at + PILOT.grace_s, 200.0) or world.left_at == began_at
    # Who has left while nobody could be told is given up by the gateway, with all its leases.
    assert not is_heard or world.leased - world.abandoned <= set(world.reported), "a lease that nobody heard of again"


def test_a_gateway_that_answers_no_heartbeat_for_two_leases_is_called_anew():
    session = linked()
    for second in range(1, 11):
        assert sent(session.tick(float(second))) == [wire.Heartbeat(time_left_s=985.0 - second)]
    assert of(session.tick(11.0), Reconnect) == [Reconnect()]


def test_answered_heartbeats_keep_the_connection():
    session = linked()
    for second in range(1, 60):
        assert sent(session.tick(float(second)), wire.Heartbeat)
        assert session.received([wire.Heard()], second + 0.1) == []


def test_a_pilot_whose_slots_are_gone_says_that_it_is_broken_and_hands_back_what_runs():
    session = linked()
    session.received([lease("a")], 1.0)
    effects = session.leave(DrainReason.BROKEN, 2.0)
    assert sent(effects, wire.Draining) == [wire.Draining(reason=DrainReason.BROKEN)]
    assert sent(session.slot_died(death(("a", 1)), 2.1), wire.GivenBack)[0].end is ActivationEnd.EVICTED
    effects = session.received([ack(wire.AckKind.GIVEN_BACK, "a")], 2.2)
    assert sent(effects) == [wire.Goodbye(reason=DrainReason.BROKEN)]


def test_an_evicted_pilot_whose_zygote_dies_of_it_is_evicted():
    for first, second in [
        (DrainReason.EVICTED, DrainReason.BROKEN),
        (DrainReason.BROKEN, DrainReason.EVICTED),
    ]:
        session = linked()
        session.received([lease("a")], 1.0)
        session.leave(first, 2.0)
        session.leave(second, 2.1)
        assert session.drain.reason is DrainReason.EVICTED
