"""A pilot's connection, over a socket that does what a bad network makes of it."""

import asyncio
import logging
from datetime import timedelta

from uvicorn.protocols.utils import ClientDisconnected

from harvester.domain.model.functions import FunctionKind, FunctionVersion
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester_api.pilot_connection import CODE_BYTES, PilotLink

HELLO = wire.Hello(
    protocol=wire.PROTOCOL_VERSION,
    pilot_id="p1",
    python="3.11",
    node="n1",
    batch_job_id="7",
    capacity=Resources(),
    time_left_s=60.0,
)


def code(number, size):
    body = bytes(size)
    function = FunctionVersion(function_id=f"f@{number}", name="f", version=number, kind=FunctionKind.PICKLE, body=body)
    return wire.Function(function=function)


class Socket:
    """Says hello; then the other side is gone, and only who sends finds out."""

    def __init__(self):
        self.frames = [wire.encode([HELLO])]

    async def receive(self):
        if not self.frames:
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "bytes": self.frames.pop()}

    async def send(self, _message):
        raise ClientDisconnected


class Ears:
    """The gateway, as far as a connection knows it: answers a hello."""

    def __init__(self):
        self.detached = []

    def attach(self, _pilot_id, link):
        self.link = link

    def detach(self, pilot_id, _link):
        self.detached.append(pilot_id)

    def received(self, _pilot_id, _messages):
        self.link.send(wire.Heard())


async def test_a_pilot_that_disappears_during_a_send_is_gone_and_no_defect(caplog):
    gateway = Ears()
    socket = Socket()
    link = PilotLink("p1", socket.receive, socket.send, timedelta(seconds=5))
    async with asyncio.timeout(1):
        await link.run(gateway)
    assert gateway.detached == ["p1"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_pilot_is_told_to_forget_the_code_that_was_not_used_for_longest_and_both_sides_agree():
    link = PilotLink("p1", Socket().receive, Socket().send, timedelta(seconds=5))
    at_pilot: list[str] = []
    for number in range(1, 5):
        assert not link.has_function(f"f@{number}")
        link.send(code(number, CODE_BYTES // 4))
        if number > 1:
            assert link.has_function("f@2"), "it is used again and again"
    for message in link._outbox:
        if isinstance(message, wire.Function):
            at_pilot.append(message.function.function_id)
        elif isinstance(message, wire.Forget):
            at_pilot.remove(message.function_id)
    assert at_pilot == ["f@2", "f@3", "f@4"]
    assert [link.has_function(f"f@{number}") for number in range(1, 5)] == [False, True, True, True]


async def test_code_that_is_larger_than_all_that_is_kept_is_kept_while_it_is_the_only_one():
    link = PilotLink("p1", Socket().receive, Socket().send, timedelta(seconds=5))
    link.send(code(1, 2 * CODE_BYTES))
    assert link.has_function("f@1")
    link.send(code(2, 1))
    assert not link.has_function("f@1")
    assert link.has_function("f@2")
