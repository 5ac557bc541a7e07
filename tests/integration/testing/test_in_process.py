"""`harvester.testing` as the users of the harvester use it in tests of their own."""

import asyncio
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from support import probes

import harvester
from harvester.testing import InProcessHarvester, in_process, thread_pilot


class Overdrawn(Exception):
    """An exception of the user's own, with more than a text."""

    def __init__(self, account, amount):
        super().__init__(account, amount)
        self.account, self.amount = account, amount


@harvester.function
def withdraw(account, amount):
    if amount > 10:
        raise Overdrawn(account, amount)
    return {account: 10 - amount}


def square(x):
    return x * x


def keep(items):
    items.append("seen by the function")
    return items


def where():
    return os.getpid(), harvester.context().invocation_id


@harvester.function(checkpoints=True)
def count_to(n):
    ctx = harvester.context()
    done = ctx.restore(0)
    probes.ATTEMPTS.append((ctx.attempt, done))
    while done < n:
        done += 1
        ctx.checkpoint(done)
        if ctx.attempt == 1:
            probes.BEGAN.set()
            time.sleep(0.01)
    return done


def wait_for_ever():
    probes.BEGAN.set()
    probes.LEAVE.wait(3600)


def once_then_slow():
    probes.ATTEMPTS.append((harvester.context().attempt, None))
    if harvester.context().attempt == 1:
        probes.BEGAN.set()
        probes.LEAVE.wait(30)
    return harvester.context().attempt


@pytest.fixture(autouse=True)
def nothing_began():
    probes.clear()
    yield
    probes.LEAVE.set()  # threads cannot be ended: what a test has left running would meet the tests after it


@pytest.fixture
def system():
    with InProcessHarvester(cpus=2) as made:
        yield made


def test_a_function_is_submitted_and_its_result_comes_back(harvester_client):
    assert harvester_client.submit(square, 7).result(timeout=30) == 49


def test_map_keeps_the_order_in_one_invocation_a_call_and_in_chunks(harvester_client):
    assert list(harvester_client.map(square, range(20), chunksize=1)) == [x * x for x in range(20)]
    assert list(harvester_client.map(square, range(500))) == [x * x for x in range(500)]


def test_a_failure_raises_the_original_exception_with_all_that_it_holds(harvester_client):
    future = harvester_client.submit(withdraw, "ada", 11)
    with pytest.raises(Overdrawn) as raised:
        future.result(timeout=30)
    assert (raised.value.account, raised.value.amount) == ("ada", 11)


def test_a_decorated_function_finds_the_harvester_by_itself(harvester_client):
    assert withdraw.submit("ada", 3).result(timeout=30) == {"ada": 7}
    assert withdraw("ada", 3) == {"ada": 7}  # a plain call stays one
    assert os.environ["HARVESTER_URL"].startswith("http+unix://")


def test_arguments_and_results_are_pickled_both_ways(harvester_client):
    mine = ["mine"]
    assert harvester_client.submit(keep, mine).result(timeout=30) == ["mine", "seen by the function"]
    assert mine == ["mine"]
    with pytest.raises((TypeError, pickle.PicklingError), match="lock"):
        harvester_client.submit(square, threading.Lock())
    with pytest.raises(harvester.InvocationFailed, match="lock"):
        harvester_client.submit(threading.Lock).result(timeout=30)


def test_a_function_runs_in_this_process_and_knows_its_invocation(harvester_client):
    future = harvester_client.submit(where)
    assert future.result(timeout=30) == (os.getpid(), future.invocation_id)
    assert harvester.context().invocation_id == ""  # the test itself is in no run


def test_a_function_may_submit_others(harvester_client):
    def of_two(x):
        return sum(withdraw.submit("bob", each).result(timeout=30)["bob"] for each in (x, x + 1))

    assert harvester_client.submit(of_two, 1).result(timeout=30) == 17


def test_a_registered_function_is_invoked_by_its_name_in_json(harvester_client):
    harvester_client.register(square, "power")
    assert harvester_client.invoke("power", [9]) == 81


def test_what_asks_for_more_than_there_is_is_refused_as_on_a_cluster(system):
    big = harvester.function(cpus=3)(square)
    with system.client() as client, pytest.raises(harvester.GatewayError, match="asked 3 CPUs"):
        client.submit(big, 2)


def test_a_run_is_cancelled_and_its_slot_is_free_at_once(system):
    with system.client() as client:
        futures = [client.submit(wait_for_ever) for _ in range(3)]
        assert probes.BEGAN.wait(30)
        for future in futures:
            assert future.cancel()
        assert client.submit(square, 2).result(timeout=30) == 4


def test_an_evicted_run_is_resumed_from_its_checkpoint(system):
    with system.client() as client:
        future = client.submit(count_to, 300)
        assert probes.BEGAN.wait(30)
        time.sleep(0.1)
        system.evict()
        assert future.result(timeout=30) == 300
    (first, from_nothing), (second, resumed_at) = probes.ATTEMPTS
    assert (first, from_nothing, second) == (1, 0, 2)
    assert 0 < resumed_at < 300


def test_an_evicted_run_without_checkpoints_begins_anew(system):
    with system.client() as client:
        future = client.submit(once_then_slow)
        assert probes.BEGAN.wait(30)
        system.evict(within_s=0.1)
        assert future.result(timeout=30) == 2
    assert probes.ATTEMPTS == [(1, None), (2, None)]


def test_an_evicted_map_goes_on_where_it_was(system):
    def slow(x):
        time.sleep(0.01)
        probes.BEGAN.set()
        return x

    with system.client() as client:
        results = client.map(slow, range(60), chunksize=30)
        assert probes.BEGAN.wait(30)
        system.evict()
        assert list(results) == list(range(60))


def test_an_admin_evicts_the_pilot_as_on_a_cluster(system):
    with system.client() as client, system.client(is_admin=True) as admin:
        future = client.submit(count_to, 300)
        assert probes.BEGAN.wait(30)
        (pilot,) = admin.pilots()
        admin.evict(pilot["pilot_id"])
        assert future.result(timeout=30) == 300
    assert [attempt for attempt, _ in probes.ATTEMPTS] == [1, 2]


async def test_the_asyncio_client_speaks_to_it_too(system):
    async with system.async_client() as client:
        first, second = await asyncio.gather(client.submit(square, 3), client.submit(square, 4))
        assert (await first, await second) == (9, 16)
        assert (await client.whoami())["role"] == "user"


def test_two_of_them_know_nothing_of_each_other(system):
    with InProcessHarvester(cpus=1) as other, system.client() as here, other.client() as there:
        here.register(square, "only-here")
        assert [each["name"] for each in here.functions()] == ["only-here"]
        assert there.functions() == []


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(threading.enumerate())
    with InProcessHarvester() as system, system.client() as client:
        assert client.submit(square, 2).result(timeout=30) == 4
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 10
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_a_long_temporary_folder_does_not_keep_it_from_starting(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with InProcessHarvester() as system, system.client() as client:
        assert client.submit(square, 2).result(timeout=30) == 4


@pytest.mark.parametrize("too_few", [{"cpus": 0}, {"gpus": -1}, {"memory_mb": -1}])
def test_too_few_of_something_is_refused_by_its_name(too_few):
    with pytest.raises(ValueError, match=next(iter(too_few))):
        InProcessHarvester(**too_few)


def test_the_first_question_whether_a_lone_call_runs_is_answered_by_the_gateway(harvester_client):
    probes.BEGAN.clear()
    future = harvester_client.submit(wait_for_ever)
    assert probes.BEGAN.wait(10)
    assert future.running()
    assert future.cancel()


def test_a_harvester_whose_pilot_finds_no_gateway_leaves_nothing_behind(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionRefusedError("on purpose")

    folder = Path(tempfile.mkdtemp(prefix="harvester-"))
    monkeypatch.setattr(in_process, "_temporary_folder", lambda: folder)
    monkeypatch.setattr(thread_pilot, "unix_connect", refuse)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="the pilot found no gateway: on purpose"):
        InProcessHarvester()
    assert not folder.exists()
    assert [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()] == []


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import harvester.testing
"""


@pytest.mark.parametrize("name", ["sqlalchemy", "websockets", "fastapi"])
def test_an_extra_that_is_not_installed_is_named(name):
    command = [sys.executable, "-c", WITHOUT.format(name=name)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = ended.stderr.strip().splitlines()[-1]
    assert told.startswith(f"ModuleNotFoundError: harvester.testing needs the Python package {name}")
    assert told.endswith("pip install 'hpc-harvester[gateway,worker]'")
