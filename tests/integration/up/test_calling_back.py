"""Functions that call the gateway back, on two slots of a running system that all tests here share."""

import asyncio
import concurrent.futures
import os
import threading
import time

import pytest
from tests.support.running import Running

import harvester


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    state = tmp_path_factory.mktemp("calling") / "state"
    system = Running(state, "--scheduler", "local", "--nodes", "2", "--cpus", "1", "--port", "0")
    os.environ["HARVESTER_TOKEN"] = "whoever started it"  # which no function may see
    try:
        system.start()
    finally:
        del os.environ["HARVESTER_TOKEN"]
    yield system
    system.stop()
    system.kill_pilots()


@pytest.fixture
def client(running):
    with running.client("user") as client:
        yield client


@harvester.function
def square(x):
    time.sleep(0.15)
    return x * x


@harvester.function
def fib(n):
    return n if n < 2 else sum(future.result() for future in [fib.submit(n - 1), fib.submit(n - 2)])


@harvester.function
def by_wait(x):
    done, _ = concurrent.futures.wait([square.submit(x), square.submit(x + 1)])
    return sorted(future.result() for future in done)


@harvester.function
def by_as_completed(x):
    return sorted(
        future.result() for future in concurrent.futures.as_completed([square.submit(x), square.submit(x + 1)])
    )


@harvester.function
def by_map(x):
    return list(square.map([x, x + 1], chunksize=1))


@harvester.function
def by_invoke(x):
    return [harvester.default_client().invoke("square", [each]) for each in (x, x + 1)]


@harvester.function
def by_threads(x):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda each: square.submit(each).result(), [x, x + 1]))


@harvester.function
async def by_asyncio(x):
    async with harvester.AsyncClient() as own:
        return list(await asyncio.gather(*[await own.submit(square, each) for each in (x, x + 1)]))


WAYS = [by_wait, by_as_completed, by_map, by_invoke, by_threads, by_asyncio]


def test_a_function_that_submits_itself_ends_on_two_slots_and_is_no_new_version(client):
    assert client.submit(fib, 6).result(60) == 8
    (document,) = [each for each in client.functions() if each["name"] == "fib"]
    assert document["version"] == 1


def test_many_parents_on_two_slots_end_however_they_wait(client):
    client.register(square)
    futures = [client.submit(way, x) for x in range(2) for way in WAYS]
    assert [future.result(60) for future in futures] == [[0, 1]] * len(WAYS) + [[1, 4]] * len(WAYS)


def test_explain_says_for_what_a_run_waits(client, running):
    @harvester.function
    def child():
        time.sleep(30)

    @harvester.function
    def parent():
        harvester.default_client().submit(child).result()

    parents = [client.submit(parent) for _ in range(2)]
    waits = "it waits for an invocation that it has submitted, and others may use its CPUs meanwhile"
    for each in parents:
        running.wait_for(lambda each=each: waits in client.explain(each.invocation_id)["summary"], waits)
    children = [each["invocation_id"] for each in client.invocations(function="child")]
    assert len(children) == 2
    for each in (*children, *(each.invocation_id for each in parents)):
        client.cancel(each)


def test_a_function_acts_as_its_owner_and_finds_nobody_elses_credential(client):
    @harvester.function
    def who():
        own = harvester.default_client()
        with pytest_raises(harvester.GatewayError) as refused:
            own.pause("because")
        return own.whoami(), refused.value.status, os.environ.get("HARVESTER_TOKEN")

    pytest_raises = pytest.raises
    assert client.submit(who).result(30) == (client.whoami(), 403, None)


def test_threads_of_a_function_have_its_context_while_it_runs_and_nothing_of_it_is_left_after(client):
    @harvester.function
    def first():
        found = []
        thread = threading.Thread(target=lambda: found.append(harvester.context().invocation_id))
        thread.start()
        thread.join()
        asyncio.run(asyncio.to_thread(lambda: found.append(harvester.context().invocation_id)))
        square.submit(1).result()
        return found, harvester.context().invocation_id

    @harvester.function
    def second():
        return [thread.name for thread in threading.enumerate()]

    found, own = client.submit(first).result(30)
    assert found == [own, own]
    for _ in range(4):
        assert "harvester-client" not in client.submit(second).result(30)
