"""The session: single decisions first, then any order of stimuli."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.domain import wire
from harvester.domain.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.pilot_file import PilotFile
from harvester.domain.pilots import DrainReason
from harvester.domain.resources import Resources
from harvester_worker.allocation import Host
from harvester_worker.effects import HandOver, KillSlot, Leave, Reconnect, Send, Start, StopSlot
from harvester_worker.session import PATIENCE_S, Session
from harvester_worker.slot_wire import Ended

PILOT = PilotFile(
    pilot_id="p",
    token="t",
    gateways=("http://g",),
    capacity=Resources(cpus=2, gpus=2),
    walltime_s=1000.0,
    grace_s=30.0,
)
HOST = Host(python="3.11", node="n1", batch_job_id="7")
WELCOME = wire.Welcome(heartbeat_s=1.0, lease_s=5.0)
PLAIN = FunctionVersion(function_id="plain@1", name="plain", version=1, kind=FunctionKind.PICKLE, body=b"")
RESUMABLE = msgspec.structs.replace(PLAIN, function_id="resumable@1", checkpoints=True)
LIMITED = msgspec.structs.replace(PLAIN, function_id="limited@1", walltime_s=20.0)


def lease(invocation_id="i", *, fence=1, function=PLAIN, cpus=1, gpus=0):
    return wire.Lease(
        invocation_id=invocation_id,
        fence=fence,
        attempt=1,
        function_id=function.function_id,
        resources=Resources(cpus=cpus, gpus=gpus),
        encoding=Encoding.JSON,
        arguments=b"",
    )


def linked(*, pilot=PILOT, end_at=1000.0):
    session = Session(pilot, HOST, ("0", "1"), now=0.0, end_at=end_at)
    functions = [wire.Function(function=function) for function in (PLAIN, RESUMABLE, LIMITED)]
    assert session.received([WELCOME, *functions], 0.0) == []
    return session


def sent(effects, kind: Any = object):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def of(effects, kind):
    return [e for e in effects if isinstance(e, kind)]


def ack(kind, invocation_id="i", *, fence=1, seq=0):
    return wire.Ack(kind=kind, invocation_id=invocation_id, fence=fence, seq=seq)


def test_a_lease_that_fits_is_started_and_told():
    effects = linked().received([lease(gpus=1)], 1.0)
    assert [(e.lease.invocation_id, e.gpus) for e in of(effects, Start)] == [("i", ("0",))]
    assert sent(effects) == [wire.Started(invocation_id="i", fence=1)]


def test_a_large_lease_that_waits_is_not_starved_by_small_ones():
    session = linked()
    session.received([lease("a"), lease("large", cpus=2)], 1.0)
    assert of(session.received([lease("small")], 2.0), Start) == []
    started = of(session.ended(("a", 1), Ended(), 3.0), Start)
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
    assert session.received([lease()], 2.0) == []
    session.ended(("i", 1), Ended(), 3.0)
    assert session.received([lease()], 4.0) == []


def test_an_eviction_gives_back_the_unstarted_and_asks_the_running():
    session = linked()
    session.received([lease("a", function=RESUMABLE), lease("b"), lease("c")], 1.0)
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
    assert sent(session.checkpointed(("i", 1), b"s", 10.1), wire.Checkpoint)
    assert not of(session.ended(("i", 1), Ended(is_evicted=True), 10.1), Leave)
    assert not of(session.received([ack(wire.AckKind.CHECKPOINT, seq=1)], 10.2), Leave)
    effects = session.received([ack(wire.AckKind.GIVEN_BACK)], 10.3)
    assert sent(effects) == [wire.Goodbye(reason=DrainReason.EVICTED)]
    assert of(effects, Leave)


def test_a_silent_gateway_delays_the_leave_by_two_seconds_only():
    session = linked()
    session.received([lease()], 1.0)
    session.leave(DrainReason.EVICTED, 10.0)
    session.ended(("i", 1), Ended(value=b"1"), 10.5)
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
    assert sent(session.slot_died(("a", 1), 2.0))[0].end is ActivationEnd.SLOT_DIED
    session.leave(DrainReason.EVICTED, 10.0)
    assert sent(session.slot_died(("b", 1), 10.1))[0].end is ActivationEnd.EVICTED


def test_a_function_that_breaks_under_the_schedulers_signal_was_evicted():
    failure = Failure(kind=FailureKind.EXCEPTION, message="solver died")
    session = linked()
    session.received([lease("a"), lease("b")], 1.0)
    early = session.ended(("a", 1), Ended(failure=failure, is_signalled=True), 2.0)
    assert sent(early)[0].end is ActivationEnd.EVICTED
    session.leave(DrainReason.EVICTED, 2.0)
    assert sent(session.ended(("b", 1), Ended(failure=failure), 2.1))[0].end is ActivationEnd.EVICTED


def test_a_cancelled_function_is_stopped_then_killed_and_its_room_is_free_when_it_is_dead():
    session = linked()
    session.received([lease(cpus=2)], 1.0)
    cancel = wire.Cancel(invocation_id="i", fence=1)
    assert of(session.received([cancel], 2.0), StopSlot)
    assert session.received([cancel], 2.1) == []
    effects = session.tick(3.0)
    assert sent(effects, wire.GivenBack)[0].end is ActivationEnd.CANCELLED
    assert of(session.received([lease("next")], 3.0), Start) == []
    assert of(session.slot_died(("i", 1), 3.1), Start)


def test_a_declared_walltime_ends_in_a_failure():
    session = linked()
    session.received([lease(function=LIMITED)], 1.0)
    effects = session.tick(21.0)
    assert of(effects, KillSlot)
    assert sent(effects, wire.Finished)[0].failure.kind is FailureKind.WALLTIME


def test_what_is_unacknowledged_is_sent_again_on_a_new_connection_unless_abandoned():
    session = linked()
    session.received([lease("a"), lease("b")], 1.0)
    session.ended(("a", 1), Ended(value=b"1"), 2.0)
    session.checkpointed(("b", 1), b"s", 2.0)
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
    assert sent(session.checkpointed(("i", 1), b"1", 2.0))[0].seq == 1
    assert sent(session.checkpointed(("i", 1), b"2", 3.0)) == []
    assert sent(session.checkpointed(("i", 1), b"3", 4.0)) == []
    assert sent(session.received([ack(wire.AckKind.CHECKPOINT, seq=1)], 5.0))[0].state == b"3"


def test_a_pilot_that_was_stopped_for_longer_than_a_lease_connects_again():
    session = linked()
    assert of(session.tick(1.0), Send)
    assert session.tick(60.0) == [Reconnect()]


def test_a_pilot_without_gateway_and_work_leaves_after_a_while():
    session = Session(PILOT, HOST, (), now=0.0, end_at=10_000.0)
    assert session.tick(PATIENCE_S - 1) == []
    assert of(session.tick(PATIENCE_S), Leave)


def test_a_dismissed_pilot_drops_everything_and_leaves():
    session = linked()
    session.received([lease()], 1.0)
    effects = session.received([wire.Drain(reason=DrainReason.DISMISSED)], 2.0)
    assert of(effects, KillSlot)
    assert of(effects, Leave)
    assert sent(effects, wire.GivenBack | wire.Finished) == []


class World:
    """Everything around a session, as far as it can break a promise."""

    def __init__(self):
        self.now = 0.0
        self.session = linked(end_at=200.0)
        self.running: dict[Any, Any] = {}  # processes: key to devices
        self.reported: dict[Any, set[Any]] = {}
        self.leased: set[Any] = set()
        self.abandoned: set[Any] = set()
        self.count = 0
        self.link = True
        self.left_at: float | None = None

    def perform(self, effects):
        for effect in effects:
            assert self.left_at is None, "nothing follows Leave"
            match effect:
                case Start():
                    key = (effect.lease.invocation_id, effect.lease.fence)
                    taken = {device for devices in self.running.values() for device in devices}
                    assert not taken & set(effect.gpus), "a device was given to two activations"
                    assert len(effect.gpus) == effect.lease.resources.gpus
                    assert key not in self.running
                    self.running[key] = effect.gpus
                case Send(message=wire.Finished() | wire.GivenBack() as report):
                    assert self.link
                    key = (report.invocation_id, report.fence)
                    self.reported.setdefault(key, set()).add(report)
                    assert len(self.reported[key]) == 1, "two different ends of one activation"
                case Leave():
                    self.left_at = self.now
        held = {(h.invocation_id, h.fence) for h in self.session._holdings.held()}
        outboxed = set(self.session._reporter.outbox.reported)
        assert not held & outboxed, "held and reported"

    def step(self, kind, pick, number):  # noqa: C901 - one line a kind of stimulus
        keys = sorted(self.running)
        key = keys[pick % len(keys)] if keys else None
        match kind:
            case "lease":
                self.count += 1
                made = lease(f"i{self.count}", function=[PLAIN, RESUMABLE, LIMITED][pick % 3], cpus=1, gpus=number % 3)
                if self.link:
                    self.leased.add((made.invocation_id, 1))
                    self.perform(self.session.received([made], self.now))
            case "cancel" if key and self.link:
                self.perform(self.session.received([wire.Cancel(invocation_id=key[0], fence=1)], self.now))
            case "checkpoint" if key:
                self.perform(self.session.checkpointed(key, b"s", self.now))
            case "ended" if key:
                del self.running[key]
                self.perform(self.ended_or_died(key, number))
            case "died" if key:
                del self.running[key]
                self.perform(self.session.slot_died(key, self.now))
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
                abandon = held[: number % 2]
                self.abandoned |= {(h.invocation_id, h.fence) for h in abandon}
                welcome = wire.Welcome(heartbeat_s=1.0, lease_s=5.0, abandon=abandon)
                self.perform(self.session.received([welcome], self.now))
            case "leave":
                reason = [DrainReason.EVICTED, DrainReason.ASKED, DrainReason.WALLTIME][pick % 3]
                self.perform(self.session.leave(reason, self.now))
            case "time":
                self.pass_time(number)

    def ended_or_died(self, key, number):
        if key in self.session._holdings.killed:  # a process that is being killed says nothing any more
            return self.session.slot_died(key, self.now)
        return self.session.ended(key, Ended(is_evicted=bool(self.session.drain) and number % 2 == 0), self.now)

    def pass_time(self, seconds):
        until = self.now + seconds
        for _ in range(1000):
            if self.left_at is not None or self.session.next_at > until:
                break
            before = self.session.next_at
            self.now = max(self.now, before)
            self.perform(self.session.tick(self.now))
            assert self.left_at is not None or self.session.next_at > before, "the timer turns without an end"
        self.now = max(self.now, until)
        if self.left_at is None:
            self.perform(self.session.tick(self.now))


KINDS = ["lease", "lease", "lease", "cancel", "checkpoint", "ended", "died", "ack", "cut", "link", "leave", "time"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9)), max_size=60))
def test_whatever_happens_no_lease_is_lost_or_doubled_and_the_pilot_leaves_in_time(steps):
    world = World()
    for step in steps:
        if world.left_at is not None:
            break
        world.step(*step)
    world.step("link", 0, 0)
    began_at = world.now
    world.perform(world.session.leave(DrainReason.EVICTED, world.now))
    world.pass_time(PILOT.grace_s)
    assert world.left_at is not None
    assert world.left_at <= min(began_at + PILOT.grace_s, 200.0) or world.left_at == began_at
    assert world.leased - world.abandoned <= set(world.reported), "a lease that nobody heard of again"


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
    assert sent(session.leave(DrainReason.BROKEN, 2.0)) == [wire.Draining(reason=DrainReason.BROKEN)]
    assert sent(session.slot_died(("a", 1), 2.1), wire.GivenBack)[0].end is ActivationEnd.EVICTED
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
