"""The host of a function: when a wait is told, and what ends with the run."""

import threading
from types import SimpleNamespace

import pytest

from harvester.domain.model.context import ProcessContext, context
from harvester.domain.model.hosting import RunOver
from harvester.domain.model.run_tokens import is_genuine, read_token
from harvester_worker.ipc.slot_messages import Home, Waits
from harvester_worker.slot import hosting
from harvester_worker.slot.hosting import SlotHost

HOME = Home(url="http://gateway:1", pilot_id="p1", key=b"k" * 32)
RUN = SimpleNamespace(number=7, invocation_id="i1", fence=5)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0, used=0.0)
    times = SimpleNamespace(monotonic=lambda: clock.now, process_time=lambda: clock.used)
    monkeypatch.setattr(hosting, "time", times)
    return clock


@pytest.fixture
def said():
    return []


@pytest.fixture
def host(monkeypatch, clock, said):
    process = ProcessContext()
    monkeypatch.setattr(hosting, "PROCESS", process)
    monkeypatch.setattr("harvester.domain.model.context.PROCESS", process)
    host = SlotHost(say=said.append, wake=lambda _: None, function_id=lambda _: None)
    host.settle_in()
    host.begin(RUN, HOME, SimpleNamespace())
    yield host
    if host._run is not None:
        host.end()


def passes(host, clock, seconds, used=0.0):
    clock.now += seconds
    clock.used += used
    host.look()


def test_a_wait_is_told_after_a_while_and_its_end_at_once(host, clock, said):
    with host.waiting():
        passes(host, clock, 0.04)
        assert said == []
        assert host.due_in_s == pytest.approx(0.01)
        passes(host, clock, 0.02)
        assert said == [Waits(number=7)]
    assert said == [Waits(number=7), Waits(number=7, is_over=True)]
    assert host.due_in_s is None


def test_a_short_wait_is_not_told(host, clock, said):
    with host.waiting():
        passes(host, clock, 0.04)
    passes(host, clock, 1.0)
    assert said == []


def test_a_run_does_not_wait_while_another_thread_of_it_works(host, clock, said):
    with host.waiting():
        passes(host, clock, 0.06, used=0.05)
        assert said == []
        passes(host, clock, 0.06)
        assert said == [Waits(number=7)]
        passes(host, clock, 0.6, used=0.5)
        assert said == [Waits(number=7), Waits(number=7, is_over=True)]


def test_a_run_waits_on_while_one_of_its_threads_does(host, clock, said):
    with host.waiting():
        with host.waiting():
            passes(host, clock, 0.06)
        passes(host, clock, 0.06)
        assert said == [Waits(number=7), Waits(number=7, is_over=True), Waits(number=7)]


def test_a_wait_that_outlives_its_run_says_nothing_of_the_next_one(host, clock, said):
    block = host.waiting()
    block.__enter__()
    host.end()
    host.begin(SimpleNamespace(number=8, invocation_id="i2", fence=6), HOME, SimpleNamespace())
    passes(host, clock, 1.0)
    block.__exit__(None, None, None)
    assert said == []
    assert host.due_in_s is None


def test_a_child_of_the_function_tells_nothing_and_may_call_back(host, clock, said):
    host.detach()
    with host.waiting():
        passes(host, clock, 1.0)
    assert said == []
    assert host.access().invocation_id == "i1"


def test_the_access_is_the_present_runs_and_ends_with_it(host):
    access = host.access()
    token = read_token(access.token)
    assert (access.url, token.pilot_id, token.invocation_id, token.fence) == (HOME.url, "p1", "i1", 5)
    assert is_genuine(token, HOME.key)
    host.end()
    with pytest.raises(RunOver):
        host.access()


def test_what_is_to_be_closed_is_closed_once_also_where_something_breaks(host):
    closed = []
    host.at_end(lambda: closed.append("first"))
    host.at_end(lambda: 1 / 0)
    host.at_end(lambda: closed.append("last"))
    host.close()
    host.close()
    assert closed == ["last", "first"]


def test_a_thread_that_outlives_its_run_is_told_so_in_the_next_one(host):
    go_on, raised = threading.Event(), []

    def linger():
        go_on.wait(10)
        for ask in (context, host.access):
            with pytest.raises(RunOver):
                ask()
            raised.append(ask)

    thread = threading.Thread(target=linger)
    thread.start()
    host.end()
    host.begin(RUN, HOME, SimpleNamespace())
    go_on.set()
    thread.join()
    assert len(raised) == 2
    assert host.access().invocation_id == "i1"
