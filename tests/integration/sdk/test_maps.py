"""`map` with chunks, against a gateway in miniature."""

import gc
import time

import pytest

import harvester


def add(a, b=0):
    return a + b


def inverse(number):
    return 1 / number


@harvester.function(name="held")
def held(value):
    return value


def test_ten_thousand_short_calls_travel_in_a_few_requests_and_come_in_order(client, gateway):
    assert list(client.map(add, range(10_000), range(10_000))) == [2 * number for number in range(10_000)]
    requests = sum(count for path, count in gateway.seen.items() if path.endswith(("batches", "invocations")))
    assert requests < 40
    assert len(gateway.invocations) < 1000


def test_a_chunksize_is_obeyed(client, gateway):
    assert list(client.map(add, range(10), chunksize=4)) == list(range(10))
    assert sorted(gateway.call_counts) == [2, 4, 4]
    with pytest.raises(ValueError, match="chunksize must be at least 1"):
        client.map(add, [1], chunksize=0)


def test_a_call_that_fails_is_raised_where_it_comes_and_the_others_of_its_chunk_are_not_lost(client):
    results = client.map(inverse, [1, 2, 0, 4], chunksize=4)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        next(results)
    assert caught.value.__cause__.error_type == "ZeroDivisionError"


def test_leaving_the_iterator_cancels_chunks(client, gateway):
    gateway.held = {"held"}
    results = client.map(held, range(6), chunksize=3, timeout=0.3)
    with pytest.raises(TimeoutError):
        next(results)
    assert {invocation.state for invocation in gateway.invocations.values()} == {"cancelled"}


def test_an_iterator_that_is_dropped_before_its_first_result_cancels_too(client, gateway):
    gateway.held = {"held"}
    results = client.map(held, range(6), chunksize=3)
    while len(gateway.invocations) < 2:
        time.sleep(0.01)
    del results
    end_at = time.monotonic() + 5
    while {invocation.state for invocation in gateway.invocations.values()} != {"cancelled"}:
        assert time.monotonic() < end_at
        time.sleep(0.01)


def test_the_garbage_collector_may_end_an_iterator_wherever_a_lock_is_held(client, gateway):
    gateway.held = {"held"}
    client.submit(add, 1).result(5)
    results = client.map(held, range(3), timeout=0.3)
    with pytest.raises(TimeoutError):
        next(results)
    results = client.map(add, range(3), chunksize=1)
    next(results)
    with client._desk._lock, client._desk._engine._lock:
        del results


def test_a_chunk_that_ends_as_a_whole_is_tried_call_by_call(client, gateway):
    gateway.held = {"held"}
    results = client.map(held, [1, 2, 3], chunksize=3)
    while not gateway.invocations:
        time.sleep(0.01)
    (first,) = gateway.invocations
    gateway.held = set()
    gateway.finish(first, failure={"kind": "poison", "message": "the slot died three times"})
    assert list(results) == [1, 2, 3]
    assert len(gateway.invocations) == 4


@pytest.mark.parametrize("said", [{"max_retries": 1}, {"walltime": 60}, {"checkpoints": True}, {"gpus": 1}])
def test_a_function_of_which_each_run_counts_gets_an_invocation_for_each_call(client, gateway, said):
    counted = harvester.function(**said)(add)
    assert list(client.map(counted, range(100))) == list(range(100))
    assert len(gateway.invocations) == 100
    assert gateway.call_counts == []


def test_results_that_were_taken_are_not_kept(client):
    results = client.map(_make, range(8), chunksize=4)
    kept = [next(results) for _ in range(5)]
    del kept
    gc.collect()
    assert sum(isinstance(each, Large) for each in gc.get_objects()) <= 4
    assert len(list(results)) == 3


class Large:
    def __init__(self, number):
        self.number = number


def _make(number):
    return Large(number)


def test_closing_sends_what_was_not_sent_yet(client, gateway):
    gateway.held = {"held"}
    results = client.map(held, range(2000))
    client.close()
    assert len(gateway.invocations) == 2000
    with pytest.raises(harvester.ClientClosed):
        next(results)
