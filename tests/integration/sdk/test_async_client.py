"""The asyncio client against a gateway in miniature."""

import asyncio
import gc
import inspect
import warnings
from concurrent.futures import CancelledError
from contextlib import aclosing

import pytest

import harvester

from .conftest import TOKEN


def add(a, b=0):
    return a + b


def inverse(number):
    return 1 / number


@harvester.function(name="held")
def held(value):
    return value


@pytest.fixture
async def client(gateway):
    async with harvester.AsyncClient(gateway.url, TOKEN, patience_s=20) as made:
        yield made


async def test_a_submitted_function_returns_its_result(client, gateway):
    future = await client.submit(add, 2, b=3)
    assert await future == 5
    assert await future.invocation_id() in gateway.invocations
    futures = [await client.submit(add, number) for number in range(200)]
    assert await asyncio.gather(*futures) == list(range(200))
    assert gateway.seen["POST /v1/functions"] == 1


async def test_failures_are_raised_where_they_are_awaited(client):
    future = await client.submit(inverse, 0)
    with pytest.raises(ZeroDivisionError) as caught:
        await future
    assert isinstance(caught.value.__cause__, harvester.InvocationFailed)


async def test_a_stop_iteration_is_told_as_a_failure_since_asyncio_refuses_it(client):
    def stop():
        raise StopIteration(3)

    with pytest.raises(harvester.InvocationFailed, match="StopIteration"):
        await (await client.submit(stop))


def test_one_client_serves_a_second_event_loop_once_the_first_is_closed(gateway):
    client = harvester.AsyncClient(gateway.url, TOKEN)

    async def once(is_last):
        value = await (await client.submit(add, 1))
        assert await client.invoke("add", [2]) == 2
        assert [each async for each in client.map(add, range(3))] == [0, 1, 2]
        if is_last:
            await client.close()
        return value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the first loop was closed with connections open
        assert [asyncio.run(once(is_last)) for is_last in (False, True)] == [1, 1]
        gc.collect()


async def test_a_client_of_another_loop_says_so(client):
    await (await client.submit(add, 1))

    def elsewhere():
        with pytest.raises(harvester.HarvesterError, match="AsyncClient for each loop"):
            asyncio.run(client.pilots())

    await asyncio.to_thread(elsewhere)


async def test_what_breaks_the_line_down_is_told_and_the_next_call_begins_anew(client, gateway, monkeypatch):
    gateway.held = {"held"}
    future = await client.submit(held, 1)
    assert await future.invocation_id()

    sender = client._desk.line()._sender
    start = sender._start

    def broken(now):
        if sender._waiting:  # the end of the first request may wake it as well
            raise KeyError("mine")
        return start(now)

    monkeypatch.setattr(sender, "_start", broken)
    second = await client.submit(add, 1)
    for each in (future, second):
        with pytest.raises(harvester.HarvesterError, match=r"broke down.*mine"):
            await each
    assert await (await client.submit(add, 5)) == 5


async def test_map_is_an_asynchronous_iterator_in_order(client, gateway):
    assert [each async for each in client.map(add, range(3000), range(3000))] == [2 * each for each in range(3000)]
    assert len(gateway.invocations) < 500


async def test_leaving_a_map_and_cancelling_a_future_reach_the_gateway(client, gateway):
    gateway.held = {"held"}
    with pytest.raises(TimeoutError):
        async with aclosing(client.map(held, range(3), timeout=0.3)) as results:
            await anext(results)
    assert [each.state for each in gateway.invocations.values()] == ["cancelled"] * 3
    future = await client.submit(held, 1)
    invocation_id = await future.invocation_id()
    assert future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    async with asyncio.timeout(5):
        while (await client.invocation(invocation_id))["state"] != "cancelled":  # noqa: ASYNC110 - it is the gateway that changes
            await asyncio.sleep(0.01)


async def test_by_name_and_looking(client):
    await client.register(add, "plus")
    assert await client.invoke("plus", [1, 2]) == 3
    assert await client.result(await client.start("plus", ["a", "b"]), timeout=5) == "ab"
    assert [each["name"] for each in await client.functions()] == ["plus"]
    with pytest.raises(harvester.GatewayError, match="no invocation"):
        await client.cancel("i-99")


async def test_an_invocation_cancelled_by_somebody_else_is_cancelled_here(client, gateway):
    gateway.held = {"held"}
    invocation_id = await client.start("held", [1]) if "held" in gateway.functions else None
    assert invocation_id is None
    future = await client.submit(held, 1)
    await client.cancel(await future.invocation_id())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(future), 5)
    with pytest.raises(CancelledError):
        await client.result(await future.invocation_id())


async def test_closing_ends_what_is_open(gateway):
    gateway.held = {"held"}
    async with harvester.AsyncClient(gateway.url, TOKEN) as client:
        future = await client.submit(held, 1)
    assert len(gateway.invocations) == 1
    with pytest.raises(harvester.ClientClosed):
        await future
    with pytest.raises(harvester.ClientClosed):
        await client.submit(held, 1)


def test_both_clients_have_the_same_methods_with_the_same_parameters():
    def methods(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert methods(harvester.Client) == methods(harvester.AsyncClient)
    for name in methods(harvester.Client) - {"url"}:
        blocking, awaitable = (getattr(kind, name) for kind in (harvester.Client, harvester.AsyncClient))
        assert list(inspect.signature(blocking).parameters) == list(inspect.signature(awaitable).parameters), name
