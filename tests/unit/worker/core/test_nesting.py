"""Runs that wait for others, on their pilot: their CPUs are lent, so many at a time, and the gateway counts alike."""

from support.sessions import WELCOME, death, lease, linked, of, sent

from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester_worker.core.effects import KeepKey, Start, TakeBack
from harvester_worker.core.nesting import LENT
from harvester_worker.ipc.slot_messages import RunEnded


def busy():
    """Return a session whose two CPUs have a parent each, while two more leases wait."""
    session = linked()
    session.received([lease(name) for name in ("a", "b", "c", "d")], 1.0)
    return session


def started(effects):
    return [effect.lease.invocation_id for effect in of(effects, Start)]


def test_the_cpus_of_a_run_that_waits_are_lent_and_the_gateway_is_told():
    session = busy()
    effects = session.waits(("a", 1), 1.1)
    assert started(effects) == ["c"]
    assert sent(effects, wire.Waits) == [wire.Waits(invocation_id="a", fence=1, is_lent=True)]
    assert sent(session.waits(("a", 1), 1.2), wire.Waits) == []


def test_a_run_that_goes_on_has_its_cpus_at_once_and_nothing_starts_until_they_are_free():
    session = busy()
    session.waits(("a", 1), 1.1)
    assert sent(session.waits(("a", 1), 1.2, is_over=True), wire.GoesOn) == [wire.GoesOn(invocation_id="a", fence=1)]
    assert sent(session.waits(("a", 1), 1.2, is_over=True), wire.GoesOn) == []
    assert started(session.ended([(("c", 1), RunEnded())], 1.3)) == []
    assert started(session.ended([(("a", 1), RunEnded())], 1.4)) == ["d"]


def test_a_run_that_ends_or_dies_while_it_waits_leaves_no_room_behind():
    for how in ("ended", "died", "killed"):
        session = busy()
        session.waits(("a", 1), 1.1)
        if how == "ended":
            session.ended([(("a", 1), RunEnded())], 1.2)
        else:
            if how == "killed":
                session.received([wire.Cancel(invocation_id="a", fence=1)], 1.2)
                session.tick(3.0)
            session.slot_died(death(("a", 1)), 3.1)
        assert session._leases.room.cpus == 0, how
        assert session._leases.lent == 0, how


def test_only_so_many_are_lent_and_the_next_one_is_when_one_goes_on():
    session = linked()
    names = [f"i{n}" for n in range(2 * LENT + 3)]
    session.received([lease(name) for name in names], 1.0)
    for name in names[: 2 * LENT]:
        assert started(session.waits((name, 1), 1.1))
    effects = session.waits((names[2 * LENT], 1), 1.2)
    assert sent(effects, wire.Waits) == [wire.Waits(invocation_id=names[2 * LENT], fence=1, is_lent=False)]
    effects = session.ended([((names[0], 1), RunEnded())], 1.3)
    assert sent(effects, wire.Waits) == [wire.Waits(invocation_id=names[2 * LENT], fence=1, is_lent=True)]


def test_a_gateway_is_told_anew_what_waits():
    session = busy()
    session.waits(("a", 1), 1.1)
    session.unlinked(1.2)
    assert sent(session.waits(("b", 1), 1.3)) == []
    told = sent(session.received([WELCOME], 1.4), wire.Waits)
    assert told == [wire.Waits(invocation_id=name, fence=1, is_lent=True) for name in ("a", "b")]


def test_what_is_queued_behind_a_run_that_waits_is_taken_back():
    session = linked()
    session.received([lease("brief")], 1.0)
    session.ended([(("brief", 1), RunEnded(duration_s=0.0001))], 1.001)
    effects = session.received([lease(name) for name in ("a", "b", "c")], 1.002)
    assert [effect.behind for effect in of(effects, Start)] == [None, None, ("a", 1)]
    assert of(session.waits(("a", 1), 1.003), TakeBack) == [TakeBack(key=("a", 1))]


def test_a_pilot_that_leaves_asks_a_waiting_run_as_any_other_and_starts_nothing():
    session = busy()
    session.leave(DrainReason.ASKED, 1.1)
    assert started(session.waits(("a", 1), 1.2)) == []


def test_the_key_of_an_owner_goes_to_the_slots():
    key = wire.OwnerKey(owner="ann", key=b"k")
    assert linked().received([key], 1.0) == [KeepKey(owner="ann", key=b"k")]
