"""A pilot's connection, over a socket that does what a bad network makes of it."""

import asyncio
import logging
from datetime import timedelta

from uvicorn.protocols.utils import ClientDisconnected

from harvester.domain import wire
from harvester.domain.resources import Resources
from harvester_api.link import MOST_FUNCTIONS, PilotLink

HELLO = wire.Hello(
    protocol=wire.PROTOCOL_VERSION,
    pilot_id="p1",
    python="3.11",
    node="n1",
    batch_job_id="7",
    capacity=Resources(),
    time_left_s=60.0,
)


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


async def test_a_connection_remembers_which_functions_it_was_sent_but_not_for_ever():
    link = PilotLink("p1", Socket().receive, Socket().send, timedelta(seconds=5))
    assert not link.has_function("f@1")
    assert link.has_function("f@1")
    assert [link.has_function(f"g{n}@1") for n in range(MOST_FUNCTIONS)] == [False] * MOST_FUNCTIONS
    assert not link.has_function("f@1")  # it is sent again, and the pilot takes it for what it has
