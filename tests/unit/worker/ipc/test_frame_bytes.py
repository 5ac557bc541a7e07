"""Frames of any bytes: a function can write to its slot's line, and the agent must end the slot, not fail of it."""

import contextlib
import socket
import struct

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.mutations import garbage, mutated, peak_bytes

from harvester.domain.model.invocations import Failure, FailureKind
from harvester_worker.ipc import frames, slot_messages
from harvester_worker.ipc.frames import CHUNK, FrameBuilder, FrameError, Incoming
from harvester_worker.ipc.slot_messages import Beside, Counted, HandOver, Progress, RunEnded, Stop, Waits

LIMIT = 256 * 1024
FAILURE = Failure(kind=FailureKind.EXCEPTION, message="no")


def frame(*group):
    """Return one frame of `(message, pieces beside it)`."""
    outgoing = FrameBuilder()
    for message, pieces in group:
        outgoing.add(message, pieces)
    return b"".join(outgoing.take())


VALID = [
    frame((RunEnded(number=1, value=b"v"), ()), (RunEnded(number=2, failure=FAILURE), ())),
    frame((RunEnded(number=3, value=Beside(5)), (b"abc", b"de")), (Waits(number=4), ())),
    frame((Progress(number=1, state=b"s"), ()), (Counted(number=1, calls=3), ())),
]


class Bytes:
    """A socket that has received these bytes, in pieces of at most so many, and then ends."""

    def __init__(self, data, at_a_time=CHUNK):
        self.data, self.at_a_time = data, at_a_time

    def recv_into(self, room, _size, _flags):
        count = min(len(room), self.at_a_time, len(self.data))
        room[:count], self.data = self.data[:count], self.data[count:]
        return count


def received(data, at_a_time=CHUNK):
    incoming, found = Incoming(Bytes(data, at_a_time), frames.to_agent, limit_bytes=LIMIT), []
    with contextlib.suppress(ConnectionResetError):
        while True:
            found += incoming.receive()
    return found


@given(garbage(VALID), st.integers(1, 40))
@example(b"\xff" * 16, 16)
@example(struct.pack("<QQ", LIMIT, 0), 16)
def test_any_bytes_are_messages_or_told_by_the_documented_error(data, at_a_time):
    def receive():
        with contextlib.suppress(FrameError):
            received(data, at_a_time)

    receive()
    assert peak_bytes(receive) < 2 * LIMIT + 4 * CHUNK


@given(st.lists(st.sampled_from(VALID), max_size=4), st.integers(1, 200))
def test_frames_are_the_same_in_whatever_pieces_they_arrive(valid, at_a_time):
    def told(found):  # not the bytes: so small ones lie in memory that the next frame is read to
        return [(message, None if view is None else view.nbytes) for message, view in found]

    assert told(received(b"".join(valid), at_a_time)) == [each for one in valid for each in told(received(one))]


def spoilt(body):
    return struct.pack("<QQ", len(body), 0) + body


@pytest.mark.parametrize(
    "body",
    [
        b"\x91\x92\xa5Waits\x01" + b"\x91" * 100_000,
        b"\x91\x94\xa5Waits\x01\xc2" + b"\x91" * 100_000,
        msgspec.msgpack.encode([RunEnded(number=1, failure=FAILURE)]).replace(b"\xa2no", b"\xa1\xff"),
    ],
    ids=["bytes too many", "nested too deep", "not UTF-8"],
)
def test_what_only_the_decoder_notices_is_told_by_the_documented_error(body):
    with pytest.raises(FrameError):
        received(spoilt(body))


@pytest.mark.parametrize("size", [-1, 4, 6, 2**63, 2**64 - 1])
def test_a_payload_of_another_size_than_what_is_beside_it_is_told_by_the_documented_error(size):
    with pytest.raises(FrameError):
        received(frame((RunEnded(number=1, value=Beside(size)), (b"abcde",))))


def test_bytes_beside_messages_that_have_no_payload_are_told_by_the_documented_error():
    with pytest.raises(FrameError):
        received(frame((RunEnded(number=1), (b"abcde",)), (RunEnded(number=2), ())))


def test_a_frame_over_the_limit_is_refused_before_there_is_room_for_it():
    with pytest.raises(FrameError, match=f"over the limit of {LIMIT}"):
        received(struct.pack("<QQ", 10**15, 10**15))


ORDERS = [slot_messages.encode_order(order) for order in (HandOver(number=1, within_s=2.0), Stop(number=3))]


@given(mutated(ORDERS))
def test_orders_are_not_a_users_to_send_and_yet_raise_nothing_unknown(packet):
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        assert isinstance(slot_messages.decode_order(packet), HandOver | Stop)


def test_the_line_of_a_real_socket_ends_as_the_one_of_these_tests_does():
    ours, its = socket.socketpair()
    with its:
        ours.sendall(VALID[0])
        ours.close()
        incoming = Incoming(its, frames.to_agent, limit_bytes=LIMIT)
        assert len(incoming.receive()) == 2
        with pytest.raises(ConnectionResetError):
            incoming.receive()
