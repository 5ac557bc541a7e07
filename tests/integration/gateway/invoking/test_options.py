"""Options of an invocation, many calls in one, lines in place of an array, and too much work."""

import asyncio
import pickle

import httpx2
import msgspec
import pytest

from harvester.domain.model.functions import Encoding
from harvester.domain.payload.calls import encode_calls, encode_outcomes
from harvester.domain.protocol import wire
from harvester_api.media_types import CALLS_BATCH_TYPE, CALLS_TYPE, LINES_TYPE

INVOCATIONS = "/v1/functions/double/invocations"
BATCHES = "/v1/functions/double/batches"
PICKLED = pickle.dumps(((1,), {}))
PYTHON = {"Harvester-Python": "3.11"}


async def test_options_are_kept_and_shown(rig):
    await rig.register(max_running=3)
    assert (await rig.http.get("/v1/functions/double")).json()["max_running"] == 3
    options = {"priority": -7, "ttl_s": 50, "deadline_s": 100.5}
    made = (await rig.http.post(INVOCATIONS, params=options)).json()
    batch = await rig.http.post(BATCHES, params=options, json=[{}, {}])
    for invocation_id in (made["invocation_id"], *batch.json()["invocation_ids"]):
        document = await rig.read(invocation_id)
        assert document["priority"] == -7
        assert document["start_by"] == pytest.approx(document["accepted_at"] + 50)
        assert document["end_by"] == pytest.approx(document["accepted_at"] + 100.5)
        assert rig.store.invocation(invocation_id).priority == -7


async def test_one_that_does_not_start_in_time_is_expired_and_says_so(rig):
    await rig.register()
    answer = await rig.http.post(INVOCATIONS, params={"ttl_s": 0.2, "wait_s": 5})
    document = answer.json()
    assert document["state"] == "expired"
    assert document["failure"]["kind"] == "expired"


@pytest.mark.parametrize(
    "query",
    ["priority=1001", "priority=-1001", "priority=1.5", "ttl_s=0", "ttl_s=-1", "deadline_s=nan", "deadline_s=1e99"],
)
async def test_options_out_of_bounds_are_refused_by_name(rig, problem, query):
    await rig.register()
    for path in (INVOCATIONS, BATCHES):
        document = problem(await rig.http.post(f"{path}?{query}", json=[]), 422)
        assert document["field"] == query.partition("=")[0]


async def test_many_calls_in_one_invocation_come_back_as_they_were_written(rig):
    await rig.register()
    pilot = await rig.pilot()
    body, result = encode_calls([PICKLED, PICKLED]), encode_outcomes([PICKLED, PICKLED])
    headers = {"Content-Type": CALLS_TYPE, "Accept": CALLS_TYPE, **PYTHON}
    calling = asyncio.create_task(rig.http.post(INVOCATIONS, params={"wait_s": 5}, content=body, headers=headers))
    lease = await pilot.hear(wire.Lease)
    assert (lease.encoding, lease.arguments) == (Encoding.CALLS, body)
    await pilot.say(wire.Finished(invocation_id=lease.invocation_id, fence=lease.fence, value=result))
    answer = await calling
    assert (answer.headers["content-type"], answer.content) == (CALLS_TYPE, result)
    waited = await rig.http.post("/v1/wait", json={"invocation_ids": [lease.invocation_id], "results": True})
    assert msgspec.convert(waited.json()["ended"][0]["result_b64"], bytes) == result


async def test_a_batch_of_many_calls_each(rig, problem):
    await rig.register()
    pilot = await rig.pilot()
    bodies = [encode_calls([PICKLED] * count) for count in (1, 2)]
    headers = {"Content-Type": CALLS_BATCH_TYPE, **PYTHON}
    answer = await rig.http.post(BATCHES, content=encode_calls(bodies), headers=headers)
    assert len(answer.json()["invocation_ids"]) == 2
    leases = [await pilot.hear(wire.Lease, invocation_id=key) for key in answer.json()["invocation_ids"]]
    assert [lease.arguments for lease in leases] == bodies
    problem(await rig.http.post(BATCHES, content=encode_calls([b"x"]), headers=headers), 400)


async def test_a_batch_may_come_line_by_line_in_pieces_of_any_size(rig, problem):
    await rig.register()
    text = b'{"args": [0]}\n\n{"args": [1]}\r\n{"kwargs": {"x": "2"}}'

    async def pieces(size: int):
        for start in range(0, len(text), size):
            yield text[start : start + size]

    for size in (1, 7, 1000):
        answer = await rig.http.post(BATCHES, content=pieces(size), headers={"Content-Type": LINES_TYPE})
        ids = answer.json()["invocation_ids"]
        arguments = [msgspec.json.decode(rig.store.arguments(each)) for each in ids]
        assert arguments == [{"args": [0]}, {"args": [1]}, {"kwargs": {"x": "2"}}]
    count = len(rig.store.invocations())
    broken = await rig.http.post(BATCHES, content=b'{}\n\n{"args": 3}\n{}', headers={"Content-Type": LINES_TYPE})
    assert problem(broken, 422)["field"] == "batch line 3: args"
    assert len(rig.store.invocations()) == count


class TestTooMuch:
    @pytest.fixture
    def settings(self, settings):
        return msgspec.structs.replace(settings, max_open=6, max_open_per_owner=4, in_flight_bytes=100_000)

    async def test_work_over_the_bounds_is_refused_whole_with_a_time_to_come_again(self, rig, problem):
        await rig.register(share="all")
        ids = (await rig.http.post(BATCHES, json=[{}] * 3)).json()["invocation_ids"]
        refused = await rig.http.post(BATCHES, json=[{}] * 2)
        assert "'ada'" in problem(refused, 429)["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert (await rig.http.post(INVOCATIONS)).status_code == 202
        problem(await rig.http.post(INVOCATIONS), 429)
        bob = rig.client("bob-token")
        assert (await bob.post(BATCHES, json=[{}] * 2)).status_code == 202
        assert "the limit is 6" in problem(await bob.post(INVOCATIONS), 429)["detail"]
        assert len(rig.store.invocations()) == 6
        assert (await rig.http.post(f"/v1/invocations/{ids[0]}/cancel")).status_code == 200
        assert (await rig.http.post(INVOCATIONS)).status_code == 202

    async def test_what_came_under_its_key_before_is_answered_nevertheless(self, rig):
        await rig.register()
        headers = {"Idempotency-Key": "k"}
        first = await rig.http.post(BATCHES, json=[{}] * 4, headers=headers)
        again = await rig.http.post(BATCHES, json=[{}] * 4, headers=headers)
        assert (again.status_code, again.json()) == (202, first.json())

    async def test_bodies_over_the_bound_in_flight_are_refused_and_the_room_comes_back(self, rig, problem):
        await rig.register()
        body = b'{"args": ["' + b"x" * 150_000 + b'"]}'

        async def pieces(size: int):
            for start in range(0, len(body), size):
                yield body[start : start + size]

        for _ in range(3):
            assert "being read" in problem(await rig.http.post(INVOCATIONS, content=pieces(10_000)), 429)["detail"]
        small = b'{"args": ["' + b"x" * 90_000 + b'"]}'
        for _ in range(3):
            answer: httpx2.Response = await rig.http.post(BATCHES, content=b"[" + small + b"]")
            assert answer.status_code == 202
