"""When the ends of runs are sent: few frames while more is to be run, and none kept for long."""

import socket

import pytest

from harvester_worker.ipc import frames
from harvester_worker.ipc.slot_messages import Progress, RunEnded
from harvester_worker.slot.outbound import BRIEF_S, FEW, Outbound


@pytest.fixture
def line():
    ours, its = socket.socketpair()
    with ours, its:
        its.setblocking(False)
        kept = []
        yield Outbound(ours, on_kept=kept.append), frames.Incoming(its, frames.to_agent), kept


def brief(number):
    return RunEnded(number=number, duration_s=BRIEF_S / 2)


def long(number):
    return RunEnded(number=number, duration_s=10 * BRIEF_S)


def told(outbound, ends, behind):
    """Tell ends with fewer and fewer runs behind them; return after which of them something was sent."""
    return [end.number for end, left in zip(ends, behind, strict=True) if outbound.tell(end, (), behind=left)]


def test_brief_runs_share_frames_and_nothing_is_kept_with_the_last(line):
    outbound, incoming, _ = line
    numbers = list(range(1, 33))
    assert told(outbound, map(brief, numbers), reversed(range(32))) == [16, 24, 28, 32]
    assert [message.number for message, _ in incoming.receive()] == numbers


def test_half_of_what_was_known_is_told_at_once_so_that_more_can_be_sent(line):
    outbound, _, _ = line
    assert told(outbound, [brief(n) for n in range(1, 2 * FEW + 1)], reversed(range(2 * FEW)))[0] == FEW


def test_a_longer_run_does_not_wait_for_those_behind_it(line):
    outbound, _, kept = line
    assert outbound.tell(long(1), (), behind=1)
    assert not outbound.tell(long(2), (), behind=2)
    assert len(kept) == 1
    assert outbound.tell(long(3), (), behind=1)


def test_what_is_said_at_once_comes_after_what_was_kept(line):
    outbound, incoming, _ = line
    assert not outbound.tell(brief(1), (), behind=2)
    outbound.say(Progress(number=2, state=b"s"))
    assert [message.number for message, _ in incoming.receive()] == [1, 2]
