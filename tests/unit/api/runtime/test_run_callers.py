"""Functions that call back: their owner's rights, while their run is under way, and nobody else's."""

import pytest
from support.dispatching import arrival, end, grants, new, work

from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.run_tokens import make_token
from harvester_api.http.auth import Auth, Caller
from harvester_api.problems import Refusal
from harvester_api.runtime.run_callers import RunCallers
from harvester_api.settings import Role, Token

SECRET = b"a secret of thirty-two bytes ..."


@pytest.fixture
def running():
    """A run of ann's on a pilot, and the gateway's callers."""
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    (grant,) = grants(dispatcher.accept(work("i0", owner="ann"), 0))
    return dispatcher, grant, RunCallers(dispatcher, SECRET)


def token_of(callers, grant, *, owner="ann", fence=None):
    key = callers.key(grant.pilot_id, owner)
    return make_token(key, grant.pilot_id, grant.invocation_id, grant.fence if fence is None else fence)


def test_a_run_calls_as_its_owner_an_ordinary_user_and_says_which_run_it_is(running):
    _, grant, callers = running
    assert callers.caller(token_of(callers, grant)) == Caller(name="ann", role=Role.USER, run="i0")


def test_the_owner_is_the_books_word_not_the_tokens(running):
    _, grant, callers = running
    assert callers.caller(token_of(callers, grant, owner="admin")) is None


def test_another_gateways_signature_counts_for_nothing(running):
    dispatcher, grant, callers = running
    assert callers.caller(token_of(RunCallers(dispatcher, bytes(32)), grant)) is None


def test_a_key_that_was_kept_from_another_pilot_counts_for_nothing(running):
    _, grant, callers = running
    token = make_token(callers.key("p0", "ann"), "p0", grant.invocation_id, grant.fence)
    assert callers.caller(token) is None


def test_a_credential_ends_with_its_run(running):
    dispatcher, grant, callers = running
    token = token_of(callers, grant)
    dispatcher.given_back("p1", "i0", grant.fence, ActivationEnd.EVICTED, 1.0)
    assert refused(callers, token) == (401, "run-over")
    again = dispatcher.entry("i0")
    assert again.fence > grant.fence, "it runs again, under another token"
    assert callers.caller(token_of(callers, grant, fence=again.fence)) is not None
    dispatcher.cancel("i0", 2.0)
    assert refused(callers, token_of(callers, grant, fence=again.fence)) == (401, "run-over")


def test_an_ended_run_is_nobody(running):
    dispatcher, grant, callers = running
    end(dispatcher, grant, 1.0)
    assert callers.caller(token_of(callers, grant)) is None


def test_a_run_whose_pilot_is_not_back_after_a_restart_is_told_to_call_again(running):
    _, grant, callers = running
    again = new()
    again.recover(work("i0", owner="ann"), 0)  # the grant had not been written down
    after = RunCallers(again, SECRET)
    assert refused(after, token_of(callers, grant)) == (503, "not-ready")


def test_no_route_of_an_admin_takes_the_credential_of_an_admins_run():
    dispatcher = new()
    dispatcher.pilot_arrived(arrival(), 0)
    (grant,) = grants(dispatcher.accept(work("i0", owner="admin"), 0))
    callers = RunCallers(dispatcher, SECRET)
    auth = Auth([Token(name="admin", role=Role.ADMIN, token="t")], callers.caller)
    asks = Request(token_of(callers, grant, owner="admin"))
    assert auth.user(asks).name == "admin"
    with pytest.raises(Refusal, match="is a user"):
        auth.admin(asks)
    assert auth.admin(Request("t")).role is Role.ADMIN
    with pytest.raises(Refusal, match="this gateway does not know the bearer token"):
        auth.user(Request("run.p1.i0.1.00"))


class Request:
    """As far as the door looks at one."""

    def __init__(self, token):
        self.scope = {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())], "state": {}}


def refused(callers, token):
    with pytest.raises(Refusal) as refusal:
        callers.caller(token)
    problem = refusal.value.problem
    return problem.status, problem.type.rpartition(":")[2]
