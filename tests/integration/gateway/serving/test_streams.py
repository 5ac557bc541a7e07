"""Streams: ends are pushed to who listens, once they are on disk, and nobody waits for a slow reader."""

import asyncio
import contextlib

import msgspec
import pytest

from harvester.domain.model.invocations import InvocationState
from harvester.domain.protocol import stream, wire
from harvester_api.routes import streams as routes

FRAMES = {"Accept": stream.STREAM_TYPE}
EVENTS = {"Accept": "text/event-stream"}
ID = "00000000-aaaa"


class Reader:
    """A client that holds a stream open."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self._chunks = answer.aiter_raw()
        self._buffer = b""

    async def frame(self, within=5.0):
        head = int.from_bytes(await self._exactly(4, within), "big")
        return stream.decode(await self._exactly(head, within))

    async def ends(self, count, within=5.0):
        found = []
        while len(found) < count:
            found += await self.frame(within)
        return found

    async def event(self, within=5.0):
        """Return name, id and document of the next event."""
        while True:
            while b"\n\n" not in self._buffer:
                self._buffer += await asyncio.wait_for(anext(self._chunks), within)
            text, _, self._buffer = self._buffer.partition(b"\n\n")
            if not text.startswith(b":"):
                fields = dict(line.split(": ", 1) for line in text.decode().split("\n"))
                return fields["event"], fields["id"], msgspec.json.decode(fields["data"])

    async def closed(self, within=5.0):
        async with asyncio.timeout(within):
            async for _ in self._chunks:
                pass

    async def _exactly(self, size, within):
        while len(self._buffer) < size:
            self._buffer += await asyncio.wait_for(anext(self._chunks), within)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


@contextlib.asynccontextmanager
async def reading(client, path, headers):
    request = client.build_request("GET", path, headers=headers)
    answer = await client.send(request, stream=True)
    assert answer.status_code == 200, await answer.aread()
    try:
        yield Reader(answer)
    finally:
        await answer.aclose()


@pytest.fixture
def plain(rig):
    """A client whose answers are not read to the end by the check against the document."""
    client = rig.client("ada-token")
    client.event_hooks = {}
    return client


def gateway(rig):
    return rig.server.app.state.gateway


async def test_ends_are_pushed_as_frames_those_of_a_commit_together(rig, plain):
    await rig.register()
    pilot = await rig.pilot(cpus=64)
    pilot.work(double=lambda x: 2 * x)
    async with reading(plain, f"/v1/streams/{ID}", FRAMES) as reader:
        assert await reader.frame() == []
        named = {"Harvester-Stream": ID}
        batch = await rig.http.post(
            "/v1/functions/double/batches", json=[{"args": [n]} for n in range(20)], headers=named
        )
        ids = batch.json()["invocation_ids"]
        single = (await rig.invoke("double", 50, headers=named)).json()["invocation_id"]
        other = await rig.accepted("double", 3)
        await rig.read(other, wait_s=5)
        ends = await reader.ends(21)
    assert {end.invocation_id: end.value for end in ends} == {
        single: b"100",
        **{key: str(2 * number).encode() for number, key in enumerate(ids)},
    }
    assert {end.state for end in ends} == {InvocationState.SUCCEEDED}


async def test_failures_come_with_their_reason_and_large_values_are_left_to_be_fetched(rig, plain, monkeypatch):
    monkeypatch.setattr("harvester_api.runtime.streams.PUSHED_BYTES", 100)
    await rig.register()
    pilot = await rig.pilot()
    async with reading(plain, f"/v1/streams/{ID}", FRAMES) as reader:
        await reader.frame()
        named = {"Harvester-Stream": ID}
        large = (await rig.invoke("double", headers=named)).json()["invocation_id"]
        await pilot.finish(await pilot.hear(wire.Lease, invocation_id=large), "x" * 100)
        (end,) = await reader.ends(1)
        assert (end.invocation_id, end.state, end.value) == (large, InvocationState.SUCCEEDED, None)
        stopped = (await rig.invoke("double", headers=named)).json()["invocation_id"]
        await rig.http.post(f"/v1/invocations/{stopped}/cancel")
        (end,) = await reader.ends(1)
        assert (end.invocation_id, end.state, end.value) == (stopped, InvocationState.CANCELLED, None)


async def test_a_stream_opened_again_takes_over_and_is_told_of_what_comes_again_under_its_key(rig, plain):
    await rig.register()
    pilot = await rig.pilot()
    pilot.work(double=lambda x: 2 * x)
    headers = {"Idempotency-Key": "k", "Harvester-Stream": ID}
    async with reading(plain, f"/v1/streams/{ID}", FRAMES) as first:
        await first.frame()
        batch = {"json": [{"args": [1]}], "headers": headers}
        (key,) = (await rig.http.post("/v1/functions/double/batches", **batch)).json()["invocation_ids"]
        await first.ends(1)
        async with reading(plain, f"/v1/streams/{ID}", FRAMES) as second:
            await first.closed()
            await rig.http.post("/v1/functions/double/batches", **batch)
            assert [end.invocation_id for end in await second.ends(1)] == [key]


async def test_a_stream_is_its_owners_alone(rig, plain):
    await rig.register()
    pilot = await rig.pilot()
    pilot.work(double=lambda x: 2 * x)
    bob = rig.client("bob-token")
    bob.event_hooks = {}
    async with reading(bob, f"/v1/streams/{ID}", FRAMES) as bobs, reading(plain, f"/v1/streams/{ID}", EVENTS) as hers:
        await bobs.frame()
        key = (await rig.invoke("double", 4, headers={"Harvester-Stream": ID})).json()["invocation_id"]
        name, event_id, document = await hers.event()
        assert (name, event_id, document["result"]) == ("result", key, 8)
        with pytest.raises(TimeoutError):
            await bobs.frame(within=0.2)


async def test_events_tell_of_states_and_results_to_the_owner_and_to_admins(rig, plain):
    await rig.register()
    pilot = await rig.pilot()
    root, bob = rig.client("root-token"), rig.client("bob-token")
    root.event_hooks = bob.event_hooks = {}
    async with (
        reading(plain, "/v1/events", EVENTS) as hers,
        reading(root, "/v1/events", EVENTS) as everybodys,
        reading(bob, "/v1/events", EVENTS) as bobs,
    ):
        key = await rig.accepted("double", 4)
        lease = await pilot.hear(wire.Lease)
        await pilot.say(wire.Started(invocation_id=key, fence=lease.fence))
        await rig.until(lambda: rig.store.invocation(key).state == "running")
        await pilot.finish(lease, {"text": "a\nb"})
        for reader in (hers, everybodys):
            states = []
            while not states or states[-1][0] != "result":
                name, event_id, document = await reader.event()
                assert event_id == key
                states.append((name, document["state"]))
            assert {("state", "leased"), ("state", "running"), ("result", "succeeded")} <= set(states)
            assert document["result"] == {"text": "a\nb"}
        with pytest.raises(TimeoutError):
            await bobs.event(within=0.2)


async def test_there_are_signs_of_life(rig, plain, monkeypatch):
    monkeypatch.setattr(routes, "ALIVE_S", 0.05)
    async with reading(plain, f"/v1/streams/{ID}", FRAMES) as reader:
        assert [await reader.frame() for _ in range(4)] == [[]] * 4


async def test_a_reader_that_goes_is_forgotten(rig, plain):
    async with reading(plain, f"/v1/streams/{ID}", FRAMES) as reader:
        await reader.frame()
        assert gateway(rig).streams.count == 1
    await rig.until(lambda: gateway(rig).streams.count == 0)


async def test_an_open_stream_does_not_keep_the_gateway_from_stopping(rig, plain):
    async with reading(plain, f"/v1/streams/{ID}", FRAMES) as reader, reading(plain, "/v1/events", EVENTS) as events:
        await reader.frame()
        stopping = asyncio.create_task(asyncio.to_thread(rig.server.close))
        await asyncio.wait_for(stopping, 3)
        await reader.closed()
        await events.closed()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"/v1/streams/{ID}", {"Accept": "application/json"}, 406),
        ("/v1/events", {"Accept": stream.STREAM_TYPE}, 406),
        ("/v1/streams/short", FRAMES, 422),
        ("/v1/streams/under_scores", FRAMES, 422),
    ],
)
async def test_what_is_no_stream_is_refused(rig, problem, path, headers, status):
    problem(await rig.http.get(path, headers=headers), status)


async def test_a_header_that_names_no_stream_is_refused(rig, problem):
    await rig.register()
    for path in ("invocations", "batches"):
        answer = await rig.http.post(f"/v1/functions/double/{path}", json=[], headers={"Harvester-Stream": "x"})
        assert problem(answer, 422)["field"] == "Harvester-Stream"


async def test_one_caller_cannot_open_any_number_of_streams(rig, plain, problem, monkeypatch):
    monkeypatch.setattr("harvester_api.runtime.streams.PER_OWNER", 2)
    async with reading(plain, f"/v1/streams/{ID}", FRAMES), reading(plain, "/v1/events", EVENTS):
        refused = await rig.http.get("/v1/streams/another-one", headers=FRAMES)
        assert problem(refused, 429)["type"].endswith("too-many-streams")
        async with reading(plain, f"/v1/streams/{ID}", FRAMES):
            pass


@pytest.mark.parametrize(("who", "is_told"), [("http", True), ("admin", False)])
async def test_who_asks_with_a_stream_is_told_there_of_what_was_open_before_a_restart(rig, who, is_told):
    await rig.register()
    waits = await rig.accepted("double", 1)  # names no stream: as an invocation that a gateway takes up at its start
    async with reading(rig.http, f"/v1/streams/{ID}", FRAMES) as reader:
        await rig.until(lambda: rig.server.app.state.gateway.streams)
        question = {"invocation_ids": [waits]}
        client = getattr(rig, who)
        answer = await client.post("/v1/wait", json=question, headers={"Harvester-Stream": ID})
        assert answer.json()["pending"] == [waits]
        pilot = await rig.pilot()
        await pilot.finish(await pilot.hear(wire.Lease), 2)
        if is_told:
            assert [ended.invocation_id for ended in await reader.ends(1)] == [waits]
        else:  # it is nobody else's to choose where the owner hears of it
            await rig.read(waits, wait_s=5)
            with pytest.raises(TimeoutError):
                await reader.ends(1, within=0.3)
