"""The executor in the hands of code that knows `concurrent.futures` only."""

import asyncio
import concurrent.futures
import functools
import io

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
