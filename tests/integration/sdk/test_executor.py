"""The executor in the hands of code that knows `concurrent.futures` only."""

import asyncio
import concurrent.futures
import functools
import io
import threading
import time

import pytest

import harvester


def square(number, offset=0):
    return number * number + offset


class Multiplier:
    def __init__(self, factor):
        self.factor = factor

    def times(self, number):
        return self.factor * number


@pytest.fixture
def executor(client):
    with harvester.Executor(client, cpus=2) as made:
        yield made


def test_it_is_an_executor_for_those_who_ask(executor, gateway):
    assert isinstance(executor, concurrent.futures.Executor)
    futures = [executor.submit(square, number, offset=1) for number in range(20)]
    assert {future.result() for future in concurrent.futures.as_completed(futures, timeout=5)} == {
        number * number + 1 for number in range(20)
    }
    assert list(executor.map(square, range(5), range(5))) == [0, 2, 6, 12, 20]
    assert gateway.functions["square"][0]["resources"]["cpus"] == 2
    assert gateway.seen["POST /v1/functions"] == 1


def test_partials_methods_closures_and_builtins_need_no_registration_each(executor, gateway):
    for factor in range(1, 6):
        assert executor.submit(functools.partial(square, factor)).result(5) == factor * factor
        assert executor.submit(Multiplier(factor).times, 3).result(5) == 3 * factor
        assert executor.submit(lambda number, factor=factor: factor + number, 1).result(5) == factor + 1
    assert executor.submit(len, "abc").result(5) == 3
    assert list(executor.map(lambda a, b: a - b, [3, 4], [1, 1])) == [2, 3]
    assert list(executor.map(lambda a: a, [])) == []
    assert gateway.seen["POST /v1/functions"] == 1


@harvester.function(cpus=3)
def decorated(number, offset):
    return number + offset


def test_a_partial_of_a_decorated_function_keeps_what_the_decorator_says(executor, gateway):
    for number in range(3):
        assert executor.submit(functools.partial(decorated, number), 1).result(5) == number + 1
        assert list(executor.map(functools.partial(decorated, offset=number), [1, 2])) == [number + 1, number + 2]
    (registered,) = gateway.functions["decorated"]
    assert registered["resources"]["cpus"] == 3
    assert gateway.seen["POST /v1/functions"] == 1


async def test_asyncio_runs_in_it(gateway):
    def run():
        client = harvester.Client(gateway.url, "user-token")
        return client, harvester.Executor(client)

    client, executor = await asyncio.to_thread(run)
    loop = asyncio.get_running_loop()
    results = await asyncio.gather(*(loop.run_in_executor(executor, square, number) for number in range(10)))
    assert results == [number * number for number in range(10)]
    await asyncio.to_thread(executor.shutdown)
    await asyncio.to_thread(client.close)


def test_shutdown_waits_and_then_takes_no_more(client, gateway):
    gateway.held = {"square"}
    executor = harvester.Executor(client)
    futures = [executor.submit(square, number) for number in range(3)]
    assert all(future.invocation_id for future in futures)
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(square, [1])


def test_shutdown_waits_for_maps_and_their_iterators_may_be_dropped(client, gateway):
    executor = harvester.Executor(client)
    next(executor.map(square, range(3), chunksize=1))  # left behind at once
    gateway.held = {"square"}
    left = executor.map(square, range(3), chunksize=1)
    del left
    ended = threading.Event()
    waiting = threading.Thread(target=lambda: (executor.shutdown(), ended.set()))
    waiting.start()
    assert not ended.wait(0.2)
    held = [each for each in gateway.invocations.values() if each.state == "accepted"]
    assert len(held) == 3
    for each in held:
        gateway.finish(each.invocation_id, 1)
    assert ended.wait(5)
    waiting.join()
    assert all(each.state == "succeeded" for each in gateway.invocations.values())


def test_cancel_futures_cancels_what_has_not_begun_of_maps_too_and_leaves_what_runs(client, gateway):
    gateway.held = {"square"}
    executor = harvester.Executor(client)
    futures = [executor.submit(square, number) for number in range(3)]
    results = executor.map(square, range(2), chunksize=1)
    ids = [future.invocation_id for future in futures]
    while len(gateway.invocations) < 5:
        time.sleep(0.01)
    gateway.invocations[ids[0]].state = "running"
    assert futures[0].running()
    assert not futures[1].running()
    executor.shutdown(wait=False, cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False, True, True]
    with pytest.raises(concurrent.futures.CancelledError):
        next(results)
    gateway.finish(ids[0], 7)
    executor.shutdown()
    assert futures[0].result(0) == 7
    assert sorted(each.state for each in gateway.invocations.values()) == ["cancelled"] * 4 + ["succeeded"]


def test_max_workers_bounds_what_is_open(client, gateway):
    gateway.held = {"square"}
    executor = harvester.Executor(client, max_workers=2)
    assert executor._max_workers == executor.max_workers == 2
    futures = [executor.submit(square, number) for number in range(5)]
    results = executor.map(square, range(2), chunksize=1)
    assert futures[3].cancel()  # it waits here: nobody else has to know
    for expected in (2, 4, 6):
        while len(gateway.invocations) < expected:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(gateway.invocations) == expected
        for each in [each for each in gateway.invocations.values() if each.state == "accepted"]:
            gateway.finish(each.invocation_id, 9)
    assert list(results) == [9, 9]
    assert [future.result(5) for future in (*futures[:3], futures[4])] == [9] * 4
    executor.shutdown()
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            harvester.Executor(client, max_workers=number)


def test_what_waits_for_room_is_sent_when_the_client_closes(gateway):
    gateway.held = {"square"}
    with harvester.Client(gateway.url, "user-token") as client:
        futures = [harvester.Executor(client, max_workers=1).submit(square, number) for number in range(1)]
        executor = harvester.Executor(client, max_workers=1)
        futures += [executor.submit(square, number) for number in range(3)]
    assert len(gateway.invocations) == 4
    for future in futures:
        with pytest.raises(harvester.ClientClosed):
            future.result(0)


def test_without_a_bound_max_workers_is_the_room_that_the_site_has(client, gateway):
    assert harvester.Executor(client).max_workers == 2  # of the idle node: there is no pilot
    assert harvester.Executor(client, cpus=2).max_workers == 1
    assert harvester.Executor(client, gpus=1).max_workers == 1  # never none, for those who divide by it


def test_an_initializer_is_called_before_the_first_call_of_a_process(client):
    def initialize(value):
        import os

        os.environ["HARVESTER_TEST_INITIALIZED"] = os.environ.get("HARVESTER_TEST_INITIALIZED", "") + value

    def look(_):
        import os

        return os.environ.get("HARVESTER_TEST_INITIALIZED")

    with harvester.Executor(client, initializer=initialize, initargs=("yes",)) as executor:
        assert "yes" in executor.submit(look, 1).result(5)
    broken = harvester.Executor(client, initializer=lambda: 1 / 0)
    with pytest.raises(concurrent.futures.BrokenExecutor, match="division by zero"):
        broken.submit(look, 1).result(5)


def test_arguments_may_have_any_name(executor):
    def capture(*args, **kwargs):
        return args, kwargs

    odd = {"self": 1, "fn": 2, "client": 3, "timeout": 4, "state": 5}
    assert executor.submit(capture, 0, **odd).result(5) == ((0,), odd)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_maps_and_futures_on_a_terminal_only(client, monkeypatch, capsys):
    assert list(harvester.progress(client.map(square, range(4)), total=4)) == [0, 1, 4, 9]
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    futures = [client.submit(square, number) for number in range(3)]
    assert {future.result() for future in harvester.progress(futures, description="squares")} == {0, 1, 4}
    assert "squares" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
