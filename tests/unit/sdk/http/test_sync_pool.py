"""A connection that waits for an answer, and what a signal handler of the program's raises meanwhile."""

import contextlib
import signal
import socket
from types import SimpleNamespace

import pytest

from harvester.sdk.http.sync_pool import Connection, Interrupted


@pytest.fixture
def silent(tmp_path):
    """A connection to who answers nothing."""
    path = str(tmp_path / "gateway")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connection = Connection(SimpleNamespace(unix_socket=path, tunnel=None, tls=None))
        try:
            yield connection
        finally:
            connection.close()


@contextlib.contextmanager
def alarm(error):
    def late(_number, _frame):
        raise error

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("error", [TimeoutError("too long"), OSError("too long"), ValueError("too long")])
def test_what_a_signal_handler_raises_is_not_taken_for_the_connections(silent, error):
    with alarm(error), pytest.raises(Interrupted) as interrupted:
        silent.answer(5.0)
    assert interrupted.value.error is error


def test_silence_is_the_connections_own(silent):
    with pytest.raises(TimeoutError):
        silent.answer(0.01)
