"""Clients that see the directory of large payloads leave arguments there, and are told where results lie."""

import asyncio
import os
import secrets
import time
from datetime import timedelta

import msgspec
import pytest

from harvester.domain.payload.blobs import DRAFTS, MARK, BlobRef, blob_name
from harvester.domain.protocol import stream, wire
from harvester.sdk.submit.result_stream import frames
from harvester_api.service import retention
from harvester_api.settings import GatewaySettings

INVOCATIONS = "/v1/functions/double/invocations"
STREAM = "00000000-aaaa"
LARGE = b'{"args": ["' + b"x" * 50_000 + b'"]}'
PICKLE = {"Content-Type": "application/x-python-pickle", "Harvester-Python": "3.11"}


@pytest.fixture
def settings(settings: GatewaySettings, tmp_path):
    return msgspec.structs.replace(settings, blobs=tmp_path / "blobs", blob_bytes=10_000)


@pytest.fixture
def leave(settings):
    """Write a draft; return its name."""

    def written(content=LARGE):
        name = secrets.token_hex(16)
        (settings.blobs / DRAFTS / name).write_bytes(content)
        return name

    return written


@pytest.fixture
def post(rig):
    async def posted(draft, path=INVOCATIONS, **headers):
        return await rig.http.post(path, headers={"Harvester-Draft": draft, **headers})

    return posted


def files(settings):
    return sorted(path for path in settings.blobs.rglob("*") if path.is_file() and path.name != MARK)


async def test_the_directory_is_told_to_whoever_has_a_token(rig, settings, problem):
    said = (await rig.http.get("/v1/directory")).json()
    assert (said["path"], said["least"]) == (str(settings.blobs), 10_000)
    assert said["mark"] == (settings.blobs / MARK).read_text()
    problem(await rig.http.get("/v1/directory", headers={"Authorization": "Bearer none"}), 401)


async def test_a_draft_stands_for_a_body(rig, settings, leave, post):
    await rig.register()
    draft = leave()
    old = time.time() - 7200
    os.utime(settings.blobs / DRAFTS / draft, (old, old))
    answer = await post(draft)
    assert answer.status_code == 202, answer.text
    key = answer.json()["invocation_id"]
    (path,) = files(settings)
    assert path == settings.blobs / blob_name(key, "args")
    assert path.read_bytes() == LARGE
    assert path.stat().st_mtime > old + 3600  # or a sweep might take it before it is referred to
    assert rig.store.arguments(key) == BlobRef(name=blob_name(key, "args"), size=len(LARGE))
    pilot = await rig.pilot()
    assert (await pilot.hear(wire.Lease)).arguments == LARGE


@pytest.mark.parametrize("name", ["", "../" + MARK, "a" * 31, "A" * 32, "a" * 32 + "/", "a" * 32])
async def test_a_draft_that_is_none_is_refused_and_named(rig, settings, post, problem, name):
    await rig.register()
    assert problem(await post(name), 422)["field"] == "Harvester-Draft"
    assert (settings.blobs / MARK).exists()
    assert files(settings) == []


async def test_links_and_folders_are_no_drafts(rig, settings, tmp_path, post, problem):
    await rig.register()
    (tmp_path / "secret").write_bytes(LARGE)
    (settings.blobs / DRAFTS / ("a" * 32)).symlink_to(tmp_path / "secret")
    (settings.blobs / DRAFTS / ("b" * 32)).mkdir()
    for name in ("a" * 32, "b" * 32):
        assert problem(await post(name), 422)["field"] == "Harvester-Draft"
    assert (tmp_path / "secret").read_bytes() == LARGE


@pytest.mark.parametrize(
    "refused",
    [(LARGE[:-1], {}, 400), (b"", {}, 400), (b"x" * 50_000, PICKLE, 400), (b"x" * 250_000, PICKLE, 413)],
)
async def test_a_draft_is_checked_as_a_body_is_and_refused_leaves_no_file(rig, settings, leave, problem, refused):
    content, headers, status = refused
    await rig.register()
    draft = {"Harvester-Draft": leave(content)}
    problem(await rig.http.post(INVOCATIONS, headers=headers | draft), status)
    assert files(settings) == []


async def test_a_draft_beside_a_body_is_refused(rig, leave, problem):
    await rig.register()
    headers = {"Harvester-Draft": leave()}
    assert problem(await rig.http.post(INVOCATIONS, content=b"{}", headers=headers), 422)["field"] == "Harvester-Draft"


async def test_a_batch_takes_no_draft(rig, leave, post, problem):
    await rig.register()
    assert problem(await post(leave(), "/v1/functions/double/batches"), 422)["field"] == "Harvester-Draft"


async def test_draft_and_body_under_one_key_are_the_same_invocation(rig, settings, leave, post, problem):
    await rig.register()
    first = await post(leave(), **{"Idempotency-Key": "k"})
    again = await rig.http.post(INVOCATIONS, content=LARGE, headers={"Idempotency-Key": "k"})
    assert again.json()["invocation_id"] == first.json()["invocation_id"]
    problem(await post(leave(LARGE.replace(b"x", b"y")), **{"Idempotency-Key": "k"}), 409)
    await rig.until(lambda: len(files(settings)) == 1)


async def test_drafts_that_nobody_posted_are_swept_daily(rig, settings, store, leave, monkeypatch):
    monkeypatch.setattr(retention, "INTERVAL", timedelta(seconds=0.01))
    day = [time.time()]
    gateway = rig.server.app.state.gateway.parts
    ttl = timedelta(days=365)
    broom = retention.RetentionSweep(store, gateway.blobs, gateway.book, ttl, ttl, clock=lambda: day[0])
    broom.start()
    try:
        for _ in range(2):
            path = settings.blobs / DRAFTS / leave()
            os.utime(path, (1.0, 1.0))
            day[0] += retention.SWEEP_INTERVAL.total_seconds()
            await rig.until(lambda path=path: not path.exists())
    finally:
        await broom.stop()


async def test_a_stream_tells_where_a_large_result_lies(rig, settings):
    await rig.register()
    pilot = await rig.pilot()
    await pilot.say(wire.SharesBlobs())
    heard = asyncio.Queue()
    request = rig.http.build_request("GET", f"/v1/streams/{STREAM}", headers={"Accept": stream.STREAM_TYPE})
    answer = await rig.http.send(request, stream=True)
    listening = asyncio.create_task(
        frames(answer.aiter_raw(), lambda ended: [heard.put_nowait(each) for each in ended])
    )
    try:
        key = (await rig.http.post(INVOCATIONS, headers={"Harvester-Stream": STREAM})).json()["invocation_id"]
        lease = await pilot.hear(wire.Lease)
        result = BlobRef(name=blob_name(key, f"r{lease.fence}"), size=20_000)
        (settings.blobs / result.name).write_bytes(b"1" * 20_000)
        await pilot.say(wire.Finished(invocation_id=key, fence=lease.fence, value=result))
        ended = await asyncio.wait_for(heard.get(), 5)
        assert (ended.invocation_id, ended.value, ended.blob) == (key, None, result)
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        await answer.aclose()
