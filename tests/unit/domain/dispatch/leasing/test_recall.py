"""When a lease that was granted ahead is asked back: each rule at its limit."""

from support.dispatching import arrival, end, grants, names, new, only, teach, works

from harvester.domain.dispatch.leasing.recall import AGAIN_S, LIMIT_S, PATIENCE_S
from harvester.domain.dispatch.ledger.effects import Recall
from harvester.domain.model.invocations import ActivationEnd


def ahead(count=4, *, before=()):
    """Return a dispatcher whose pilot p1 runs i1, with i2 and i3 ahead of its slot since 0; other pilots before it."""
    dispatcher = new()
    teach(dispatcher, "f@1", 0.001)
    for pilot in before:
        dispatcher.pilot_arrived(pilot, 0)
    dispatcher.pilot_arrived(arrival(), 0)
    (grant,) = grants(dispatcher.accept_many(works(count), 0))
    held = grants(end(dispatcher, grant, 0, 0.001))
    return dispatcher, {grant.invocation_id: grant for grant in held}


def busy(dispatcher, pilot, now=0.0, **kwargs):
    """Let a pilot arrive that runs something long."""
    dispatcher.pilot_arrived(arrival(pilot, **kwargs), now)
    dispatcher.accept_many(works(1, "long@1", f"long on {pilot} ", owner="other"), now)


def recalled(dispatcher, now):
    return [recall.invocation_id for recall in only(dispatcher.tick(now), Recall)]


def test_it_is_asked_back_after_just_its_patience():
    dispatcher, _ = ahead(3)
    dispatcher.pilot_arrived(arrival("p2"), 0.01)
    assert recalled(dispatcher, PATIENCE_S - 0.001) == []
    assert recalled(dispatcher, PATIENCE_S) == ["i2"]


def test_as_many_are_asked_back_as_there_is_room_elsewhere():
    dispatcher, _ = ahead()
    dispatcher.pilot_arrived(arrival("p2", cpus=2), 0.01)
    assert recalled(dispatcher, 0.2) == ["i2", "i3"]


def test_where_the_others_are_busy_it_is_asked_back_after_just_the_limit():
    dispatcher, _ = ahead(3)
    busy(dispatcher, "p2")
    assert recalled(dispatcher, LIMIT_S - 0.01) == []
    assert recalled(dispatcher, LIMIT_S) == ["i2"]


def test_with_no_other_pilot_nothing_is_asked_back():
    dispatcher, _ = ahead(3)
    dispatcher.heartbeat("p1", 3600, 2)
    assert recalled(dispatcher, 2 * LIMIT_S) == []


def test_a_pilot_that_has_room_and_too_little_time_is_no_reason():
    dispatcher, _ = ahead(3)
    dispatcher.pilot_arrived(arrival("p2", time_left_s=1), 0.01)
    assert recalled(dispatcher, 0.2) == []
    assert recalled(dispatcher, LIMIT_S) == []


def test_a_pilot_that_is_not_connected_is_asked_for_nothing():
    dispatcher, _ = ahead(3)
    dispatcher.disconnected("p1", 0.01)
    dispatcher.pilot_arrived(arrival("p2"), 0.01)
    assert recalled(dispatcher, 0.2) == []


def test_pilots_that_came_before_and_have_nothing_ahead_hide_nobody():
    dispatcher, _ = ahead(3, before=[arrival("p0", time_left_s=1)])  # too little time for anything
    busy(dispatcher, "p2")
    assert recalled(dispatcher, LIMIT_S) == ["i2"]


def test_who_was_asked_is_asked_again_after_a_while_and_not_before():
    dispatcher, _ = ahead(3)
    dispatcher.pilot_arrived(arrival("p2"), 0.01)
    assert recalled(dispatcher, 0.5) == ["i2"]
    dispatcher.heartbeat("p1", 3600, 1)
    dispatcher.heartbeat("p2", 3600, 1)
    assert recalled(dispatcher, 0.5 + AGAIN_S - 0.01) == []
    assert recalled(dispatcher, 0.5 + AGAIN_S) == ["i2"]


def test_one_that_was_asked_does_not_keep_the_next_from_being_asked():
    dispatcher, _ = ahead()
    dispatcher.pilot_arrived(arrival("p2"), 0.01)
    assert recalled(dispatcher, 0.2) == ["i2"]
    dispatcher.pilot_arrived(arrival("p3"), 0.3)
    assert recalled(dispatcher, 0.4) == ["i3"], "the room of p2 is for the one that is on its way"


def test_to_a_pilot_that_was_asked_nothing_goes_ahead_for_a_while():
    dispatcher, held = ahead()
    busy(dispatcher, "p2")
    assert recalled(dispatcher, LIMIT_S) == ["i2", "i3"]
    for name in ("i2", "i3"):
        assert names(dispatcher.given_back("p1", name, held[name].fence, ActivationEnd.UNSTARTED, LIMIT_S)) == []
    dispatcher.accept_many(works(9, prefix="more"), LIMIT_S)
    (next_one,) = grants(end(dispatcher, held["i1"], LIMIT_S + AGAIN_S / 2, 0.001))
    assert len(names(end(dispatcher, next_one, LIMIT_S + AGAIN_S, 0.001))) > 1
