"""The client when things go wrong: restarts, lost answers, refusals, the end of the program."""

import os
import subprocess
import sys
import threading

import pytest

import harvester

from .conftest import TOKEN


def add(a, b=0):
    return a + b


@harvester.function(name="held")
def held(value):
    return value


def test_waiting_goes_on_when_the_gateway_restarts(client, gateway):
    gateway.held = {"held"}
    waiting = client.submit(held, 1)
    assert waiting.invocation_id
    gateway.stop()
    timer = threading.Timer(0.3, gateway.start)
    timer.start()
    late = client.submit(add, 5)  # submitted while nobody answers
    timer.join()
    assert late.result(10) == 5
    gateway.finish(waiting.invocation_id, "kept")
    assert waiting.result(10) == "kept"


def test_a_repeated_submission_is_the_same_invocation(client, gateway):
    client.register(add)
    gateway.lose_next_answer = True
    assert client.submit(add, 4).result(5) == 4
    assert gateway.seen["POST /v1/functions/{name}/invocations"] == 2
    assert len(gateway.invocations) == 1
    gateway.lose_next_answer = True
    assert list(client.map(add, range(3))) == [0, 1, 2]
    assert gateway.seen["POST /v1/functions/{name}/batches"] == 2
    assert len(gateway.invocations) == 4


def test_of_a_batch_with_one_oversized_invocation_only_that_one_is_refused(client):
    big = b"x" * 5_000_000
    futures = [client.submit(len, argument) for argument in (b"1", big, b"22", b"333")]
    assert [futures[index].result(5) for index in (0, 2, 3)] == [1, 2, 3]
    with pytest.raises(harvester.GatewayError, match=r"over the limit.*send a path"):
        futures[1].result(5)
    with pytest.raises(harvester.GatewayError):
        _ = futures[1].invocation_id


def test_nobody_at_the_address_is_an_error_with_a_remedy(gateway):
    url = gateway.url
    gateway.stop()
    try:
        with (
            harvester.Client(url, "any", patience_s=0.2) as client,
            pytest.raises(harvester.GatewayUnreachable, match=r"does not answer.*harvester up"),
        ):
            client.pilots()
    finally:
        gateway.start()


def test_closing_ends_open_futures_and_says_how_to_get_their_results(client, gateway):
    gateway.held = {"held"}
    future = client.submit(held, 1)
    client.close()  # what was submitted is sent first
    assert gateway.invocations[future.invocation_id].state == "accepted"
    with pytest.raises(harvester.ClientClosed, match=r"Client\.result"):
        future.result(5)
    with pytest.raises(harvester.ClientClosed):
        client.submit(add, 1)


def test_what_the_gateway_has_not_answered_when_the_client_closes_is_told_of_as_such(client, gateway, caplog):
    client.submit(add, 1).result(5)
    gateway.stop()
    try:
        futures = [client.submit(add, number) for number in range(3)]
        futures[0].cancel()
        client._desk._engine.close(0.1)
    finally:
        gateway.start()
    for future in futures[1:]:
        with pytest.raises(harvester.ClientClosed, match="may not have reached it"):
            future.result(5)
    assert "2 submissions may not have reached the gateway" in caplog.text


def test_a_client_in_a_forked_process_says_that_it_is_of_no_use(client, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(harvester.HarvesterError, match="each process"):
        client.submit(add, 1)
    monkeypatch.undo()


def test_a_gateway_that_refuses_to_say_is_not_asked_in_a_loop(client, gateway):
    gateway.held = {"held"}
    gateway.has_streams = False
    gateway.refusing["/v1/wait"] = 403
    future = client.submit(held, 1)
    assert future.invocation_id
    with pytest.raises(harvester.GatewayError, match="refused"):
        future.result(5)
    assert gateway.seen["POST /v1/wait"] == 1


def test_a_program_that_ends_at_once_has_submitted_what_it_submitted(gateway):
    program = "import harvester; c = harvester.Client(); [c.submit(len, 'abc') for _ in range(20)]"
    environ = os.environ | {"HARVESTER_URL": gateway.url, "HARVESTER_TOKEN": "user-token"}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(gateway.invocations) == 20


class Leaves:
    def __reduce__(self):
        return sys.exit, (3,)


def test_a_result_that_exits_when_it_is_opened_ends_alone(client):
    futures = [client.submit(lambda: Leaves()), client.submit(add, 1)]  # noqa: PLW0108 - made there
    with pytest.raises(harvester.InvocationFailed, match="cannot be decoded on this machine"):
        futures[0].result(5)
    assert futures[1].result(5) == 1
    assert client.submit(add, 2).result(5) == 2


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.submit(add, 3).result(5),
        lambda client: client.submit(add, 3).invocation_id,
        lambda client: list(client.map(add, range(3))),
        lambda client: sys.exit(3),
    ],
    ids=["result", "id", "map", "exit"],
)
def test_a_callback_may_wait_for_the_client_that_calls_it(client, wait):
    said = []

    def callback(future):
        said.append(future.result())
        said.append(wait(client))

    future = client.submit(add, 1)
    done = threading.Event()
    future.add_done_callback(callback)
    future.add_done_callback(lambda _: done.set())
    assert client.submit(add, 2).result(5) == 2
    assert done.wait(5)
    assert said[0] == 1


def test_what_ends_the_background_thread_is_told_to_all_and_the_next_call_begins_anew(client, gateway, caplog):
    gateway.held = {"held"}
    open_ones = [client.submit(held, 1), client.submit(held, 2)]
    mapped = client.map(held, [1, 2])
    assert all(future.invocation_id for future in open_ones)
    engine = client._desk.engine()
    engine._loop.call_soon_threadsafe(sys.exit, 3)
    for future in open_ones:
        with pytest.raises(harvester.HarvesterError, match="background thread was ended by SystemExit: 3"):
            future.result(5)
    with pytest.raises(harvester.HarvesterError, match="ended by SystemExit"):
        next(mapped)
    assert client.submit(add, 5).result(5) == 5
    assert client._desk.engine() is not engine
    assert "SystemExit" in caplog.text


def test_a_task_of_the_line_that_breaks_down_is_told_too(client, gateway, monkeypatch):
    gateway.held = {"held"}
    future = client.submit(held, 1)
    assert future.invocation_id

    def broken(_):
        raise KeyError("mine")

    sender = client._desk.engine()._line._sender
    monkeypatch.setattr(sender, "_start", broken)
    client._desk.engine()._loop.call_soon_threadsafe(sender.put, [])
    with pytest.raises(harvester.HarvesterError, match=r"broke down.*mine"):
        future.result(5)
    assert client.submit(add, 5).result(5) == 5


def test_closing_waits_for_the_callbacks_of_what_has_ended(gateway):
    said = []
    with harvester.Client(gateway.url, TOKEN) as client:
        future = client.submit(add, 1)
        future.add_done_callback(lambda _: said.append(threading.Event().wait(0.2)))
        future.result(5)
    assert said == [False]
