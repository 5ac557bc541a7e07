"""Blame: one bad node is left alone, a fault of the site is not blamed on nodes, and the queue goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.daemon.pilots.pauses import STEADY, Pauses
from harvester.domain.model.pilots import BROKEN_UNDER_WORK, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.control import Control
from harvester.domain.supervision.blame import FAILURES, SEVERAL, TRIAL, Blame
from harvester.store.records import PilotRecord

NOW = 1_000_000.0
HOUR = 3600.0
NODES = ("n1", "n2", "n3", "n4")
WORKING = Blame().registered("n2", "cpu", NOW - 60)


def failed(times: int, node: str = "n1", at: float = NOW, blame: Blame = WORKING) -> Blame:
    for _ in range(times):
        blame = blame.failed(node, "cpu", "no python3", at)
    return blame


# ---- one bad node


def test_a_node_is_left_alone_after_three_failures_and_it_is_said_why():
    assert failed(2).excluded(NOW) == {}
    why = failed(3).excluded(NOW)
    assert list(why) == ["n1"]
    assert "3 pilots in a row failed on it" in why["n1"]
    assert "no python3" in why["n1"]


def test_it_is_tried_again_and_the_next_failure_doubles_the_time():
    blame = failed(3)
    assert blame.excluded(NOW + HOUR + 1) == {}
    again = blame.failed("n1", "cpu", "still", NOW + HOUR + 1)
    assert "n1" in again.excluded(NOW + 2.9 * HOUR)
    assert again.excluded(NOW + 3.1 * HOUR) == {}


def test_a_pilot_that_registers_clears_its_node_and_no_other():
    blame = failed(3).failed("n3", "cpu", "x", NOW)
    assert blame.registered("n1", "cpu", NOW + 1).suspects.keys() == {"n3"}
    assert blame.registered("n1", "cpu", NOW - 1).suspects == blame.suspects, "it had registered before the failures"


def test_failures_far_apart_have_nothing_to_do_with_each_other():
    assert failed(2).failed("n1", "cpu", "x", NOW + 7 * HOUR).suspects["n1"].failures == 1


def test_a_resume_forgives_what_is_older():
    assert failed(3).forgiven(NOW + 1).excluded(NOW + 1) == {}
    assert failed(3).forgiven(NOW - 1).excluded(NOW) != {}


def test_a_bad_node_is_found_out_among_nodes_on_which_pilots_keep_registering():
    blame = Blame()
    for round_ in range(FAILURES):
        at = NOW + 10 * round_
        blame = blame.registered(NODES[1 + round_], "cpu", at).failed("n1", "cpu", "x", at + 5)
    assert blame.excluded(NOW + 60).keys() == {"n1"}


# ---- a fault of the site


def test_nothing_is_held_against_a_node_while_no_pilot_of_the_shape_has_registered_elsewhere():
    assert failed(10, blame=Blame()).excluded(NOW) == {}
    assert failed(10, blame=Blame().registered("n1", "cpu", NOW - 60)).excluded(NOW) == {}, "it works on n1 alone"
    assert failed(10, blame=Blame().registered("n2", "gpu", NOW - 60)).excluded(NOW) == {}, "another shape works"


def test_when_several_nodes_fail_at_once_none_is_blamed_until_one_works_again():
    blame = failed(3, "n1", blame=Blame().registered("n4", "cpu", NOW - 60))
    for node in NODES[1:SEVERAL]:
        blame = blame.failed(node, "cpu", "no python3", NOW + 1)
    assert blame.excluded(NOW + 2) == {}
    assert len(blame.failing("cpu")) == SEVERAL
    blame = blame.registered("n4", "cpu", NOW + 3)
    assert blame.excluded(NOW + 4).keys() == {"n1"}, "only what was held against it while others worked"


def test_after_a_first_failure_pilots_go_elsewhere_for_a_while_to_see_whose_fault_it_is():
    blame = failed(1, blame=Blame())
    assert blame.avoided(NOW, NODES).keys() == {"n1"}
    assert blame.avoided(NOW, ["n1"]) == {}, "there is no elsewhere"
    assert blame.avoided(NOW, ()) == {}, "nobody told whether there is one"
    assert blame.avoided(NOW + TRIAL.total_seconds(), NODES) == {}
    assert failed(1, "n2", blame=blame).avoided(NOW, NODES).keys() == {"n1", "n2"}
    for node in NODES[1:SEVERAL]:
        blame = failed(1, node, blame=blame)
    assert blame.avoided(NOW, NODES) == {}, "it fails everywhere"


events = st.lists(
    st.tuples(
        st.sampled_from(("failed", "registered", "resume")),
        st.sampled_from(NODES),
        st.sampled_from(("cpu", "gpu")),
        st.floats(0, 2 * HOUR),
    ),
    max_size=60,
)


def after(happened, *, blame: Blame = Blame(), start: float = NOW):  # noqa: B008 - frozen
    """Yield the state after each event, and when."""
    now = start
    for kind, node, shape, passed in happened:
        now += passed
        match kind:
            case "failed":
                blame = blame.failed(node, shape, "x", now)
            case "registered":
                blame = blame.registered(node, shape, now)
            case "resume":
                blame = blame.forgiven(now)
        yield blame, now


@given(events)
def test_never_are_all_nodes_blamed_or_avoided(happened):
    for blame, now in after(happened):
        assert set(blame.excluded(now)) < set(NODES)
        assert {*blame.avoided(now, NODES), *blame.excluded(now)} < set(NODES)
        assert set(NODES[:1]) - {*blame.avoided(now, NODES[:1])}


@given(events)
def test_no_node_is_blamed_while_nothing_ever_registered(happened):
    for blame, now in after([event for event in happened if event[0] != "registered"]):
        assert blame.excluded(now) == {}


@given(events)
def test_a_fault_of_the_whole_site_leaves_no_node_blamed_whatever_was_before(happened):
    """From some moment on every pilot fails, wherever it is put."""
    *_, (blame, now) = [(Blame(), NOW), *after(happened)]
    broken = [("failed", node, shape, 30.0) for _ in range(5) for shape in ("cpu", "gpu") for node in NODES]
    *_, (blame, now) = after(broken, blame=blame, start=now + 1)
    assert blame.excluded(now) == {}


@given(events)
def test_a_bad_node_among_working_ones_is_blamed_whatever_was_before(happened):
    *_, (blame, now) = [(Blame(), NOW), *after(happened)]
    for _ in range(FAILURES):
        for node in NODES[1:]:
            blame = blame.registered(node, "cpu", now := now + 1)
        blame = blame.failed("n1", "cpu", "x", now := now + 1)
    assert blame.excluded(now).keys() == {"n1"}


# ---- the daemon's pauses


def pilot(state: PilotState, node: str, at: float, *, registered_at: float | None = None) -> PilotRecord:
    return PilotRecord(
        pilot_id="p", name="hv-p", shape="cpu", partition="harvest", resources=Resources(), walltime_s=600.0,
        token_sha256="", state=state, planned_at=at, node=node, registered_at=registered_at, reason="no python3",
    )  # fmt: skip


def test_a_shape_whose_pilots_never_call_pauses_and_says_that_it_is_no_single_node():
    pauses, now = Pauses(is_off=False), NOW
    for node in (*NODES, "n1"):
        pauses.ended(pilot(PilotState.FAILED, node, now), now)
        assert "cpu" in pauses.closed(now)
        now += HOUR
    assert pauses.bad_nodes(now, NODES) == {}
    assert "paused after 5 failures in a row on 4 nodes, so it is not one node's fault: no python3" in pauses.reason


def test_a_bad_node_does_not_pause_the_shape():
    pauses, now = Pauses(is_off=False), NOW
    for _ in range(FAILURES):
        pauses.see([pilot(PilotState.READY, "n2", now, registered_at=now)], now)
        now += 1
        pauses.ended(pilot(PilotState.FAILED, "n1", now), now)
        now += 1
    assert pauses.bad_nodes(now, NODES).keys() == {"n1"}
    assert not pauses.reason
    pauses.hear(Control(at=now))
    assert pauses.bad_nodes(now, NODES) == {}


@pytest.mark.parametrize("state", [state for state in PilotState if state is not PilotState.FAILED])
@given(st.lists(st.tuples(st.sampled_from(NODES), st.booleans()), max_size=20))
def test_evictions_and_other_ways_out_never_count(state, ends):
    pauses, now = Pauses(is_off=False), NOW
    pauses.see([pilot(PilotState.READY, "n2", now, registered_at=now)], now)
    for node, has_called in ends:
        now += 1
        pauses.ended(pilot(state, node, now, registered_at=now if has_called else None), now)
    assert (pauses.closed(now), pauses.bad_nodes(now, NODES), pauses.reason) == ({}, {}, "")


def test_a_node_on_which_running_pilots_are_lost_is_blamed_too():
    pauses, now = Pauses(is_off=False), NOW
    for _ in range(FAILURES):
        pauses.see([pilot(PilotState.READY, "n2", now, registered_at=now)], now)
        now += 1
        pauses.ended(pilot(PilotState.FAILED, "n1", now, registered_at=now - 100), now)
    assert pauses.bad_nodes(now, NODES).keys() == {"n1"}


def test_a_failure_is_told_until_a_pilot_of_the_shape_has_called():
    pauses, now = Pauses(is_off=False), NOW
    pauses.ended(pilot(PilotState.FAILED, "n1", now), now)
    assert pauses.doubts(now) == (), "it is closed, and that is told"
    assert "no python3" in pauses.closed(now)["cpu"]
    now += 6
    assert pauses.closed(now) == {}
    assert pauses.doubts(now) == ("Shape cpu is tried again after 1 failure: no python3.",)
    pauses.see([pilot(PilotState.READY, "n2", now, registered_at=now)], now)
    assert pauses.doubts(now) == ()


def call_and_fail(
    pauses: Pauses,
    now: float,
    lived_s: float,
    *,
    is_survived: bool = False,
    owners: str = "",
    reason: str = "no python3",
) -> float:
    """Let a pilot be submitted now, call a second later and fail; return when."""
    called_at = now + 1
    pauses.see([pilot(PilotState.READY, "n1", now, registered_at=called_at)], called_at)
    assert pauses.closed(called_at) == {}, "it has called"
    failed_at = called_at + lived_s
    record = replace(pilot(PilotState.FAILED, "n1", now, registered_at=called_at), reason=reason)
    pauses.ended(record, failed_at, is_survived=is_survived, owners=frozenset(owners.split()))
    return failed_at


def test_pilots_that_fail_soon_after_they_called_hold_their_shape_back_as_documented_where_none_survives():
    pauses, now, held_s = Pauses(is_off=False), NOW, []
    for _ in range(4):
        now = call_and_fail(pauses, now, 2.0)
        held_s.append(next(wait for wait in range(1, 1000) if not pauses.closed(now + wait)))
        now += held_s[-1]
    assert held_s == [5, 15, 60, 300]
    call_and_fail(pauses, now, 2.0)
    assert "shape cpu is paused after 5 failures in a row: no python3" in pauses.reason


@pytest.mark.parametrize("owners", [["eve"] * 9, ["eve ada", "eve", "eve bob"] * 3])
def test_one_user_whose_work_kills_pilots_does_not_get_their_shape_held_back_for_everybody(owners):
    pauses, now = Pauses(is_off=False), NOW
    for names in owners:
        now = call_and_fail(pauses, now, 2.0, owners=names)
        assert pauses.closed(now) == {}


def test_a_shape_whose_pilots_die_under_the_work_of_several_users_is_held_back():
    pauses, now = Pauses(is_off=False), NOW
    for names in ("ada", "bob", "eve", "ada", "bob", "eve"):
        now = call_and_fail(pauses, now, 2.0, owners=names) + 301
    assert "shape cpu is paused after 5 failures in a row" in pauses.reason


def test_pilots_that_break_under_work_hold_nothing_back_and_those_that_break_without_do():
    pauses = Pauses(is_off=False)
    now = call_and_fail(pauses, NOW, 2.0, reason=BROKEN_UNDER_WORK)
    assert pauses.closed(now) == {}
    now = call_and_fail(pauses, now, 2.0, reason="broken")
    assert "1 failure" in pauses.closed(now)["cpu"]


def test_a_pilot_that_fails_while_others_of_its_shape_live_does_not_hold_it_back():
    pauses = Pauses(is_off=False)
    now = call_and_fail(pauses, NOW, 2.0, is_survived=True)
    assert pauses.closed(now) == {}


def test_a_shape_whose_pilot_has_lasted_begins_to_count_anew():
    pauses = Pauses(is_off=False)
    now = call_and_fail(pauses, NOW, 2.0) + 5
    now = call_and_fail(pauses, now, STEADY.total_seconds())
    assert pauses.closed(now) == {}, "this one had lasted"
    now = call_and_fail(pauses, now, 2.0)
    assert "1 failure" in pauses.closed(now)["cpu"]
