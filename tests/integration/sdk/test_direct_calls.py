"""Calls of an idle client against a gateway: one request on a connection of the caller's, and all that may go wrong."""

import asyncio
import concurrent.futures
import os
import signal
import threading
import time

import pytest
from tests.integration.sdk.conftest import TOKEN

import harvester

INVOKE = "POST /v1/functions/{name}/invocations"


def add(one, other=0):
    return one + other


def held(value):
    return value


def slow(value):
    time.sleep(0.3)
    return value


@pytest.fixture
def idle(client):
    """A client with a connection that is free, and nothing open."""
    client.register(add)
    assert client.submit(add, 1).result(5) == 1
    return client


def wait_until(holds):
    while not holds():  # the test's own limit ends a wait in vain
        time.sleep(0.002)


def test_a_call_that_is_waited_for_is_one_request_and_no_stream_tells_of_it(idle, gateway):
    before, gateway.pushes = gateway.seen[INVOKE], False
    for number in range(20):
        assert idle.submit(add, number, 1).result(5) == number + 1
    assert gateway.seen[INVOKE] == before + 20
    assert gateway.seen["POST /v1/wait"] == 0


def test_another_thread_may_wait_for_the_result(idle):
    future = idle.submit(add, 3)
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: future.result(5), range(3))) == [3, 3, 3]


@pytest.mark.parametrize("wait", [concurrent.futures.wait, lambda each: list(concurrent.futures.as_completed(each))])
def test_who_waits_for_many_hears_of_it_at_once(idle, wait):
    future = idle.submit(add, 3)
    wait([future])
    assert future.done()


def test_asyncio_waits_for_it_and_its_callback_runs_in_a_thread_of_the_clients(idle):
    async def awaited():
        return await asyncio.wrap_future(idle.submit(add, 4))

    assert asyncio.run(awaited()) == 4
    where = []
    future = idle.submit(add, 5)
    future.add_done_callback(lambda _: where.append(threading.current_thread().name))
    assert future.result(5) == 5
    wait_until(lambda: where)
    assert where == ["harvester-callbacks"]


def test_nobody_has_to_ask_for_it_to_end(idle):
    ended = threading.Event()
    future = idle.submit(add, 6)
    future.on_end(lambda _: ended.set())
    assert ended.wait(5)
    assert future.result() == 6


def test_one_that_is_polled_ends(idle):
    future = idle.submit(add, 6)
    wait_until(future.done)
    assert future.result() == 6


def test_a_second_call_while_one_is_open_goes_in_a_batch_and_neither_waits_for_the_other(idle, gateway):
    gateway.held = {"held"}
    first = idle.submit(held, 1)
    others = [idle.submit(add, number) for number in range(50)]
    assert [future.result(5) for future in others] == list(range(50))
    gateway.finish(first.invocation_id, "late")
    assert first.result(5) == "late"


def test_its_id_is_known_while_it_runs(idle, gateway):
    gateway.held = {"held"}
    future = idle.submit(held, 1)
    assert gateway.invocations[future.invocation_id].state == "accepted"
    gateway.finish(future.invocation_id, 2)
    assert future.result(5) == 2
    assert len(gateway.invocations) == 2


@pytest.mark.parametrize("is_waited_for", [False, True])
def test_cancelling_reaches_the_gateway_also_while_a_thread_reads(idle, gateway, is_waited_for):
    gateway.held = {"held"}
    future = idle.submit(held, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        if is_waited_for:
            waiting = threads.submit(future.exception, 5)
            wait_until(lambda: not future._carrier.is_unattended)
        assert future.cancel()
        if is_waited_for:
            with pytest.raises(concurrent.futures.CancelledError):
                waiting.result(5)
    assert [each.state for each in gateway.invocations.values()][1:] == ["cancelled"]


def test_an_exception_of_the_function_is_raised(idle):
    with pytest.raises(ZeroDivisionError):
        idle.submit(divmod, 1, 0).result(5)


def test_a_timeout_leaves_it_running(idle):
    future = idle.submit(slow, 1)
    with pytest.raises(TimeoutError):
        future.result(0.05)
    assert future.result(5) == 1


def test_a_gateway_that_is_restarted_while_a_thread_reads_still_ends_it(idle, gateway):
    gateway.held = {"held"}
    future = idle.submit(held, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(future.result, 20)
        wait_until(lambda: len(gateway.invocations) == 2)
        gateway.stop()
        gateway.start()
        gateway.finish(list(gateway.invocations)[1], "kept")
        assert waiting.result(20) == "kept"
    assert len(gateway.invocations) == 2


def test_a_connection_that_the_gateway_has_closed_is_not_used(idle, gateway):
    gateway.stop()
    gateway.start()
    assert [idle.submit(add, number).result(10) for number in range(3)] == [0, 1, 2]
    assert len(gateway.invocations) == 4


def test_a_lost_answer_makes_no_second_invocation(idle, gateway):
    gateway.lose_next_answer = True
    assert idle.submit(add, 4).result(5) == 4
    assert len(gateway.invocations) == 2


def test_what_is_refused_for_now_is_sent_again(idle, gateway):
    gateway.pressure = 1
    assert idle.submit(add, 4).result(5) == 4


def test_closing_while_a_thread_reads_ends_its_wait_and_the_invocation_goes_on(gateway):
    gateway.held = {"held"}
    client = harvester.Client(gateway.url, TOKEN)
    client.register(held)
    future = client.submit(held, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(future.result, 20)
        wait_until(lambda: len(gateway.invocations) == 1)
        client.close()
        with pytest.raises(harvester.ClientClosed):
            waiting.result(5)
    assert gateway.invocations[future.invocation_id].state == "accepted"


def test_an_interrupt_at_the_keyboard_leaves_it_running(idle, gateway):
    gateway.held = {"held"}
    future = idle.submit(held, 1)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        future.result(10)
    gateway.finish(future.invocation_id, "kept")
    assert future.result(5) == "kept"


def test_a_forked_child_does_not_take_its_parents_answer(idle, gateway):
    gateway.held = {"held"}
    future = idle.submit(held, 1)
    child = os.fork()
    if not child:
        try:
            future._carrier.wait(0.2)
            os._exit(0 if future._state != "FINISHED" else 1)
        finally:
            os._exit(2)
    wait_until(lambda: len(gateway.invocations) == 2)
    gateway.finish(list(gateway.invocations)[1], "mine")
    assert future.result(5) == "mine"
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads_that_call_and_wait_all_get_their_own(idle):
    def calls(number):
        return [idle.submit(add, 100 * number, each).result(10) for each in range(30)]

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        for number, got in enumerate(threads.map(calls, range(6))):
            assert got == [100 * number + each for each in range(30)]


def test_a_named_function_is_called_so_once_a_connection_is_there(gateway):
    with harvester.Client(gateway.url, TOKEN) as one, harvester.Client(gateway.url, TOKEN) as client:
        one.register(add)

        def is_direct():  # a connection is made beside the first call, and its line may still be closing that
            assert client.submit("add", 1).result(5) == 1
            return client._desk.engine()._direct is not None

        wait_until(is_direct)
