import pickle
from concurrent.futures import CancelledError, wait

import pytest

from harvester.sdk.errors import GatewayError, InvocationFailed
from harvester.sdk.futures import InvocationFuture


@pytest.fixture
def asked():
    return []


@pytest.fixture
def future(asked):
    return InvocationFuture(lambda invocation_id: asked.append(invocation_id) or True)


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
    future = InvocationFuture(lambda _: False)
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
