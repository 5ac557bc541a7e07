"""A pilot that has not heard of a live daemon for too long leaves by itself."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import HOST, PILOT, RESUMABLE, WELCOME, ack, lease, of, sent

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester_worker.core.effects import HandOver, Leave
from harvester_worker.core.pilot_core import PATIENCE_S, PilotCore
from harvester_worker.timing.daemon_silence import DaemonWord

ORPHAN_S = 30.0
FOR_EVER = 1e5


def started(*, orphan_after_s=ORPHAN_S, at=100.0, end_at=FOR_EVER):
    pilot = msgspec.structs.replace(PILOT, orphan_after_s=orphan_after_s)
    session = PilotCore(pilot, HOST, (), now=at, end_at=end_at)
    session.received([WELCOME, wire.Function(function=RESUMABLE)], at)
    return session


def drained_at(session, until):
    """Tick as an agent does, answered by the gateway; return when the session began to leave, why, and what it did."""
    while (now := session.next_at) < until:
        effects = session.tick(now)
        if session.drain is not None:
            return now, session.drain.reason, effects
        session.received([wire.Heard()], now)
        assert session.next_at > now
    return None


def test_without_any_word_of_a_daemon_the_clock_begins_at_the_pilots_start():
    now, reason, effects = drained_at(started(), 200.0)
    assert (now, reason) == (130.0, DrainReason.ORPHANED)
    assert wire.Draining(reason=DrainReason.ORPHANED) in sent(effects)
    assert wire.Goodbye(reason=DrainReason.ORPHANED) in sent(effects)
    assert of(effects, Leave)


def test_the_age_that_was_told_counts():
    session = started()
    session.received([wire.Heard(daemon_age_s=2.0)], 120.0)
    session.received([wire.Heard(daemon_age_s=12.0)], 130.0)  # the same word, told again
    assert drained_at(session, 200.0)[:2] == (148.0, DrainReason.ORPHANED)


def test_a_young_daemon_resets_it():
    session = started()
    for second in range(101, 400):
        assert session.next_at > second - 1
        session.tick(float(second))
        session.received([wire.Heard(daemon_age_s=3.0)], float(second))
    assert session.drain is None
    assert drained_at(session, 600.0)[:2] == (426.0, DrainReason.ORPHANED)


def test_answers_that_tell_of_a_daemon_that_is_too_old_drain():
    session = started()
    session.received([wire.Heard(daemon_age_s=0.0)], 110.0)
    for second in range(111, 140):
        session.tick(float(second))
        session.received([wire.Heard(daemon_age_s=second - 110.0)], float(second))
        assert session.drain is None
    session.tick(140.0)
    assert session.drain.reason is DrainReason.ORPHANED


def test_a_gateway_that_has_never_heard_of_a_daemon_changes_nothing():
    session = started()
    session.received([wire.Heard(daemon_age_s=1.0)], 120.0)
    session.received([wire.Heard()], 140.0)
    assert drained_at(session, 200.0)[0] == 149.0


def test_without_a_connection_it_is_counted_on():
    session = started()
    session.received([wire.Heard(daemon_age_s=5.0)], 110.0)
    session.unlinked(111.0)
    assert session.next_at == 135.0
    session.tick(134.999)
    assert session.drain is None
    assert of(session.tick(135.0), Leave)


def test_a_connection_that_comes_back_with_a_young_daemon_resets_it():
    session = started()
    session.unlinked(111.0)
    session.received([WELCOME], 128.0)
    session.received([wire.Heard(daemon_age_s=1.0)], 129.0)
    session.unlinked(130.0)
    assert session.next_at == 158.0


def test_an_orphan_hands_its_work_over_in_good_order():
    session = started()
    session.received([lease(function=RESUMABLE), lease("b", function=RESUMABLE, cpus=2)], 101.0)
    effects = drained_at(session, 200.0)[2]
    assert [e.within_s for e in of(effects, HandOver)] == [PILOT.handover_s]
    assert [(m.invocation_id, m.end) for m in sent(effects, wire.GivenBack)] == [("b", ActivationEnd.UNSTARTED)]
    assert not of(effects, Leave)
    effects = session.tick(130.0 + PILOT.handover_s)
    assert [m.end for m in sent(effects, wire.GivenBack)] == [ActivationEnd.EVICTED]
    session.received([ack(wire.AckKind.GIVEN_BACK, "b")], 136.0)
    assert of(session.received([ack(wire.AckKind.GIVEN_BACK)], 136.0), Leave)


def test_word_of_a_daemon_does_not_bring_a_leaving_orphan_back():
    session = started()
    session.received([lease(function=RESUMABLE)], 101.0)
    session.tick(130.0)
    session.received([wire.Heard(daemon_age_s=0.0)], 131.0)
    assert session.drain.reason is DrainReason.ORPHANED


@pytest.mark.parametrize("reason", [DrainReason.EVICTED, DrainReason.BROKEN, DrainReason.DISMISSED])
def test_what_is_more_urgent_hurries_an_orphan(reason):
    session = started()
    session.received([lease(function=RESUMABLE)], 101.0)
    session.tick(130.0)
    session.leave(reason, 131.0)
    assert session.drain.reason is reason


def test_a_pilot_without_the_order_stays_with_its_gateway_for_ever():
    session = started(orphan_after_s=None)
    assert drained_at(session, 100.0 + 10 * PATIENCE_S) is None


@given(st.floats(1, 100), st.lists(st.tuples(st.floats(0, 50), st.none() | st.floats(-1, 200)), max_size=20))
def test_a_pilot_is_an_orphan_exactly_so_long_after_the_newest_proof_of_a_daemons_life(orphan_after_s, words):
    now, proofs = 1000.0, [1000.0]
    word = DaemonWord(orphan_after_s, now)
    for pause_s, age_s in words:
        now += pause_s
        word.heard(age_s, now)
        if age_s is not None:
            proofs.append(now - max(0.0, age_s))
    assert word.orphaned_at == max(proofs) + orphan_after_s
