"""Frames over a socket pair, in whatever pieces they arrive."""

import math
import socket

import pytest

from harvester_worker.ipc import frames
from harvester_worker.ipc.frames import CHUNK, FrameBuilder, Incoming
from harvester_worker.ipc.slot_messages import Beside, Progress, RunEnded


def written(*groups):
    """Return the bytes of frames, of `(message, pieces beside it)`."""
    outgoing, done = FrameBuilder(), b""
    for group in groups:
        for message, pieces in group:
            outgoing.add(message, pieces)
        done += b"".join(outgoing.take())
    return done


def received(data, *, at_a_time):
    ours, its = socket.socketpair()
    with ours, its:
        incoming = Incoming(its, frames.to_agent)
        found = []
        for start in range(0, len(data), at_a_time):
            ours.sendall(data[start : start + at_a_time])
            found += incoming.receive()
        its.setblocking(False)
        while True:
            try:
                found += incoming.receive()
            except BlockingIOError:
                return found


LARGE = bytes(range(256)) * 400
FRAMES = written(
    [(RunEnded(number=1), ()), (RunEnded(number=2, value=b"small"), ())],
    [(RunEnded(number=3, value=Beside(len(LARGE) + 1)), (LARGE, b"!")), (Progress(number=4, state=b"s"), ())],
    [(RunEnded(number=5, value=Beside(CHUNK)), (bytes(CHUNK),)), (RunEnded(number=6, value=Beside(2)), (b"ab",))],
    [(RunEnded(number=7), ())],
)


@pytest.mark.parametrize("at_a_time", [7, 1000, CHUNK - 1, CHUNK, 100_000])
def test_messages_arrive_in_order_with_what_is_beside_them(at_a_time):
    found = received(FRAMES, at_a_time=at_a_time)
    assert [message.number for message, _ in found] == [1, 2, 3, 4, 5, 6, 7]
    beside = {message.number: bytes(view) for message, view in found if view is not None}
    assert beside == {3: LARGE + b"!", 5: bytes(CHUNK), 6: b"ab"}


def test_what_is_beside_a_message_can_be_written_to_and_is_nobody_elses():
    found = received(FRAMES, at_a_time=100_000)
    view = next(view for message, view in found if message.number == 3)
    view[:2] = b"ok"
    assert bytes(view[:4]) == b"ok\x02\x03"


def test_the_end_of_the_line_is_an_error():
    ours, its = socket.socketpair()
    with its:
        ours.close()
        with pytest.raises(ConnectionResetError):
            Incoming(its, frames.to_agent).receive()


@pytest.mark.parametrize(
    "garbage",
    [
        written([(RunEnded(number=1, duration_s=math.nan), ())]),
        b"\xff" * 16,
        b"\x01" + bytes(15) + b"\xc1",
        written([(RunEnded(number=1), ())])[:16] + b"\x00" * 400,
    ],
)
def test_what_no_slot_says_is_no_frame(garbage):
    ours, its = socket.socketpair()
    with ours, its:
        ours.sendall(garbage)
        with pytest.raises(frames.FrameError):
            Incoming(its, frames.to_agent, limit_bytes=1000).receive()
