import math

import msgspec
import pytest

from harvester.sdk.errors import GatewayError, GatewayUnreachable
from harvester.sdk.http.messages import MAX_PAUSE_S, Broken, Pause, Request, Response, converse
from harvester.sdk.settings import Settings

SETTINGS = Settings(url="http://gateway", token="t")
OK = Response(status=200, reason="OK", headers={"content-type": "application/json; charset=utf-8"}, body=b'{"x": 1}')


def refusal(status, detail="no", **headers):
    body = msgspec.json.encode({"title": "refused", "detail": detail, "remedy": "ask"})
    return Response(status=status, reason="Refused", headers=headers, body=body)


def talk(operation, outcomes, patience_s=60.0, via=""):
    """Drive an operation with these outcomes; return its result and the seconds of each pause."""
    now, pauses, outcomes = [0.0], [], iter(outcomes)
    steps = converse(operation, SETTINGS, patience_s, lambda: now[0], via)
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                now[0] += step.seconds
                step = steps.send(None)
            else:
                step = steps.send(next(outcomes))
    except StopIteration as end:
        return end.value, pauses


def one(**said):
    answer = yield Request(method="GET", path="/v1/x", **said)
    return answer.json()["x"]


def test_what_may_pass_is_tried_again_ever_more_slowly():
    found, pauses = talk(one(), [Broken("refused"), refusal(503), refusal(500), OK])
    assert found == 1
    assert 0.05 < pauses[0] < pauses[1] < pauses[2] < 1.0


def test_what_stays_is_raised_in_the_gateways_words_and_an_operation_may_go_on_after_it():
    with pytest.raises(GatewayError, match=r"^no \(ask\)$") as caught:
        talk(one(), [refusal(404)])
    assert caught.value.status == 404

    def forgiving():
        try:
            return (yield from one())
        except GatewayError:
            return (yield from one())

    assert talk(forgiving(), [refusal(404), OK]) == (1, [])


def test_the_gateway_says_how_long_to_wait_and_is_not_believed_in_everything():
    _, pauses = talk(one(), [refusal(429, **{"retry-after": "7"}), OK])
    assert pauses == [7.0]
    _, pauses = talk(one(), [refusal(503, **{"retry-after": "99999"}), OK], math.inf)
    assert pauses == [MAX_PAUSE_S]
    _, pauses = talk(one(), [refusal(503, **{"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}), OK])
    assert pauses[0] < 1.0


def test_who_keeps_an_order_hears_of_pressure_at_once():
    with pytest.raises(GatewayError) as caught:
        talk(one(raises_pressure=True), [refusal(429, **{"retry-after": "3"})])
    assert caught.value.retry_after_s == 3.0


def test_patience_ends_sooner_with_a_defect_and_at_once_with_an_address_that_is_none():
    with pytest.raises(GatewayUnreachable, match=r"http://gateway does not answer: gone.*harvester up"):
        talk(one(), [Broken("gone")] * 1000, 30.0)
    with pytest.raises(GatewayError):
        talk(one(), [refusal(500)] * 15, math.inf)
    with pytest.raises(GatewayUnreachable):
        talk(one(), [Broken("no such scheme", is_defect=True)])


def test_an_answer_that_no_gateway_gives_is_told_as_such():
    odd = Response(status=200, reason="OK", headers={}, body=b"<html>")
    with pytest.raises(GatewayError, match="check that the address is that of a Harvester gateway"):
        talk(one(), [odd])
    proxy = Response(status=403, reason="Forbidden", headers={}, body=b"<html>")
    with pytest.raises(GatewayError, match="GET /v1/x was answered with 403 Forbidden"):
        talk(one(), [proxy])


def test_an_error_by_a_proxy_names_it_and_how_to_go_without():
    via = "the proxy squid:3128 that http_proxy names"
    page = Response(status=403, reason="Forbidden", headers={}, body=b"<html>")
    with pytest.raises(GatewayError, match=r"403 Forbidden, by the proxy squid:3128 that http_proxy.*NO_PROXY"):
        talk(one(), [page], via=via)
    with pytest.raises(GatewayUnreachable, match=r"does not answer through the proxy squid:3128.*: gone.*NO_PROXY"):
        talk(one(), [Broken("gone", is_defect=True)], via=via)
    with pytest.raises(GatewayError, match=r"^no \(ask\)$"):
        talk(one(), [refusal(404)], via=via)
