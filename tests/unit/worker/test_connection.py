"""What a pilot writes when no gateway answers: once, with the address, the reason, and what to do."""

import logging
import ssl

import pytest

from harvester.domain.supervision.pilot_output import unreachable
from harvester_worker.connection import UNANSWERED_S, Unanswered, link_url, words_of


def told(caplog):
    return [unreachable(record.getMessage()) for record in caplog.records]


def test_it_is_told_once_after_some_seconds_in_words_that_the_daemon_finds(caplog):
    unanswered = Unanswered(since=100.0)
    with caplog.at_level(logging.ERROR):
        for after_s in (0.0, 1.0, UNANSWERED_S - 0.1, UNANSWERED_S, UNANSWERED_S + 1):
            unanswered.tell("http://login1:8321", ConnectionRefusedError(111, "Connect call failed"), 100.0 + after_s)
    (line,) = told(caplog)
    assert line.startswith("pilot.unreachable: no gateway answers at http://login1:8321 (Connection refused): set ")
    assert "gateway.url" in line


def test_a_gateway_that_has_answered_is_not_called_unreachable(caplog):
    unanswered = Unanswered(since=0.0)
    unanswered.is_over = True
    with caplog.at_level(logging.ERROR):
        unanswered.tell("http://login1:8321", TimeoutError(), 100.0)
    assert not told(caplog)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] …"),
            "Connection refused",
        ),
        (OSError(113, "Connect call failed"), "No route to host"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out during opening handshake"), "no answer in time"),
        (ssl.SSLError("certificate verify failed"), "certificate verify failed"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_a_failed_connection_has_few_words(error, words):
    assert words in words_of(error)


def test_an_address_is_one_in_whatever_case_its_scheme_is_written():
    assert link_url("HTTP://login1:8321/") == link_url("http://login1:8321")
    assert link_url("Https://login1").startswith("wss://login1/")
    for wrong in ("login1:8321", "ftp://login1"):
        with pytest.raises(ValueError, match="not an http"):
            link_url(wrong)
