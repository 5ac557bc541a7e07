"""Large payloads of a client that sees the gateway's directory, and of one that does not or no longer."""

import asyncio
import os
import threading
import time

import msgspec
import numpy as np
import pytest
from tests.support.losing import lose_answer

import harvester
from harvester.domain.payload.blobs import DRAFTS, MARK, BlobRef
from harvester.domain.payload.buffers import join
from harvester.sdk.errors import GatewayError
from harvester.sdk.http.messages import Response
from harvester.sdk.payload import shared_directory
from harvester.sdk.payload.shared_directory import SharedDirectory
from harvester.store.store import open_store
from harvester_api.app import create_app
from harvester_api.server import listen
from harvester_api.settings import GatewaySettings, Role, Token

LARGE = bytes(range(256)) * 1200
BOOT = shared_directory.BOOT_ID.read_text().strip()


class Tells:
    """A gateway that answers one question."""

    def __init__(self, **place):
        self.place, self.questions = {"mark": "m", "least": 1000, "boot": BOOT} | place, 0

    async def run(self, operation, _patience_s):
        request = next(operation)
        self.questions += 1
        if self.place["path"] == "older":
            raise GatewayError(404, "not found", f"{request.path}: there is no such route")
        answer = Response(status=200, reason="OK", headers={}, body=msgspec.json.encode(self.place))
        with pytest.raises(StopIteration) as end:
            operation.send(answer)
        return end.value.value


@pytest.fixture
def folder(tmp_path):
    (tmp_path / DRAFTS).mkdir()
    (tmp_path / "ab").mkdir()
    (tmp_path / MARK).write_text("m")
    return tmp_path


@pytest.fixture
async def directory(folder):
    directory = SharedDirectory(Tells(path=str(folder)))
    yield directory
    directory.close()


async def test_large_arguments_become_a_draft_and_small_ones_ask_nobody(directory, folder):
    assert await directory.draft(LARGE[:1000]) is None
    assert directory._gateway.questions == 0
    names = [await directory.draft(LARGE) for _ in range(2)]
    assert {path.name: path.read_bytes() for path in (folder / DRAFTS).iterdir()} == dict.fromkeys(names, LARGE)
    assert directory._gateway.questions == 1
    assert {path.stat().st_mode & 0o777 for path in (folder / DRAFTS).iterdir()} == {0o600}


async def test_a_draft_is_brought_to_disk_here_when_the_gateway_runs_on_another_kernel(folder, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for boot, count in ((BOOT, 0), ("another", 1), ("", 2)):
        directory = SharedDirectory(Tells(path=str(folder), boot=boot))
        assert await directory.draft(LARGE)
        directory.close()
        assert len(synced) == count


@pytest.mark.parametrize("kind", ["ext4", "nfs4", "unknown"])
async def test_only_a_local_filesystem_is_touched_without_a_thread(folder, monkeypatch, kind, tmp_path):
    device = folder.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / / rw,noatime shared:1 - {kind} /dev/root rw\n"
    (tmp_path / "mounts").write_text("1 2 0:0 / /proc rw - proc proc rw\n" + (line if kind != "unknown" else ""))
    monkeypatch.setattr(shared_directory, "MOUNTS", tmp_path / "mounts")
    writers, write = [], shared_directory._write

    def noted(*args, **more):
        writers.append(threading.current_thread() is threading.main_thread())
        return write(*args, **more)

    monkeypatch.setattr(shared_directory, "_write", noted)
    directory = SharedDirectory(Tells(path=str(folder)))
    assert await directory.draft(LARGE)
    assert await directory.draft(LARGE * 20)
    assert writers == [kind == "ext4", False]
    directory.close()


async def test_a_draft_that_was_refused_is_deleted(directory, folder):
    directory.discard(await directory.draft(LARGE))
    directory.discard("0" * 32)
    async with asyncio.timeout(5):
        while list((folder / DRAFTS).iterdir()):  # noqa: ASYNC110 - another thread deletes it
            await asyncio.sleep(0.01)


async def test_results_are_read_and_arrays_over_them_can_be_written_to(directory, folder):
    (folder / "ab" / "0198-plain").write_bytes(LARGE)
    assert bytes(await directory.read(BlobRef(name="ab/0198-plain", size=len(LARGE)))) == LARGE
    joined = b"".join(join([b"\x80.", LARGE]))
    (folder / "ab" / "0198-arrays").write_bytes(joined)
    body = await directory.read(BlobRef(name="ab/0198-arrays", size=len(joined)))
    body[-1] = 7
    assert (folder / "ab" / "0198-arrays").read_bytes() == joined


async def test_a_result_that_is_gone_or_cut_or_elsewhere_is_fetched(directory, folder):
    (folder / "ab" / "0198-short").write_bytes(LARGE)
    (folder / "secret").write_bytes(LARGE)
    for name, size in (("ab/0198-none", 9), ("ab/0198-short", len(LARGE) + 1), ("ab/../secret", len(LARGE))):
        assert await directory.read(BlobRef(name=name, size=size)) is None
    assert await directory.draft(LARGE)  # all the same


@pytest.mark.parametrize(
    "place", [{"path": None}, {"path": "older"}, {"path": "/nowhere"}, {"mark": "n"}, {"mark": ""}]
)
async def test_a_directory_that_is_not_the_gateways_is_not_touched(folder, place):
    if place.get("mark") == "":
        (folder / MARK).write_text("")
    directory = SharedDirectory(Tells(**{"path": str(folder)} | place))
    assert await directory.draft(LARGE) is None
    assert await directory.read(BlobRef(name="ab/0198-x", size=9)) is None
    assert directory._gateway.questions == 1
    assert not list((folder / DRAFTS).iterdir())
    directory.close()


async def test_a_full_disk_leaves_the_way_over_http_and_is_told_once(directory, folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    assert await directory.draft(LARGE)
    monkeypatch.setattr(os, "write", full)
    assert [await directory.draft(LARGE) for _ in range(3)] == [None] * 3
    assert [record.getMessage().count("No space left") for record in caplog.records] == [1]
    monkeypatch.undo()
    assert await directory.draft(LARGE)


def test_a_filesystem_that_hangs_holds_up_nobody(folder, monkeypatch):
    (folder / MARK).unlink()
    os.mkfifo(folder / MARK)  # whoever opens it waits for a writer
    monkeypatch.setattr(shared_directory, "LOOK_S", 0.1)
    monkeypatch.setattr(shared_directory, "PATIENCE_S", 0.3)
    directory = SharedDirectory(Tells(path=str(folder)))

    async def use():
        drafts = [await directory.draft(LARGE) for _ in range(5)]
        directory.close()
        return drafts

    begun = time.monotonic()
    assert asyncio.run(use()) == [None] * 5
    assert time.monotonic() - begun < 5
    hanging = [thread for thread in threading.enumerate() if thread.name == "harvester-files"]
    assert all(thread.daemon for thread in hanging)
    (folder / MARK).open("w").close()  # lets it go
    for thread in hanging:
        thread.join(5)
        assert not thread.is_alive()


# ---- with a real gateway ---------------------------------------------------------------------------------------------


class Between:
    """What a proxy does: notes how invocations came, and keeps the answers to the first `lost` of them to itself."""

    def __init__(self, app):
        self.app, self.came, self.lost, self.looks = app, [], 0, 0

    async def __call__(self, scope, receive, send):
        headers = dict(scope.get("headers", ()))
        self.looks += scope.get("path") == "/v1/directory"
        if not scope.get("path", "").endswith("/invocations") or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self.came.append((b"harvester-draft" in headers, int(headers.get(b"content-length", 0))))
        if not self.lost:
            await self.app(scope, receive, send)
            return
        self.lost -= 1
        await lose_answer(self.app, scope, receive, send)


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/harvester.db")
    yield store
    store.close()


@pytest.fixture
def gateway(store, tmp_path):
    settings = GatewaySettings(tokens=(Token(name="ada", role=Role.USER, token="t"),), blobs=tmp_path / "blobs")
    between = Between(create_app(settings, store))
    server = listen(between, "127.0.0.1", 0)
    server.start()
    between.url, between.blobs = server.url, tmp_path / "blobs"
    yield between
    server.close()


@pytest.fixture
def client(gateway):
    with harvester.Client(gateway.url, "t", patience_s=10) as client:
        yield client


def kept(gateway):
    return [path for path in gateway.blobs.rglob("*") if path.is_file() and path.name != MARK]


def test_large_arguments_are_left_in_the_directory_and_only_named(client, gateway, store):
    future = client.submit(len, np.arange(100_000))
    arguments = store.arguments(future.invocation_id)
    assert isinstance(arguments, BlobRef)
    assert gateway.came == [(True, 0)]
    assert [path.relative_to(gateway.blobs).as_posix() for path in kept(gateway)] == [arguments.name]


def test_a_draft_whose_answer_was_lost_is_accepted_once(client, gateway, store):
    gateway.lost = 1
    future = client.submit(len, LARGE)
    invocation_id = future.invocation_id
    assert [record.invocation_id for record in store.invocations()] == [invocation_id]
    # It came as a draft, again as one, which was taken, and then as a body under the same key.
    assert [is_draft for is_draft, _ in gateway.came] == [True, True, False]
    assert gateway.came[-1][1] > len(LARGE)


def test_a_refused_submission_leaves_no_draft(client, gateway):
    target = client.register(len)
    with pytest.raises(GatewayError):
        client.submit(target, bytes(70 * 1024 * 1024)).invocation_id  # noqa: B018 - it waits for the answer
    assert [is_draft for is_draft, _ in gateway.came] == [True]
    assert kept(gateway) == []


def test_a_draft_that_the_gateway_does_not_find_is_sent_as_a_body_and_the_directory_looked_at_anew(
    client, gateway, store, monkeypatch
):
    monkeypatch.setattr(shared_directory, "_write", lambda *_, **__: True)
    first = client.submit(len, LARGE).invocation_id
    assert [is_draft for is_draft, _ in gateway.came] == [True, False]
    monkeypatch.undo()
    second = client.submit(len, LARGE).invocation_id
    assert [is_draft for is_draft, _ in gateway.came] == [True, False, True]
    assert {record.invocation_id for record in store.invocations()} == {first, second}
    assert gateway.looks == 2
