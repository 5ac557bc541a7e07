"""Parameters: read as they are declared."""

import pytest
from starlette.requests import Request

from harvester.domain.model.invocations import InvocationState
from harvester_api.http.parameters import VERSION, WAIT, Parameter, choice_of
from harvester_api.problems import Refusal

FLAG = Parameter(name="raw", description="A flag.")
STATE = choice_of("state", InvocationState, "A state.")


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def test_what_is_left_out_has_its_default():
    request = asked("")
    assert WAIT.seconds(request) == 0.0
    assert VERSION.integer(request) is None
    assert FLAG.flag(request) is False
    assert STATE.choice(request, InvocationState) is None


def test_what_is_there_is_read():
    request = asked("wait_s=1.5&version=3&raw=true&state=running")
    assert WAIT.seconds(request) == 1.5
    assert VERSION.integer(request) == 3
    assert FLAG.flag(request) is True
    assert STATE.choice(request, InvocationState) is InvocationState.RUNNING


@pytest.mark.parametrize(
    ("read", "query"),
    [
        (WAIT.seconds, "wait_s=inf"),
        (WAIT.seconds, "wait_s=-1"),
        (WAIT.seconds, "wait_s=x"),
        (VERSION.integer, "version=0"),
        (VERSION.integer, "version=1.5"),
        (VERSION.integer, f"version={2**31}"),
        (FLAG.flag, "raw=maybe"),
        (lambda request: STATE.choice(request, InvocationState), "state=gone"),
        (WAIT.seconds, "wait_s="),
        (VERSION.integer, "version="),
        (FLAG.flag, "raw="),
        (lambda request: STATE.choice(request, InvocationState), "state="),
        (WAIT.seconds, "wait_s=1&wait_s=2"),
    ],
)
def test_what_cannot_be_is_refused_by_name(read, query):
    with pytest.raises(Refusal) as raised:
        read(asked(query))
    assert raised.value.problem.status == 422
    assert raised.value.problem.field == query.partition("=")[0]
