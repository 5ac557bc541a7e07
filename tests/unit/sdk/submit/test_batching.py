from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.functions import Encoding
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.options import Options
from harvester.sdk.registration.request import Registration
from harvester.sdk.registration.target import Target
from harvester.sdk.submit import batching
from harvester.sdk.submit.batching import LONE_BYTES, MAX_IN_FLIGHT, Submission, batches, is_due


def outgoing(name="f", size=1, **said):
    return Submission(target=Target(name=name), arguments=b"x" * size, sink=InvocationFuture(lambda _: True), **said)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, LONE_BYTES])), max_size=60))
def test_batches_hold_everything_once_in_order_one_function_each(asked):
    waiting = [outgoing(name, size) for name, size in asked]
    cut = batches(waiting)
    for name in "abc":
        sent = [item for batch in cut if batch.items[0].target.name == name for item in batch.items]
        assert sent == [item for item in waiting if item.target.name == name]
    assert all(len({item.target for item in batch.items}) == 1 for batch in cut)
    assert all(len(batch.items) == 1 for batch in cut if any(len(item.arguments) > 1 for item in batch.items))


def test_what_asks_for_different_things_travels_apart():
    waiting = [outgoing(), outgoing(options=Options(priority=1)), outgoing(encoding=Encoding.CALLS), outgoing()]
    assert [len(batch.items) for batch in batches(waiting)] == [2, 1, 1]


def test_a_batch_keeps_the_limits_but_an_oversized_item_travels_alone(monkeypatch):
    monkeypatch.setattr(batching, "MAX_ITEMS", 3)
    monkeypatch.setattr(batching, "MAX_BYTES", 10)
    sizes = [4, 4, 4, 1, 1, 1, 99, 1]
    cut = batches([outgoing(size=size) for size in sizes])
    assert [[len(item.arguments) for item in batch.items] for batch in cut] == [[4, 4], [4, 1, 1], [1], [99], [1]]


def test_what_was_cancelled_before_it_was_sent_is_not_sent():
    gone, stays = outgoing(), outgoing()
    assert gone.sink.cancel()
    (batch,) = batches([gone, stays])
    assert batch.items == (stays,)


def test_a_request_under_way_gathers_the_next_unless_that_is_full_or_has_waited():
    assert is_due(0, 1, 10, 0.0)
    assert not is_due(0, 0, 0, 9.0)
    assert not is_due(1, 1, 10, 0.0)
    assert is_due(1, 1, 10, 0.006)
    assert is_due(1, 200, 10, 0.0)
    assert is_due(1, 1, 1 << 20, 0.0)
    assert not is_due(MAX_IN_FLIGHT, 1000, 1 << 20, 9.0)


def test_a_registration_is_invoked_by_its_full_name_and_version():
    said = {"function_id": "ann/area@2", "name": "area", "version": 2}
    target = Registration(**said, owner="a b").target
    assert (target.path, target.params) == ("/v1/functions/a%20b/area", {"version": "2"})
    assert Registration(**said).target.path == "/v1/functions/area"
