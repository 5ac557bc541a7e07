"""What is believed of runs that have had processes of their own, before and after the scheduler's signal."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.sessions import HOST, PILOT, RESUMABLE, WELCOME, ack, lease, linked, of, saved, sent

from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind
from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester_worker.core.effects import Leave, Start
from harvester_worker.core.pilot_core import PATIENCE_S, PilotCore
from harvester_worker.core.settling import DOUBT_S, SETTLE_S
from harvester_worker.ipc.slot_messages import RunEnded

KEY = ("i", 1)
FAMILY = RunEnded(value=b"1", had_descendants=True)
EVICTED = wire.GivenBack(invocation_id="i", fence=1, end=ActivationEnd.EVICTED)
FINISHED = wire.Finished(invocation_id="i", fence=1, value=b"1", duration_s=0.0)


def running(*, function=RESUMABLE):
    session = linked()
    session.received([lease(function=function)], 1.0)
    return session


def ended(session, end, at):
    return ends(session.ended([(KEY, end)], at))


def ends(effects):
    return [m for m in sent(effects) if isinstance(m, wire.Finished | wire.GivenBack)]


def test_a_run_without_descendants_is_believed_at_once_also_after_the_signal():
    assert ended(running(), RunEnded(value=b"1"), 2.0) == [FINISHED]
    session = running()
    session.leave(DrainReason.EVICTED, 2.0)
    assert ended(session, RunEnded(value=b"1"), 2.1) == [FINISHED]


def test_a_run_with_descendants_is_believed_when_no_signal_has_followed():
    session = running()
    session.tick(1.9)
    assert ended(session, FAMILY, 2.0) == []
    assert session.next_at == 2.0 + SETTLE_S
    assert ends(session.tick(2.0 + SETTLE_S)) == [FINISHED]


def test_what_such_a_run_holds_is_free_while_it_settles():
    session = linked()
    session.received([lease(cpus=2), lease("next", cpus=2)], 1.0)
    assert [e.lease.invocation_id for e in of(session.ended([(KEY, FAMILY)], 2.0), Start)] == ["next"]


@pytest.mark.parametrize("reason", [DrainReason.EVICTED, DrainReason.BROKEN])
@pytest.mark.parametrize("after_s", [0.0, 0.001, SETTLE_S - 0.001])
def test_a_signal_soon_after_the_end_sends_the_activation_back(reason, after_s):
    session = running()
    ended(session, FAMILY, 2.0)
    assert EVICTED in sent(session.leave(reason, 2.0 + after_s))
    assert ends(session.tick(5.0)) == []


def test_a_signal_long_after_the_end_changes_nothing_though_nobody_has_ticked():
    session = running()
    ended(session, FAMILY, 2.0)
    assert FINISHED in sent(session.leave(DrainReason.EVICTED, 2.0 + SETTLE_S))


@pytest.mark.parametrize(
    "end",
    [
        FAMILY,
        RunEnded(failure=Failure(kind=FailureKind.EXCEPTION, message="pool broken"), had_descendants=True),
        RunEnded(
            failure=Failure(kind=FailureKind.FUNCTION, message="its import starts a program"), had_descendants=True
        ),
    ],
)
def test_after_the_signal_no_end_of_a_run_with_descendants_counts(end):
    for reason in (DrainReason.EVICTED, DrainReason.BROKEN):
        session = running()
        session.leave(reason, 2.0)
        assert ended(session, end, 2.5) == [EVICTED]


def test_a_signal_at_the_end_of_the_walltime_is_a_signal():
    session = linked(end_at=100.0)
    session.received([lease()], 1.0)
    session.tick(85.0)
    session.leave(DrainReason.EVICTED, 86.0)
    assert ended(session, FAMILY, 86.1) == [EVICTED]


def test_a_drain_without_a_signal_waits_for_what_settles_and_believes_it():
    session = running()
    session.leave(DrainReason.ASKED, 2.0)
    assert not of(session.ended([(KEY, FAMILY)], 2.1), Leave)
    effects = session.tick(2.1 + SETTLE_S)
    assert ends(effects) == [FINISHED]
    assert of(session.received([ack(wire.AckKind.FINISHED)], 2.4), Leave)


def test_a_signal_of_the_slot_alone_is_waited_for_longer_and_then_was_the_functions_own():
    session = running()
    signalled = msgspec.structs.replace(FAMILY, is_signalled=True)
    ended(session, signalled, 2.0)
    assert ends(session.tick(2.0 + DOUBT_S - 0.1)) == []
    assert ends(session.tick(2.0 + DOUBT_S)) == [FINISHED]
    session = running()
    ended(session, signalled, 2.0)
    assert EVICTED in sent(session.leave(DrainReason.EVICTED, 2.0 + DOUBT_S - 0.1))


def test_a_pilot_that_must_go_gives_back_what_has_not_settled():
    session = linked(pilot=msgspec.structs.replace(PILOT, leave_before_s=0.2), end_at=100.0)
    session.received([lease()], 1.0)
    session.tick(99.8)
    ended(session, FAMILY, 99.9)
    effects = session.tick(99.95)
    assert ends(effects) == [EVICTED]
    assert of(effects, Leave)


def test_a_cancelled_activation_that_settles_is_cancelled_and_an_abandoned_one_forgotten():
    session = running()
    ended(session, FAMILY, 2.0)
    effects = session.received([wire.Cancel(invocation_id="i", fence=1)], 2.1)
    assert [m.end for m in ends(effects)] == [ActivationEnd.CANCELLED]
    session = running()
    ended(session, FAMILY, 2.0)
    session.unlinked(2.05)
    abandon = tuple(session.hello(2.05).held)
    assert [h.is_started for h in abandon] == [True]
    session.received([msgspec.structs.replace(WELCOME, abandon=abandon)], 2.1)
    assert ends(session.tick(5.0)) == []


def test_a_repeated_lease_does_not_start_what_settles():
    session = running()
    ended(session, FAMILY, 2.0)
    assert of(session.received([lease(function=RESUMABLE)], 2.1), Start) == []


def test_what_settles_keeps_a_pilot_without_gateway():
    session = PilotCore(PILOT, HOST, (), now=0.0, end_at=10_000.0)
    session.received([WELCOME, wire.Function(function=RESUMABLE), lease(function=RESUMABLE)], 0.0)
    session.unlinked(0.0)
    session.ended([(KEY, FAMILY)], PATIENCE_S)
    session.tick(PATIENCE_S)
    session.received([WELCOME], PATIENCE_S + 0.1)
    assert ends(session.tick(PATIENCE_S + 1.0)) == [FINISHED]


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def checkpoints(effects):
    return [m.state for m in sent(effects, wire.Checkpoint)]


def taken(state, at):
    return msgspec.structs.replace(saved(state), taken_at=at, had_descendants=True)


def test_a_checkpoint_with_descendants_travels_when_it_has_settled_and_is_numbered_then():
    session = running()
    assert checkpoints(session.checkpointed(KEY, taken(b"1", 2.0), 2.0)) == []
    (checkpoint,) = sent(session.tick(2.0 + SETTLE_S), wire.Checkpoint)
    assert (checkpoint.seq, checkpoint.state) == (1, b"1")


def test_of_many_checkpoints_that_settle_the_oldest_and_the_newest_are_kept():
    session = running()
    for number in range(5):
        session.checkpointed(KEY, taken(b"%d" % number, 2.0 + number / 100), 2.0 + number / 100)
    session.received([ack(wire.AckKind.CHECKPOINT, seq=1)], 2.1)
    assert checkpoints(session.tick(2.0 + SETTLE_S)) == [b"0"]
    session.received([ack(wire.AckKind.CHECKPOINT, seq=1)], 2.0 + SETTLE_S)
    assert checkpoints(session.tick(2.1 + SETTLE_S)) == [b"4"]


def test_a_checkpoint_just_before_or_after_the_signal_is_dropped_and_an_older_one_kept():
    session = running()
    session.checkpointed(KEY, taken(b"sound", 2.0), 2.0)
    session.checkpointed(KEY, taken(b"damaged", 2.1), 2.1)
    effects = session.leave(DrainReason.EVICTED, 2.2)
    assert checkpoints(effects) == [b"sound"]
    assert checkpoints(session.checkpointed(KEY, taken(b"damaged too", 2.3), 2.3)) == []
    assert ended(session, msgspec.structs.replace(FAMILY, value=b"", is_evicted=True), 2.3) == [EVICTED]


def test_a_state_that_the_slot_had_kept_back_since_long_before_the_signal_is_sound():
    session = running()
    session.leave(DrainReason.EVICTED, 5.0)
    assert checkpoints(session.checkpointed(KEY, taken(b"kept", 2.0), 5.01)) == [b"kept"]


def test_without_a_signal_a_state_that_is_handed_over_travels_before_the_activation_goes_back():
    session = running()
    session.leave(DrainReason.ASKED, 2.0)
    session.checkpointed(KEY, taken(b"1", 2.1), 2.1)
    assert ended(session, msgspec.structs.replace(FAMILY, value=b"", is_evicted=True), 2.1) == []
    said = sent(session.tick(2.1 + SETTLE_S), wire.Checkpoint | wire.GivenBack)
    assert [type(m) for m in said] == [wire.Checkpoint, wire.GivenBack]


# ---- any order -------------------------------------------------------------------------------------------------------

LATE_S = SETTLE_S - 0.001  # the agent hears of a signal so long after a child has died of it, at the most


class Truth:
    """Runs whose children die of a signal that the agent hears of later; it must never tell what came of that.

    A state or a result is a count of steps; `steps` stop being right when the signal hits.
    """

    def __init__(self):
        self.now = 1.0
        self.session = linked()
        self.keys: list[tuple[str, int]] = []
        self.has_family: dict[tuple[str, int], bool] = {}
        self.kept: dict[tuple[str, int], tuple[bytes, float, bool]] = {}
        self.hit_at: float | None = None
        self.is_heard = False
        self.count = 0
        self.told = 0
        self.has_left = False

    def is_damaged(self, key):
        return self.hit_at is not None and self.has_family[key]

    def perform(self, effects):
        for message in sent(effects):
            if isinstance(message, wire.Checkpoint):
                assert message.state == b"right"
            if isinstance(message, wire.Finished):
                assert message.value == b"right", "what a signal has made of it was told"
            self.told += isinstance(message, wire.Finished | wire.GivenBack)
        for effect in of(effects, Start):
            self.keys.append((effect.lease.invocation_id, effect.lease.fence))
            self.has_family[self.keys[-1]] = False
        self.has_left = self.has_left or bool(of(effects, Leave))

    def word(self, key):
        return b"wrong" if self.is_damaged(key) else b"right"

    def step(self, kind, pick):
        key = self.keys[pick % len(self.keys)] if self.keys else None
        match kind:
            case "lease":
                self.count += 1
                self.perform(self.session.received([lease(f"i{self.count}", function=RESUMABLE)], self.now))
            case "start a process" if key and self.hit_at is None:
                self.has_family[key] = True
            case "keep a state" if key:
                self.kept[key] = (self.word(key), self.now, self.has_family[key])
            case "send the kept state" if key and key in self.kept:
                state, at, had = self.kept.pop(key)
                progress = msgspec.structs.replace(saved(state), taken_at=at, had_descendants=had)
                self.perform(self.session.checkpointed(key, progress, self.now))
            case "end" if key:
                self.keys.remove(key)
                self.kept.pop(key, None)
                end = RunEnded(value=self.word(key), had_descendants=self.has_family[key])
                self.perform(self.session.ended([(key, end)], self.now))
            case "drain":
                self.perform(self.session.leave(DrainReason.ASKED, self.now))
            case "signal" if self.hit_at is None:
                self.hit_at = self.now
            case "time":
                self.pass_time(pick / 50)

    def pass_time(self, seconds):
        until = self.now + seconds
        for _ in range(1000):
            if self.now >= until or self.has_left:
                return
            at = min(until, max(self.now, self.session.next_at))
            if self.hit_at is not None and not self.is_heard and self.hit_at + LATE_S <= at:
                at, self.is_heard = self.hit_at + LATE_S, True
                self.perform(self.session.leave(DrainReason.EVICTED, at))
            self.now = at
            self.perform(self.session.tick(self.now))
        raise AssertionError("the timer turns without an end")


KINDS = ["lease"] * 2 + [
    "start a process", "start a process", "keep a state", "send the kept state", "end", "end", "drain", "signal",
    "time", "time", "time",
]  # fmt: skip


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)), max_size=50))
def test_what_a_signal_has_made_of_a_run_is_never_told(steps):
    truth = Truth()
    for step in steps:
        if truth.has_left:
            break
        truth.step(*step)
    truth.step("signal", 0)
    if not truth.has_left:
        truth.pass_time(LATE_S + PILOT.grace_s)
    assert truth.has_left
    assert truth.told >= truth.count - len(truth.keys)
