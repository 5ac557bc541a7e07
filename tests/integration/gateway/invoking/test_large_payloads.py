"""Large payloads lie in files: streamed in, handed on by reference or as bytes, streamed out, deleted in the end."""

import os
import pickle
import time
from datetime import timedelta

import msgspec
import pytest

from harvester.domain.payload.blobs import MARK, BlobRef, blob_name
from harvester.domain.payload.buffers import join
from harvester.domain.protocol import wire
from harvester_api.service.retention import RetentionSweep
from harvester_api.settings import GatewaySettings

INVOCATIONS = "/v1/functions/double/invocations"
LARGE = b'{"args": ["' + b"x" * 50_000 + b'"]}'


@pytest.fixture
def settings(settings: GatewaySettings, tmp_path):
    return msgspec.structs.replace(settings, blobs=tmp_path / "blobs", blob_bytes=10_000)


def files(settings):
    return sorted(path for path in settings.blobs.rglob("*") if path.is_file() and path.name != MARK)


async def posted(rig, content=LARGE, **more):
    answer = await rig.http.post(INVOCATIONS, content=content, **more)
    assert answer.status_code == 202, answer.text
    return answer.json()["invocation_id"]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_large_arguments_lie_in_a_file_and_reach_a_pilot_that_does_not_see_it_as_bytes(rig, settings, is_chunked):
    async def pieces():
        for start in range(0, len(LARGE), 7000):
            yield LARGE[start : start + 7000]

    await rig.register()
    key = await posted(rig, pieces() if is_chunked else LARGE)
    assert rig.store.arguments(key) == BlobRef(name=blob_name(key, "args"), size=len(LARGE))
    (path,) = files(settings)
    assert path.read_bytes() == LARGE
    pilot = await rig.pilot()
    assert (await pilot.hear(wire.Lease)).arguments == LARGE


async def test_a_pilot_that_sees_the_directory_gets_and_gives_references(rig, settings):
    await rig.register()
    pilot = await rig.pilot()
    welcome = next(message for message in pilot.heard if isinstance(message, wire.Welcome))
    assert welcome.blobs == str(settings.blobs)
    assert (settings.blobs / MARK).read_text() == welcome.blobs_mark
    await pilot.say(wire.SharesBlobs())
    key = await posted(rig)
    lease = await pilot.hear(wire.Lease)
    assert lease.arguments == BlobRef(name=blob_name(key, "args"), size=len(LARGE))
    value = b'"' + b"y" * 20_000 + b'"'
    result = BlobRef(name=blob_name(key, f"r{lease.fence}"), size=len(value))
    (settings.blobs / result.name).write_bytes(value)
    await pilot.say(wire.Finished(invocation_id=key, fence=lease.fence, value=result))
    assert (await rig.read(key, wait_s=5))["result"] == "y" * 20_000
    answer = await rig.http.get(f"/v1/invocations/{key}/result")
    assert (answer.content, answer.headers["content-type"]) == (value, "application/json")
    assert answer.headers["harvester-state"] == "succeeded"
    waited = await rig.http.post("/v1/wait", json={"invocation_ids": [key], "results": True})
    assert waited.json()["ended"][0]["result"] == "y" * 20_000


async def test_a_large_result_that_came_over_the_connection_is_written_down_and_served(rig, settings):
    await rig.register()
    pilot = await rig.pilot()
    key = await posted(rig, b"{}")
    await pilot.finish(await pilot.hear(wire.Lease), "z" * 20_000)
    assert (await rig.read(key, wait_s=5))["result"] == "z" * 20_000
    await rig.until(lambda: isinstance(rig.store.result(key), BlobRef))
    assert [path.read_bytes() for path in files(settings)] == [b'"' + b"z" * 20_000 + b'"']


@pytest.mark.parametrize(
    "refused",
    [
        (LARGE[:-1], {}, 400),
        (b"x" * 50_000, {"Content-Type": "application/x-python-pickle", "Harvester-Python": "3.11"}, 400),
        (b'{"args": [], "more": "' + b"x" * 50_000 + b'"}', {}, 422),
        (b'{"args": ["' + b"x" * 250_000 + b'"]}', {}, 413),
    ],
)
async def test_large_arguments_that_are_refused_leave_no_file(rig, settings, problem, refused):
    body, headers, status = refused
    await rig.register()
    problem(await rig.http.post(INVOCATIONS, content=body, headers=headers), status)

    async def pieces():
        for start in range(0, len(body), 9000):
            yield body[start : start + 9000]

    problem(await rig.http.post(INVOCATIONS, content=pieces(), headers=headers), status)
    assert files(settings) == []


async def test_a_key_that_comes_again_compares_the_files_and_keeps_the_first_alone(rig, settings, problem):
    await rig.register()
    headers = {"Idempotency-Key": "k"}
    key = await posted(rig, headers=headers)
    assert await posted(rig, headers=headers) == key
    problem(await rig.http.post(INVOCATIONS, content=LARGE.replace(b"x", b"y"), headers=headers), 409)
    await rig.until(lambda: len(files(settings)) == 1)
    assert rig.store.arguments(key) == BlobRef(name=blob_name(key, "args"), size=len(LARGE))


async def test_large_items_of_a_batch_lie_in_files_and_small_ones_do_not(rig, settings):
    await rig.register()
    answer = await rig.http.post("/v1/functions/double/batches", content=b"[{}," + LARGE + b"]")
    small, large = answer.json()["invocation_ids"]
    assert rig.store.arguments(small) == b"{}"
    assert rig.store.arguments(large) == BlobRef(name=blob_name(large, "args"), size=len(LARGE))
    assert [path.read_bytes() for path in files(settings)] == [LARGE]


async def test_what_was_kept_long_enough_is_gone_and_says_so_and_later_is_forgotten(rig, settings, problem, store):
    await rig.register()
    pilot = await rig.pilot()
    key = await posted(rig)
    await pilot.finish(await pilot.hear(wire.Lease), "z" * 20_000)
    await rig.read(key, wait_s=5)
    waiting = await posted(rig)
    await rig.until(lambda: len(files(settings)) == 3)
    gateway = rig.server.app.state.gateway.parts
    later = [time.time() + 3601]
    hour, clock = timedelta(hours=1), lambda: later[0]
    broom = RetentionSweep(store, gateway.blobs, gateway.book, hour, settings.record_ttl, clock=clock)
    await broom.look()
    assert [path.name for path in files(settings)] == [f"{waiting}-args"]
    document = problem(await rig.http.get(f"/v1/invocations/{key}/result"), 410)
    assert document["type"].endswith("result-expired")
    assert f"{time.gmtime().tm_year}-" in document["detail"]
    document = await rig.read(key)
    assert (document["state"], "result" in document) == ("succeeded", False)
    assert document["purged_at"] is not None
    later[0] += settings.record_ttl.total_seconds()
    await broom.look()
    assert rig.store.invocation(key) is None
    problem(await rig.http.get(f"/v1/invocations/{key}/result"), 404)
    assert (await rig.read(waiting))["state"] in {"accepted", "leased"}


async def test_files_that_nobody_refers_to_are_swept_once_they_are_old(rig, settings, store):
    await rig.register()
    key = await posted(rig)
    gateway = rig.server.app.state.gateway.parts
    garbage = [
        settings.blobs / "3f" / "0199aaaa-bbbb-args",
        settings.blobs / "drafts" / "ab12",
        settings.blobs / "aa" / "y",
    ]
    young = settings.blobs / "3f" / "0199aaaa-cccc-args"
    for path in (*garbage, young):
        path.write_bytes(b"x")
    for path in (*garbage, settings.blobs / blob_name(key, "args")):
        os.utime(path, (1.0, 1.0))
    RetentionSweep(store, gateway.blobs, gateway.book, settings.result_ttl, settings.record_ttl).sweep()
    assert files(settings) == sorted([young, settings.blobs / blob_name(key, "args")])


async def test_joined_buffers_pass_from_the_body_to_the_file(rig, settings):
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(((pickle.PickleBuffer(bytearray(40_000)),), {}), protocol=5, buffer_callback=buffers.append)
    body = b"".join(join([head, *(buffer.raw() for buffer in buffers)]))
    await rig.register()
    headers = {"Content-Type": "application/x-python-pickle", "Harvester-Python": "3.11"}
    await posted(rig, body, headers=headers)
    assert [path.read_bytes() for path in files(settings)] == [body]
    for broken in (body[:20_000], body[:1000]):
        assert (await rig.http.post(INVOCATIONS, content=broken, headers=headers)).status_code == 400


async def large_result(rig, settings):
    await rig.register()
    pilot = await rig.pilot()
    await pilot.say(wire.SharesBlobs())
    key = await posted(rig, b"{}")
    lease = await pilot.hear(wire.Lease)
    value = b'"' + b"0123456789" * 2000 + b'"'
    result = BlobRef(name=blob_name(key, f"r{lease.fence}"), size=len(value))
    (settings.blobs / result.name).write_bytes(value)
    await pilot.say(wire.Finished(invocation_id=key, fence=lease.fence, value=result))
    await rig.read(key, wait_s=5)
    return key


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("bytes=1-4", (206, 4, b"0123")),
        ("bytes=-2", (206, 2, b'9"')),
        ("bytes=a-b", (200, 20_002, b'"012')),
        ("lines=1-2", (200, 20_002, b'"012')),
    ],
)
async def test_a_part_of_a_large_result_can_be_had_and_a_strange_range_is_all_of_it(rig, settings, asked, answered):
    key = await large_result(rig, settings)
    answer = await rig.http.get(f"/v1/invocations/{key}/result", headers={"Range": asked})
    assert (answer.status_code, len(answer.content), answer.content[:4]) == answered


async def test_a_range_beyond_the_end_of_a_large_result_is_a_problem_that_tells_its_size(rig, settings, problem):
    key = await large_result(rig, settings)
    answer = await rig.http.get(f"/v1/invocations/{key}/result", headers={"Range": "bytes=50000-"})
    assert "20002 bytes" in problem(answer, 416)["detail"]
    assert answer.headers["content-range"] == "bytes */20002"


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_result_whose_file_is_not_as_it_was_written_is_a_problem_and_keeps_nobody_else_waiting(
    rig, settings, problem, is_gone
):
    key = await large_result(rig, settings)
    (path,) = files(settings)
    if is_gone:
        path.unlink()
    else:
        path.write_bytes(b"short")
    assert str(path) in problem(await rig.http.get(f"/v1/invocations/{key}/result"), 503)["detail"]
    waited = await rig.http.post("/v1/wait", json={"invocation_ids": [key], "results": True})
    (ended,) = waited.json()["ended"]
    assert ended["state"] == "succeeded"
    assert "result" not in ended
