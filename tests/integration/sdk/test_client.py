"""The client against a gateway in miniature, over real sockets."""

import os
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait
from pathlib import Path

import pytest

import harvester
from harvester.sdk.registration.default import forget


def add(a, b=0):
    return a + b


def divide(a, b):
    return a / b


@harvester.function(name="held")
def held(value):
    return value


def test_a_submitted_function_returns_its_result(client):
    future = client.submit(add, 2, b=3)
    assert future.result(5) == 5
    assert future.done()
    assert not future.cancelled()
    assert future.invocation_id.startswith("i-")


def test_a_lambda_with_a_closure_travels(client):
    offset = 10
    assert client.submit(lambda x: x + offset, 1).result(5) == 11


def test_a_function_travels_once_and_a_changed_one_becomes_a_new_version(client, gateway):
    futures = [client.submit(add, number) for number in range(5)]
    assert [future.result(5) for future in futures] == list(range(5))
    assert gateway.seen["POST /v1/functions"] == 1
    for power in (2, 3):
        assert client.submit(lambda x, power=power: x**power, 2).result(5) == 2**power
    assert [version["document"]["version"] for version in gateway.functions["lambda"]] == [1, 2]


def test_two_objects_with_the_same_code_are_one_registration(client, gateway):
    for _ in range(3):
        assert client.submit(lambda: 7).result(5) == 7
    assert gateway.seen["POST /v1/functions"] == 1


def test_an_exception_of_the_function_is_raised_with_its_remote_traceback(client):
    future = client.submit(divide, 1, 0)
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        future.result(5)
    cause = caught.value.__cause__
    assert isinstance(cause, harvester.InvocationFailed)
    assert cause.invocation_id == future.invocation_id
    assert (cause.kind, cause.error_type) == ("exception", "ZeroDivisionError")
    assert cause.traceback in str(cause)
    assert future.exception(0) is caught.value


def test_the_exception_is_raised_again_by_id_where_the_arguments_were_pickled(client):
    client.register(divide)
    with pytest.raises(ZeroDivisionError) as caught:
        client.invoke("divide", [1, 0], encoding="pickle", timeout=5)
    assert isinstance(caught.value.__cause__, harvester.InvocationFailed)
    future = client.submit(divide, 1, 0)
    with pytest.raises(ZeroDivisionError):
        client.result(future.invocation_id, timeout=5)
    with pytest.raises(harvester.InvocationFailed, match="ZeroDivisionError"):
        client.invoke("divide", [1, 0], timeout=5)


def test_the_exception_is_raised_again_also_where_the_stream_tells_nothing(client, gateway):
    gateway.has_streams = False
    with pytest.raises(ZeroDivisionError):
        client.submit(divide, 1, 0).result(10)


def test_as_completed_and_wait_see_results_failures_and_cancellations(client, gateway):
    gateway.held = {"held"}
    good, bad, gone = client.submit(add, 1), client.submit(divide, 1, 0), client.submit(held, 1)
    assert gone.invocation_id in gateway.invocations
    done, _ = wait([good, bad, gone], timeout=5, return_when=FIRST_COMPLETED)
    assert done
    assert gone.cancel()
    assert set(as_completed([good, bad, gone], timeout=5)) == {good, bad, gone}
    assert wait([good, bad, gone], timeout=0).not_done == set()


def test_cancelling_reaches_the_gateway_and_twice_is_once(client, gateway):
    gateway.held = {"held"}
    future = client.submit(held, 1)
    invocation_id = future.invocation_id
    called, is_called = [], threading.Event()
    future.add_done_callback(called.append)
    future.add_done_callback(lambda _: is_called.set())
    assert future.cancel()
    assert future.cancel()
    assert gateway.invocations[invocation_id].state == "cancelled"
    assert gateway.seen["POST /v1/invocations/{id}/cancel"] == 1
    assert is_called.wait(5)
    assert called == [future]
    with pytest.raises(CancelledError):
        future.result(0)


def test_what_has_ended_cannot_be_cancelled(client):
    future = client.submit(add, 1)
    future.result(5)
    assert not future.cancel()
    assert future.result(0) == 1


def test_an_invocation_cancelled_by_somebody_else_is_a_cancelled_future(client, gateway):
    gateway.held = {"held"}
    future = client.submit(held, 1)
    client.cancel(future.invocation_id)
    with pytest.raises(CancelledError):
        future.result(5)
    assert future.cancelled()


def test_an_expired_invocation_says_so(client, gateway):
    gateway.held = {"held"}
    future = client.submit(held, 1)
    gateway.finish(future.invocation_id, state="expired")
    with pytest.raises(harvester.InvocationFailed, match="expired"):
        future.result(5)


def test_map_one_by_one_keeps_the_order_and_travels_in_batches(client, gateway):
    assert list(client.map(add, range(2500), range(2500), chunksize=1)) == [2 * number for number in range(2500)]
    assert gateway.batch_sizes == [1000, 1000, 500]


def test_map_raises_a_timeout_and_cancels_what_is_left(client, gateway):
    gateway.held = {"held"}
    results = client.map(held, range(3), timeout=0.3)
    with pytest.raises(TimeoutError):
        next(results)
    assert {each.state for each in gateway.invocations.values()} == {"cancelled"}


def test_submissions_made_one_after_another_share_batches(client, gateway):
    client.register(add)
    futures = [client.submit(add, number) for number in range(500)]
    assert [future.result(10) for future in futures] == list(range(500))
    lone = gateway.seen["POST /v1/functions/{name}/invocations"]
    assert sum(gateway.batch_sizes) + lone == 500
    assert len(gateway.batch_sizes) + lone < 50


def test_a_short_call_does_not_wait_for_a_long_one(client, gateway):
    gateway.held = {"held"}
    long = [client.submit(held, number) for number in range(3)]
    assert all(future.invocation_id for future in long)
    assert client.submit(add, 1).result(10) == 1
    assert not any(each.done() for each in long)
    gateway.finish(long[1].invocation_id, "second")
    assert long[1].result(5) == "second"
    assert not long[0].done()


def test_results_that_are_too_large_for_the_stream_are_fetched(client, gateway):
    gateway.push_bytes = 0
    futures = [client.submit(add, number, 1) for number in range(2)]  # the first one's is the answer to its request
    assert [future.result(5) for future in futures] == [1, 2]
    assert gateway.seen["GET /v1/invocations/{id}/result"] == 1


def test_an_unknown_function_is_refused_by_name(client):
    future = client.submit("nobody", 1)
    with pytest.raises(harvester.GatewayError, match=r"no function 'nobody' \(register it first\)"):
        future.result(5)


def test_a_registered_function_is_invoked_by_name_in_json_and_pickle(client):
    client.register(add, "plus")
    assert client.invoke("plus", [1, 2]) == 3
    assert client.invoke("plus", [1], {"b": 5}, encoding="pickle") == 6
    assert client.submit("plus", 1, b=1).result(5) == 2
    assert client.result(client.start("plus", ["a", "b"]), timeout=5) == "ab"


def test_results_of_failed_cancelled_and_open_invocations_are_told_apart(client, gateway):
    gateway.held = {"held"}
    registration = client.register(held)
    ids = [client.start("held", [1]) for _ in range(3)]
    assert registration.function_id == "held@1"
    gateway.finish(ids[0], failure={"kind": "poison", "message": "the slot died three times"})
    client.cancel(ids[1])
    with pytest.raises(harvester.InvocationFailed, match=r"poison.*died three times"):
        client.result(ids[0])
    with pytest.raises(CancelledError):
        client.result(ids[1])
    with pytest.raises(TimeoutError):
        client.result(ids[2], timeout=0.05)


def test_a_wrong_token_is_an_error_at_once(gateway):
    with (
        harvester.Client(gateway.url, "wrong") as client,
        pytest.raises(harvester.GatewayError, match="token is unknown"),
    ):
        client.submit(add, 1)


def test_functions_are_listed_over_all_pages(client):
    for name in ("a", "b", "c", "d", "e"):
        client.register(add, name)
    assert [each["name"] for each in client.functions()] == ["a", "b", "c", "d", "e"]


def test_a_decorated_function_submits_through_the_default_client(gateway, monkeypatch):
    monkeypatch.setenv("HARVESTER_URL", gateway.url)
    monkeypatch.setenv("HARVESTER_TOKEN", "user-token")
    forget()
    cube = harvester.function(lambda x: x**3)
    try:
        assert cube.register().version == 1
        assert cube.submit(3).result(5) == 27
        assert list(cube.map([1, 2])) == [1, 8]
    finally:
        harvester.default_client().close()
        forget()


def test_a_result_that_cannot_be_decoded_here_is_told_as_such(client, gateway):
    gateway.held = {"held"}
    future = client.submit(held, 1)
    gateway.finish(future.invocation_id, raw=b"no pickle")
    with pytest.raises(harvester.InvocationFailed, match="cannot be decoded on this machine"):
        future.result(5)


def test_a_callback_may_submit_more(client):
    total, done = [], threading.Event()

    def again(future):
        total.append(future.result())
        if len(total) < 3:
            client.submit(add, len(total)).add_done_callback(again)
        else:
            done.set()

    client.submit(add, 0).add_done_callback(again)
    assert done.wait(5)
    assert total == [0, 1, 2]


def test_the_example_runs_both_ways(gateway):
    environ = os.environ | {"HARVESTER_URL": gateway.url, "HARVESTER_TOKEN": "user-token"}
    command = [sys.executable, Path(__file__).parents[3] / "examples/pi.py", "1"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    here, _, there = ended.stdout.splitlines()
    assert here.split()[1:] == there.split()[1:]
