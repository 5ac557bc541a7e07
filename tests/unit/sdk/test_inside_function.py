"""The SDK inside a function: whatever blocks on invocations tells the host, and a function that runs here is known."""

import asyncio
import concurrent.futures
import contextlib
import threading

import pytest

import harvester
from harvester.domain.model import hosting
from harvester.domain.model.hosting import RunOver
from harvester.sdk.async_futures import AsyncInvocationFuture
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.inside_function import OpenFutures, settings_here
from harvester.sdk.registration import default
from harvester.sdk.registration.registry import Registry
from harvester.sdk.registration.target import Target


class Host:
    """A host that remembers what it was told."""

    def __init__(self):
        self.waits = self.now = 0
        self.has_begun = threading.Event()
        self.functions, self.closing = {}, []

    def access(self):
        raise RunOver("over")

    @contextlib.contextmanager
    def waiting(self):
        self.waits += 1
        self.now += 1
        self.has_begun.set()
        yield
        self.now -= 1

    def function_id(self, plain):
        return self.functions.get(plain)

    def at_end(self, close):
        self.closing.append(close)


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(hosting, "_hosts", [host])
    return host


def future():
    return InvocationFuture(lambda _: True)


@pytest.mark.parametrize(
    "wait",
    [
        lambda each: each.result(),
        lambda each: each.exception(),
        lambda each: concurrent.futures.wait([each, future()], return_when="FIRST_COMPLETED"),
        lambda each: next(concurrent.futures.as_completed([each, future()])),
        lambda each: list(concurrent.futures.as_completed([each])),
    ],
)
def test_whatever_blocks_on_a_future_tells_the_host(host, wait):
    each = future()
    thread = threading.Thread(target=wait, args=(each,))
    thread.start()
    assert host.has_begun.wait(10)
    each.settle(1)
    thread.join(10)
    assert not thread.is_alive()
    assert (host.waits, host.now) == (1, 0)


def test_what_has_ended_is_not_waited_for(host):
    each = future()
    each.settle(1)
    assert each.result() == 1
    concurrent.futures.wait([each])
    list(concurrent.futures.as_completed([each]))
    assert host.now == 0


def test_a_loop_may_wait_as_long_as_a_future_is_open_and_each_end_may_set_it_to_work(host):
    async def main():
        opened = OpenFutures()
        futures = [AsyncInvocationFuture(lambda _: None) for _ in range(2)]
        for each in futures:
            opened.add(each)
        seen = [(host.waits, host.now)]
        for each in futures:
            each.settle(1)
            await asyncio.sleep(0)
            seen.append((host.waits, host.now))
        return seen

    assert asyncio.run(main()) == [(1, 1), (2, 1), (2, 0)]


def test_outside_a_slot_a_future_is_as_ever():
    assert type(future()._condition) is threading.Condition
    assert type(future()._waiters) is list


def test_a_function_that_runs_here_is_the_version_that_runs_here(host):
    def plain(n):
        return n

    decorated = harvester.function(plain)
    host.functions[plain] = "plain@3"
    registry = Registry()
    assert registry.known(plain) == Target(name="plain", version=3)
    assert registry.known(decorated) is None, "it may have been given other traits here"
    decorated.is_restored = True
    assert registry.known(decorated.options(priority=1)) == Target(name="plain", version=3), "its traits are the same"
    assert registry.known(decorated) == Target(name="plain", version=3)
    assert registry.known(lambda: 0) is None


def test_the_default_client_is_forgotten_with_the_run(host, monkeypatch):
    monkeypatch.setattr(default, "_clients", {})
    monkeypatch.setattr(default, "_makers", [object])
    first = default.default_caller()
    assert default.default_caller() is first
    (forget,) = host.closing
    forget()
    assert default.default_caller() is not first


def test_a_thread_that_outlived_its_run_needs_an_address_and_a_token_of_its_own(host):
    with pytest.raises(RunOver):
        settings_here("http://g:1", None)
    assert settings_here("http://g:1", "t").parent == ""
