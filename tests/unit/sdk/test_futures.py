import copy
import gc
import pickle
import weakref
from concurrent.futures import CancelledError, wait

import pytest

import harvester
from harvester.domain.model.invocations import InvocationState
from harvester.sdk.errors import GatewayError, InvocationFailed
from harvester.sdk.futures import InvocationFuture


@pytest.fixture
def asked():
    return []


class Gateway:
    def __init__(self, asked, cancels=True, runs=False):
        self.asked, self.cancels, self.runs = asked, cancels, runs

    def cancel(self, invocation_id):
        self.asked.append(invocation_id)
        return self.cancels

    def state(self, invocation_id):
        self.asked.append(invocation_id)
        return InvocationState.RUNNING if self.runs else InvocationState.ACCEPTED


@pytest.fixture
def future(asked):
    return InvocationFuture(Gateway(asked))


def test_cancelled_before_its_id_is_known_it_is_cancelled_when_the_id_comes(future, asked):
    assert future.cancel()
    assert asked == []
    with pytest.raises(CancelledError):
        _ = future.invocation_id
    assert future.accept("i-1") is False
    assert wait([future], timeout=0).not_done == set()


def test_cancelled_after_its_id_is_known_the_gateway_is_asked(future, asked):
    assert future.accept("i-1") is True
    assert future.cancel()
    assert asked == ["i-1"]


def test_what_the_gateway_says_has_ended_is_not_cancelled():
    future = InvocationFuture(Gateway([], cancels=False))
    future.accept("i-1")
    assert not future.cancel()
    future.settle(5)
    assert future.result(0) == 5


def test_the_first_outcome_stays(future):
    future.settle(1)
    future.settle(2)
    future.fail(ValueError())
    assert future.result(0) == 1
    assert not future.cancel()


def test_a_refused_submission_is_raised_where_the_id_is_asked_for(future):
    future.fail(GatewayError(413, "too large", "over the limit", remedy="send a path"))
    with pytest.raises(GatewayError, match="over the limit"):
        _ = future.invocation_id


def test_a_failure_survives_pickling():
    failed = InvocationFailed("i-1", "exception", "no", "ValueError", "Traceback …")
    again = pickle.loads(pickle.dumps(failed))  # noqa: S301 - made here
    assert (str(again), again.kind, again.traceback) == (str(failed), "exception", "Traceback …")


def test_whether_it_runs_is_asked_of_the_gateway_while_it_is_open(asked):
    future = InvocationFuture(Gateway(asked, runs=True))
    assert not future.running()
    assert asked == []  # it is not accepted yet
    future.accept("i-1")
    assert future.running()
    future.settle(1)
    assert not future.running()
    assert asked == ["i-1"]


def test_callbacks_are_called_in_order_and_late_ones_at_once(future):
    said = []
    for number in range(3):
        future.add_done_callback(lambda each, number=number: said.append((number, each.result())))
    assert said == []
    future.settle(7)
    assert said == [(0, 7), (1, 7), (2, 7)]
    future.add_done_callback(said.append)
    assert said[3] is future


def test_a_callback_that_raises_or_exits_does_not_keep_the_others_from_being_called(future, caplog):
    said = []

    def fails(_):
        raise ValueError("mine")

    def leaves(_):
        raise SystemExit(3)

    for callback in (fails, leaves, said.append):
        future.add_done_callback(callback)
    with pytest.raises(SystemExit):  # this thread's own, as `concurrent.futures` does it
        future.settle(1)
    assert said == [future]
    assert "mine" in caplog.text


def test_a_future_with_callbacks_is_freed_without_the_garbage_collector(asked):
    future = InvocationFuture(Gateway(asked))
    future.add_done_callback(lambda _: None)
    future.settle(1)
    left = weakref.ref(future)
    gc.disable()
    try:
        del future
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("again", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_future_as_an_argument_says_what_to_pass_instead(future, again):
    with pytest.raises(harvester.HarvesterError, match=r"pass its \.result\(\)") as caught:
        again(future)
    assert isinstance(caught.value, TypeError)
