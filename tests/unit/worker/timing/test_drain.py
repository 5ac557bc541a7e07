"""Until when what may go on in a pilot that leaves: each instant, and that nothing outlives the notice."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import PILOT, ack, lease, linked, of, sent

from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester_worker.core.effects import Leave
from harvester_worker.ipc.slot_messages import RunEnded
from harvester_worker.timing import drain

ORDERS = msgspec.structs.replace(PILOT, grace_s=30.0, handover_s=5.0, finish_s=1.0, leave_before_s=15.0, linger_s=0.0)


@pytest.mark.parametrize(
    ("reason", "end_at", "resumable_by", "others_by", "gone_by"),
    [
        (DrainReason.EVICTED, 1000.0, 105.0, 101.0, 129.0),  # a second before the scheduler kills
        (DrainReason.BROKEN, 1000.0, 105.0, 101.0, 129.0),
        (DrainReason.ASKED, 1000.0, 105.0, 101.0, 115.0),  # ten seconds to be heard
        (DrainReason.ORPHANED, 1000.0, 105.0, 101.0, 115.0),
        (DrainReason.WALLTIME, 110.0, 106.0, 106.0, 108.0),  # two seconds before the allocation is over
        (DrainReason.EVICTED, 110.0, 105.0, 101.0, 108.0),
        (DrainReason.DISMISSED, 1000.0, 100.0, 100.0, 100.0),
    ],
)
def test_each_reason_has_its_instants(reason, end_at, resumable_by, others_by, gone_by):
    plan = drain.plan(reason, ORDERS, now=100.0, end_at=end_at)
    assert (plan.resumable_by, plan.others_by, plan.gone_by) == (resumable_by, others_by, gone_by)


def test_an_eviction_without_a_grace_time_has_a_second():
    plan = drain.plan(DrainReason.EVICTED, msgspec.structs.replace(ORDERS, grace_s=0.0), now=100.0, end_at=1000.0)
    assert (plan.resumable_by, plan.others_by, plan.gone_by) == (100.5, 100.5, 100.75)


@given(
    st.sampled_from(sorted({*DrainReason} - {DrainReason.DISMISSED})),
    st.floats(0, 600),
    st.floats(0, 60),
    st.floats(0, 60),
    st.floats(8, 5000),
)
def test_nobody_outlives_the_pilot_and_the_pilot_not_its_allocation(reason, grace_s, handover_s, finish_s, left_s):
    orders = msgspec.structs.replace(ORDERS, grace_s=grace_s, handover_s=handover_s, finish_s=finish_s)
    plan = drain.plan(reason, orders, now=100.0, end_at=100.0 + left_s)
    assert max(plan.resumable_by, plan.others_by, plan.stays_until) <= plan.gone_by < 100.0 + left_s
    if reason in drain.HARSH:
        assert plan.gone_by < 100.0 + max(grace_s, drain.SHORTEST_NOTICE_S)


def test_of_two_drains_the_earlier_instants_and_the_more_urgent_reason_hold():
    asked = drain.plan(DrainReason.ASKED, ORDERS, now=100.0, end_at=1000.0)
    evicted = drain.plan(DrainReason.EVICTED, ORDERS, now=101.0, end_at=1000.0)
    for old, new in ((asked, evicted), (evicted, asked)):
        both = drain.tighten(old, new)
        assert (both.reason, both.resumable_by, both.others_by, both.gone_by) == (
            DrainReason.EVICTED, 105.0, 101.0, 115.0,
        )  # fmt: skip
    assert drain.tighten(None, asked) == asked


def session_with_an_unheard_result(size):
    session = linked(pilot=ORDERS)
    session.received([lease("a")], 1.0)
    session.ended([(("a", 1), RunEnded(value=bytes(size)))], 2.0)
    session.leave(DrainReason.EVICTED, 10.0)
    return session


def test_a_pilot_whose_result_nobody_acknowledges_is_gone_before_the_scheduler_kills():
    session = session_with_an_unheard_result(2_000_000_000)  # 100 s on a slow link
    assert of(session.tick(38.9), Leave) == []
    assert session.next_at <= 39.0
    assert of(session.tick(39.0), Leave)


def test_a_pilot_that_is_cut_off_waits_for_a_connection_until_it_has_to_be_gone_and_no_longer():
    session = session_with_an_unheard_result(10)
    session.unlinked(10.5)
    assert of(session.tick(38.9), Leave) == []
    assert of(session.tick(39.0), Leave)


def test_a_small_result_that_nobody_acknowledges_is_waited_for_only_as_long_as_a_transfer_takes():
    session = session_with_an_unheard_result(10)
    assert of(session.tick(11.9), Leave) == []
    assert of(session.tick(12.1), Leave)


def test_who_is_acknowledged_leaves_at_once():
    session = session_with_an_unheard_result(10)
    effects = session.received([ack(wire.AckKind.FINISHED, "a")], 10.2)
    assert sent(effects, wire.Goodbye) == [wire.Goodbye(reason=DrainReason.EVICTED)]
    assert of(effects, Leave)
