"""The server around the application: ports, readiness, a store in trouble, the OpenAPI document."""

import asyncio
import importlib
import pkgutil
import socket
import sqlite3
import time
from concurrent.futures import Future

import msgspec
import pytest

import harvester
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import daemon_notes, wire
from harvester.domain.protocol.daemon_notes import ClusterNote, DaemonNote, NodeNote
from harvester.store.store import StoreError, StoreFull
from harvester.store.writes import writer
from harvester_api import routes
from harvester_api.app import create_app
from harvester_api.server import PortInUse, ServerError, listen


def test_a_port_in_use_is_one_clear_line(settings, store):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse) as raised:
            listen(create_app(settings, store), "127.0.0.1", port)
    assert f"127.0.0.1:{port} is in use" in str(raised.value)
    assert "choose another port" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_address_that_is_not_ours_and_a_missing_certificate_are_clear_errors(settings, store, tmp_path):
    with pytest.raises(ServerError, match=r"203\.0\.113\.1:0.*one of this machine's.*--host"):
        listen(create_app(settings, store), "203.0.113.1", 0)
    with pytest.raises(ServerError, match=r"missing\.pem"):
        listen(create_app(settings, store), "127.0.0.1", 0, certificate=tmp_path / "missing.pem", key=None)


async def test_health_and_readiness_need_no_token(rig):
    client = rig.client(None)
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_readiness_and_the_daemons_document_tell_of_a_write_that_failed_whoever_wrote_it(
    rig, store, problem, monkeypatch
):
    client = rig.client(None)

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "probe", fail)
        store._writer.call(fail).exception(timeout=5)  # as the daemon's writes do, and the gateway's do not
        assert "database or disk is full" in problem(await client.get("/readyz"), 503)["detail"]
        assert "database or disk is full" in (await rig.http.get("/v1/daemon")).json()["store"]
    assert (await client.get("/readyz")).status_code == 200  # it is asked anew, though nobody else writes
    assert (await rig.http.get("/v1/daemon")).json()["store"] == ""


async def test_readiness_does_not_wait_for_a_store_that_hangs(rig, store, problem, monkeypatch):
    monkeypatch.setattr(store._writer, "_begun_at", time.monotonic() - 60)
    assert "has not answered a write for 60 s" in problem(await rig.client(None).get("/readyz"), 503)["detail"]


async def test_whoami_names_the_caller(rig):
    own = {"version": harvester.__version__}
    assert (await rig.http.get("/v1/whoami")).json() == {"name": "ada", "role": "user"} | own
    assert (await rig.admin.get("/v1/whoami")).json() == {"name": "root", "role": "admin"} | own


async def test_the_cluster_is_what_the_daemon_noted(rig):
    empty = (await rig.http.get("/v1/cluster")).json()
    assert (empty["nodes"], empty["taken_at"], empty["daemon"]) == ([], None, {})
    whole = Resources(cpus=4)
    node = NodeNote(name="n1", state="idle", partitions=("harvest",), total=whole, free=whole)
    seen = ClusterNote(scheduler="slurm 24.11.5", taken_at=5.0, nodes=(node,))
    rig.store.put_note(daemon_notes.CLUSTER_NOTE, daemon_notes.encode(seen))
    told = DaemonNote(last_tick_at=5.0, tick_s=1.0, paused=True, reason="three submissions failed")
    rig.store.put_note(daemon_notes.DAEMON_NOTE, daemon_notes.encode(told))
    await rig.pilot()
    await rig.register()
    await rig.accepted("double", 1)
    document = (await rig.http.get("/v1/cluster")).json()
    assert document["scheduler"] == "slurm 24.11.5"
    assert document["nodes"] == [msgspec.json.decode(msgspec.json.encode(node))]
    assert document["pilots"] == {"ready": 1}
    assert document["demand"][0]["function_id"] == "ada/double@1"
    assert document["daemon"]["reason"] == "three submissions failed"


async def test_a_user_is_shown_which_work_waits_of_their_own_functions_and_how_much_of_others(rig):
    await rig.register()
    await rig.accepted("double", 1)
    for client, waits, others in ((rig.http, ["ada/double@1"], 0), (rig.client("bob-token"), [], 1)):
        document = (await client.get("/v1/cluster")).json()
        assert [each["function_id"] for each in document["demand"]] == waits
        assert document["demand_of_others"] == {"waiting": others, "held": 0}
    document = (await rig.admin.get("/v1/cluster")).json()
    assert [each["function_id"] for each in document["demand"]] == ["ada/double@1"]


async def test_the_openapi_document_describes_every_route_and_refers_to_nothing_missing(rig):
    document = (await rig.http.get("/openapi.json")).json()
    modules = [
        importlib.import_module(f"harvester_api.routes.{each.name}") for each in pkgutil.iter_modules(routes.__path__)
    ]
    served = {route.path_format for module in modules if hasattr(module, "router") for route in module.router.routes}
    assert "/v1/whoami" in served
    assert served == set(document["paths"])
    text = msgspec.json.encode(document).decode()
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in text
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}


class Trouble:
    """Makes a store refuse its writes for a while."""

    def __init__(self, store, monkeypatch) -> None:
        self.error: StoreError | None = None
        self._write = store.write
        monkeypatch.setattr(store, "write", self.write)

    def write(self, writes):
        if self.error is None:
            return self._write(writes)
        future: Future[None] = Future()
        future.set_exception(self.error)
        return future


@pytest.fixture
def trouble(store, monkeypatch):
    return Trouble(store, monkeypatch)


@pytest.mark.parametrize("wait_s", [0, 2])
async def test_a_full_store_refuses_new_work_and_loses_none(trouble, rig, problem, wait_s):
    await rig.register()
    before = await rig.accepted("double", 1)
    trouble.error = StoreFull("no space left")
    for _ in range(3):
        document = problem(await rig.invoke("double", 2, wait_s=wait_s), 507)
        assert "no space left" in document["detail"]
        assert document["remedy"]
    problem(await rig.client(None).get("/readyz"), 503)
    trouble.error = None
    await rig.until_ready()
    pilot = await rig.pilot()
    lease = await pilot.hear(wire.Lease)
    assert lease.invocation_id == before
    after = await rig.accepted("double", 3)
    assert (await pilot.hear(wire.Lease)).invocation_id == after
    assert len(rig.store.invocations()) == 2
    assert (await rig.client(None).get("/readyz")).status_code == 200


async def test_a_result_that_cannot_be_written_is_kept_and_acknowledged_once_it_is(trouble, rig):
    await rig.register()
    pilot = await rig.pilot()
    invocation_id = await rig.accepted("double", 1)
    lease = await pilot.hear(wire.Lease)
    waiting = asyncio.create_task(rig.read(invocation_id, wait_s=10))
    await asyncio.sleep(0.1)
    trouble.error = StoreFull("no space left")
    await pilot.finish(lease, 2)
    await asyncio.sleep(0.4)
    assert not [message for message in pilot.heard if isinstance(message, wire.Ack)]
    assert not waiting.done()
    trouble.error = None
    await pilot.hear(wire.Ack, invocation_id=invocation_id)
    assert (await waiting)["result"] == 2


async def test_a_gateway_over_tls_speaks_https_and_wss(settings, store, add_pilot, fake_pilot, tmp_path):
    certificate = tmp_path / "gateway.pem"
    made = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"), "-out", str(certificate),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await made.wait() != 0:
        pytest.skip("no openssl to make a certificate with")
    import ssl

    import httpx2

    server = listen(create_app(settings, store), "127.0.0.1", 0, certificate=certificate, key=tmp_path / "key.pem")
    server.start()
    try:
        trust = ssl.create_default_context(cafile=str(certificate))
        async with httpx2.AsyncClient(base_url=server.url, verify=trust, trust_env=False) as client:
            assert (await client.get("/readyz")).status_code == 200
        assert server.url.startswith("https://")
        add_pilot(store, "p1", Resources(cpus=1))
        pilot = fake_pilot(server.url, "p1", Resources(cpus=1))
        await pilot.connect(ssl=trust)
        await pilot.hear(wire.Welcome)
        await pilot.cut()
    finally:
        await asyncio.to_thread(server.close)
