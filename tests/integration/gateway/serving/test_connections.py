"""Connections that keep silent end, and those that show no token cannot use all up: real sockets, short limits."""

import asyncio
import contextlib
from datetime import timedelta

import msgspec
import pytest

from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester_api.connections import ConnectionLimits

SHORT = timedelta(seconds=0.3)
HEAD = b"POST /v1/functions/double/invocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ada-token\r\n"
WHOAMI = b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ada-token\r\n\r\n"
UPGRADE = (
    b"GET /v1/link HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer token of p1\r\n\r\n"
)


@pytest.fixture
def settings(settings):
    limits = ConnectionLimits(head=SHORT, body=SHORT, idle=timedelta(seconds=2), most=6, strangers=3)
    return msgspec.structs.replace(settings, connections=limits)


class Caller:
    """A socket that says what it is told to."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def rest(self, within=5.0):
        """Return what the gateway says until it ends the connection."""
        try:
            async with asyncio.timeout(within):
                return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def is_open(self, within=0.1):
        with contextlib.suppress(TimeoutError):
            await self.rest(within)
            return False
        return True

    async def who(self):
        self.writer.write(WHOAMI)
        return await asyncio.wait_for(self.reader.readuntil(b"}"), 5)


@pytest.fixture
async def come(rig):
    """Connects, and says something at once."""
    callers = []

    async def come(said=b""):
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", rig.server.port)))
        callers[-1].writer.write(said)
        return callers[-1]

    yield come
    for caller in callers:
        caller.writer.transport.abort()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"GET /v1/whoami HTTP/1.1\r\nHost", b"408"),
        (HEAD, b"408"),
        (HEAD + b"Content-Length: 100\r\n\r\n", b"408"),
        (HEAD + b'Content-Length: 100\r\n\r\n{"args":', b"408"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{", b"408"),
        (HEAD + b"Content-Length: 900000\r\n\r\n[", b"413"),  # answered at once, and its body never comes
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"alive"),  # idle, and nobody knows whose it is
    ],
)
async def test_a_connection_that_keeps_silent_ends(rig, come, said, answer):
    await rig.register()
    caller = await come(said)
    assert answer in await caller.rest()
    assert rig.store.invocations() == []


@pytest.mark.parametrize("said", [HEAD + b"Content-Length: 9000\r\n\r\n", HEAD])
async def test_a_body_or_a_head_that_comes_byte_by_byte_ends_too(rig, come, said):
    await rig.register()
    caller = await come(said)
    rest = asyncio.create_task(caller.rest())
    while not rest.done():
        caller.writer.write(b"x")
        await asyncio.sleep(0.05)
    assert b"408" in await rest


async def test_a_connection_that_waits_for_its_answer_or_has_shown_a_token_stays(rig, come):
    await rig.register()
    known = await come()
    assert b"ada" in await known.who()
    head = HEAD.replace(b"invocations", b"invocations?wait_s=1")
    waits = await come(head + b"Content-Length: 2\r\n\r\n{}")
    await asyncio.sleep(3 * SHORT.total_seconds())
    assert b"ada" in await known.who()
    assert b"202 Accepted" in await asyncio.wait_for(waits.reader.readuntil(b"\r\n"), 5)
    assert await known.rest() == b""  # its own, longer time of idleness is over


async def test_strangers_beyond_their_number_go_first_the_oldest_of_them(rig, come):
    known = await come()
    await known.who()
    strangers = [await come() for _ in range(5)]
    are_open = await asyncio.gather(*(each.is_open() for each in strangers))
    assert are_open == [False, False, True, True, True]
    assert b"ada" in await known.who()


async def test_where_all_connections_are_taken_by_those_who_are_known_nobody_else_comes_in(rig, come):
    known = [await come() for _ in range(3)]
    for each in known:
        await each.who()
    stranger = await come()
    more = [await come() for _ in range(3)]  # each takes the place of a stranger, when there is one
    for each in more:
        await each.who()
    assert await stranger.rest() == b""
    assert await (await come()).rest() == b""
    more[0].writer.close()
    await rig.until(lambda: len(rig.server.app.state.connections) == 5)
    assert b"ada" in await (await come()).who()


async def test_a_pilot_that_never_says_hello_is_sent_away(rig, come, add_pilot, monkeypatch):
    monkeypatch.setattr("harvester_api.pilot_connection.HELLO_WITHIN", SHORT)
    add_pilot(rig.store, "p1", Resources(cpus=1))
    caller = await come(UPGRADE)
    said = await asyncio.wait_for(caller.reader.readuntil(b"no Hello within 0.3 s"), 5)
    assert b"101 Switching" in said


async def test_a_pilot_that_is_connected_is_known_and_forgotten_when_it_goes(rig):
    pilot = await rig.pilot()
    await asyncio.sleep(2 * SHORT.total_seconds())
    await rig.register()
    await rig.accepted("double", 1)
    assert (await pilot.hear(wire.Lease)).attempt == 1
    before = len(rig.server.app.state.connections)
    await pilot.cut()
    await rig.until(lambda: len(rig.server.app.state.connections) == before - 1)
