"""Pilots: the lifecycle's table decides, inside the transaction."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from harvester.domain.model.pilots import PILOT, PilotEvent, PilotState
from harvester.store.store import AlreadyThere, PilotNotFound
from harvester.store.writes.changes import PilotMoved, PilotSeen

Event, State = PilotEvent, PilotState


def moved(pilot_id, event, at=5.0, **fields):
    return PilotMoved(pilot_id=pilot_id, event=event, at=at, **fields)


def test_a_pilot_is_found_by_id_and_by_token(store, make):
    pilot = make.pilot("p1")
    store.add_pilot(pilot)
    assert store.pilot("p1") == pilot
    assert store.pilot_by_token("digest of p1") == pilot
    assert store.pilot("p2") is None
    assert store.pilot_by_token("digest of p2") is None


def test_id_name_and_token_of_a_pilot_are_its_own(store, make):
    store.add_pilot(make.pilot("p1"))
    for other in (
        make.pilot("p1"),
        make.pilot("p2", name="harvester-p1"),
        make.pilot("p2", token_sha256="digest of p1"),
    ):
        with pytest.raises(AlreadyThere):
            store.add_pilot(other)
    assert [pilot.pilot_id for pilot in store.pilots()] == ["p1"]


def test_every_event_in_every_state_does_what_the_table_says(store, make):
    pairs = list(itertools.product(State, Event))
    for number, (state, _) in enumerate(pairs):
        store.add_pilot(make.pilot(f"p{number}", state=state, submitted_at=2.0, started_at=3.0, batch_job_id="7"))
    before = [store.pilot(f"p{number}") for number in range(len(pairs))]
    store.write([moved(f"p{number}", event, reason="why") for number, (_, event) in enumerate(pairs)]).result()
    for number, (state, event) in enumerate(pairs):
        after = store.pilot(f"p{number}")
        if PILOT.allows(state, event):
            assert (after.state, after.reason) == (PILOT.advance(state, event), "why")
            assert (after.ended_at is not None) == (after.state in PILOT.final)
        else:
            assert after == before[number]


def test_a_pilots_life_leaves_its_instants(store, make):
    store.add_pilot(make.pilot("p1"))
    store.move_pilot(moved("p1", Event.SUBMITTED, 2.0, batch_job_id="77"))
    store.move_pilot(moved("p1", Event.STARTED, 3.0, node="n1"))
    ready = store.move_pilot(moved("p1", Event.REGISTERED, 4.0, python="3.11", ends_at=124.0))
    assert (ready.state, ready.batch_job_id, ready.node, ready.python) == (State.READY, "77", "n1", "3.11")
    assert (ready.submitted_at, ready.started_at, ready.registered_at, ready.last_seen_at) == (2.0, 3.0, 4.0, 4.0)
    assert (ready.ends_at, ready.idle_since) == (124.0, 4.0)
    seen = PilotSeen(pilot_id="p1", at=5.0, ends_at=123.0, activations=2, idle_since=None)
    store.write([seen, moved("p1", Event.DRAIN, 6.0)]).result()
    draining = store.pilot("p1")
    assert (draining.state, draining.last_seen_at, draining.ends_at) == (State.DRAINING, 5.0, 123.0)
    assert (draining.activations, draining.idle_since) == (2, None)
    ended = store.move_pilot(moved("p1", Event.PREEMPTED, 7.0, reason="node taken back"))
    assert (ended.state, ended.ended_at, ended.reason) == (State.EVICTED, 7.0, "node taken back")
    assert ended.activations == 0
    store.write([seen]).result()
    assert store.pilot("p1") == ended


def test_a_submission_that_the_pilots_call_has_overtaken_still_tells_its_batch_job(store, make):
    store.add_pilot(make.pilot("p1"))
    ready = store.move_pilot(moved("p1", Event.REGISTERED, 4.0, node="n1"))
    told = store.move_pilot(moved("p1", Event.SUBMITTED, 5.0, batch_job_id="77", node="other"))
    assert told == msgspec.structs.replace(ready, batch_job_id="77", submitted_at=5.0)
    assert store.move_pilot(moved("p1", Event.SUBMITTED, 9.0, batch_job_id="78")) == told


def test_moving_an_unknown_pilot_is_an_error_for_who_waits_and_nothing_for_the_hot_path(store):
    with pytest.raises(PilotNotFound, match="p9"):
        store.move_pilot(moved("p9", Event.DRAIN))
    store.write([moved("p9", Event.DRAIN)]).result()


def test_live_pilots_come_oldest_first_and_all_pilots_newest_first(store, make):
    for number, state in enumerate((State.READY, State.LOST, State.PLANNED, State.FINISHED)):
        store.add_pilot(make.pilot(f"p{number}", state=state, planned_at=float(number)))
    assert [pilot.pilot_id for pilot in store.pilots()] == ["p0", "p2"]
    assert [pilot.pilot_id for pilot in store.pilots(live=False, limit=3)] == ["p3", "p2", "p1"]


def test_gateway_and_daemon_that_tell_of_the_same_ends_at_once_agree(url, opened, make):
    stores = [opened(url), opened(url)]
    names = [f"p{number}" for number in range(20)]
    for name in names:
        stores[0].add_pilot(make.pilot(name, state=State.READY))
    ends = [(stores[0], names, Event.PREEMPTED), (stores[1], names[::-1], Event.FAILED)]

    def tell(end):
        store, order, event = end
        for future in [store.write([moved(name, event, reason=event.value)]) for name in order]:
            future.result(timeout=20)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(tell, ends))
    for pilot in stores[0].pilots(live=False):
        reason = {State.EVICTED: Event.PREEMPTED, State.FAILED: Event.FAILED}[pilot.state].value
        assert pilot.reason == reason


def test_a_pilot_is_asked_whose_work_it_holds(store, make):
    function = store.add_function(make.function(), 0.0).function_id
    invocations = {"i1": "ann", "i2": "ann", "i3": "bob", "i4": "eve", "i5": "dan"}
    store.write([make.new(each, owner=owner, function_id=function) for each, owner in invocations.items()]).result()
    where = {"i1": "p1", "i2": "p1", "i3": "p1", "i4": "p2"}
    store.write([make.granted(each, pilot_id=pilot_id) for each, pilot_id in where.items()]).result()
    store.write([make.started("i1"), make.requeued("i3")]).result()
    assert store.owners_on("p1") == {"ann"}
    assert store.owners_on("p2") == {"eve"}
    assert store.owners_on("p3") == frozenset()
