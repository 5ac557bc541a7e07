"""A real gateway under uvicorn on a free port, a real store, and pilots that speak the wire in the test itself."""

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from ssl import SSLContext
from typing import Any

import httpx2
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from harvester.domain.model.functions import FunctionKind, name_in
from harvester.domain.model.pilots import DrainReason, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester.store.records import PilotRecord
from harvester.store.store import Store, open_store
from harvester_api import problems
from harvester_api.app import create_app
from harvester_api.schemas import pilot_responses
from harvester_api.schemas import responses as documents
from harvester_api.server import GatewayServer, listen
from harvester_api.settings import GatewaySettings, Offer, Role, Token

SETTINGS = GatewaySettings(
    tokens=(
        Token(name="ada", role=Role.USER, token="ada-token"),
        Token(name="bob", role=Role.USER, token="bob-token"),
        Token(name="root", role=Role.ADMIN, token="root-token"),
    ),
    offers=(
        Offer(name="cpu", resources=Resources(cpus=8, memory_mb=16_000), python="3.11", longest_s=600.0),
        Offer(name="gpu", resources=Resources(cpus=4, gpus=2, memory_mb=16_000), python="3.11", longest_s=600.0),
    ),
    payload_limit_bytes=200_000,
    batch_limit_bytes=400_000,
    result_limit_bytes=100_000,
    heartbeat=timedelta(seconds=0.2),
    lease=timedelta(seconds=1.2),
    recovery=timedelta(seconds=3),
    margin=timedelta(seconds=1),
    tick=timedelta(seconds=0.1),
    retry=timedelta(seconds=0.1),
    seen_interval=timedelta(seconds=0.3),
    max_wait=timedelta(seconds=20),
    memory_bytes=50_000,
)


class FakePilot:
    """A pilot in the test: connects, says what it is told to say, keeps what it hears."""

    def __init__(self, url: str, pilot_id: str, resources: Resources) -> None:
        self.url = url.replace("http", "ws", 1) + wire.LINK_PATH
        self.pilot_id, self.resources, self.token = pilot_id, resources, f"token of {pilot_id}"
        self.heard: list[wire.ToPilot] = []
        self.frames = 0
        self.functions: dict[str, Callable[..., Any]] = {}
        self.is_working = False
        self.held: dict[str, wire.Lease] = {}
        self._socket: ClientConnection | None = None
        self._news = asyncio.Event()
        self._seen: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, *, ssl: SSLContext | None = None, **hello: Any) -> "FakePilot":
        headers = {"Authorization": f"Bearer {self.token}"}
        self._socket = await connect(
            self.url, additional_headers=headers, max_size=None, compression=None, proxy=None, ssl=ssl
        )
        said: dict[str, Any] = {
            "protocol": wire.PROTOCOL_VERSION,
            "pilot_id": self.pilot_id,
            "python": "3.11",
            "node": "n1",
            "batch_job_id": "77",
            "capacity": self.resources,
            "time_left_s": 3600.0,
        }
        await self.say(wire.Hello(**(said | hello)))
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
        return self

    async def say(self, *messages: wire.ToGateway) -> None:
        assert self._socket is not None
        await self._socket.send(wire.encode(messages))

    async def hear(self, kind: type, /, within: float = 5.0, **fields: Any) -> Any:
        """Return the first message of `kind` with `fields` that was not returned before."""

        async def found() -> Any:
            while True:
                self._news.clear()
                for index, message in enumerate(self.heard):
                    if index in self._seen or not isinstance(message, kind):
                        continue
                    if all(getattr(message, name) == value for name, value in fields.items()):
                        self._seen.add(index)
                        return message
                await self._news.wait()

        return await asyncio.wait_for(found(), within)

    async def finish(self, lease: wire.Lease, value: Any) -> None:
        await self.say(
            wire.Started(invocation_id=lease.invocation_id, fence=lease.fence),
            wire.Finished(invocation_id=lease.invocation_id, fence=lease.fence, value=msgspec.json.encode(value)),
        )

    def work(self, **functions: Callable[..., Any]) -> None:
        """Run whatever is leased from now on."""
        self.functions = functions
        self.is_working = True

    async def cut(self) -> None:
        """Lose the connection without a word."""
        for task in self._tasks:
            task.cancel()
        if self._socket is not None:
            self._socket.transport.abort()
            await self._socket.wait_closed()

    def mute(self) -> None:
        """Send no more heartbeats, on a connection that stays."""
        self._tasks[1].cancel()

    async def leave(self, reason: DrainReason = DrainReason.WALLTIME) -> None:
        await self.say(wire.Goodbye(reason=reason))
        await self.cut()

    async def closed(self, within: float = 5.0) -> tuple[int | None, str]:
        assert self._socket is not None
        await asyncio.wait_for(self._socket.wait_closed(), within)
        return self._socket.close_code, self._socket.close_reason or ""

    async def _beat(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(0.2)
                await self.say(wire.Heartbeat(time_left_s=3600.0))

    async def _listen(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(ConnectionClosed):
            while True:
                messages = wire.decode_to_pilot(await self._socket.recv(decode=False))
                self.frames += 1
                self.heard += messages
                self._news.set()
                if self.is_working:
                    await self._run([message for message in messages if isinstance(message, wire.Lease)])

    async def _run(self, leases: list[wire.Lease]) -> None:
        said: list[wire.ToGateway] = []
        for lease in leases:
            assert isinstance(lease.arguments, bytes), "large arguments are the tests' own affair"
            given = msgspec.json.decode(lease.arguments)
            name = name_in(lease.function_id)
            value = self.functions[name](*given.get("args", ()), **given.get("kwargs", {}))
            said += [
                wire.Started(invocation_id=lease.invocation_id, fence=lease.fence),
                wire.Finished(invocation_id=lease.invocation_id, fence=lease.fence, value=msgspec.json.encode(value)),
            ]
        if said:
            await self.say(*said)


def add_pilot(store: Store, pilot_id: str, resources: Resources, state: PilotState = PilotState.QUEUED) -> None:
    """Write a pilot down, as the daemon does before it submits one."""
    store.add_pilot(
        PilotRecord(
            pilot_id=pilot_id,
            name=f"harvester-{pilot_id}",
            shape="cpu",
            partition="harvest",
            resources=resources,
            walltime_s=3600.0,
            token_sha256=hashlib.sha256(f"token of {pilot_id}".encode()).hexdigest(),
            state=state,
            planned_at=time.time(),
        )
    )


def _fits(template: str, path: str) -> bool:
    """Whether a path is one of a template; the name of a function may have its owner's before it."""
    name = "[^/]+(/[^/]+)?" if template.startswith("/v1/functions/{name}") else "[^/]+"
    return bool(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template.replace("{name}", name)), path))


class Rig:
    """One gateway and what talks to it."""

    def __init__(self, store: Store, server: GatewayServer) -> None:
        self.store, self.server, self.url = store, server, server.url
        self.document = server.app.openapi()
        self.clients: list[httpx2.AsyncClient] = []
        self.http = self.client("ada-token")
        self.admin = self.client("root-token")
        self.pilots: list[FakePilot] = []

    def client(self, token: str | None, **more: Any) -> httpx2.AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        hooks = {"response": [self._is_documented]}
        client = httpx2.AsyncClient(
            base_url=self.url, headers=headers, timeout=30, trust_env=False, event_hooks=hooks, **more
        )
        self.clients.append(client)
        return client

    async def _is_documented(self, answer: httpx2.Response) -> None:
        """Hold every answer of every test against the OpenAPI document."""
        method, path = answer.request.method.lower(), answer.request.url.path
        operation = next(
            (
                operations[method]
                for template, operations in self.document["paths"].items()
                if _fits(template, path) and method in operations
            ),
            None,
        )
        if operation is None:
            assert answer.status_code in {404, 405} or path == "/openapi.json" or path.startswith("/docs")
            return
        responses = operation["responses"]
        assert str(answer.status_code) in responses, f"{method} {path} {answer.status_code} is not in the document"
        media_type = answer.headers["content-type"]
        content = responses[str(answer.status_code)]["content"]
        assert media_type in content
        name = content[media_type]["schema"].get("$ref", "").rpartition("/")[2]
        if name:
            record = (
                problems.Problem
                if name == "Problem"
                else getattr(documents, name, None) or getattr(pilot_responses, name)
            )
            msgspec.json.decode(await answer.aread(), type=record)

    async def register(self, name: str = "double", **more: Any) -> dict[str, Any]:
        draft = {"name": name, "kind": FunctionKind.MODULE, "body": f"package.module:{name}"} | more
        answer = await self.http.post("/v1/functions", json=draft)
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    async def pilot(self, pilot_id: str = "p1", cpus: int = 2, **hello: Any) -> FakePilot:
        resources = Resources(cpus=cpus)
        add_pilot(self.store, pilot_id, resources)
        pilot = FakePilot(self.url, pilot_id, resources)
        self.pilots.append(pilot)
        await pilot.connect(**hello)
        await pilot.hear(wire.Welcome)
        return pilot

    async def invoke(self, name: str = "double", *args: Any, wait_s: float = 0, **more: Any) -> httpx2.Response:
        return await self.http.post(
            f"/v1/functions/{name}/invocations", params={"wait_s": wait_s}, json={"args": list(args)}, **more
        )

    async def accepted(self, name: str = "double", *args: Any) -> str:
        answer = await self.invoke(name, *args)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["invocation_id"])

    async def read(self, invocation_id: str, wait_s: float = 0) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/invocations/{invocation_id}", params={"wait_s": wait_s})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until(self, question: Callable[[], Any], within: float = 5.0) -> Any:
        """Ask until the answer is true."""
        async with asyncio.timeout(within):
            while not (answer := question()):  # noqa: ASYNC110 - what is asked has no event
                await asyncio.sleep(0.02)
        return answer

    async def until_ready(self) -> None:
        async with asyncio.timeout(5):
            while (await self.http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        for pilot in self.pilots:
            await pilot.cut()
        for client in self.clients:
            await client.aclose()


@pytest.fixture
def settings() -> GatewaySettings:
    return SETTINGS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path}/harvester.db")
    yield store
    store.close()


@pytest.fixture
async def rig(settings: GatewaySettings, store: Store) -> AsyncIterator[Rig]:
    server = listen(create_app(settings, store), "127.0.0.1", 0)
    server.start()
    rig = Rig(store, server)
    yield rig
    await rig.close()
    await asyncio.to_thread(server.close)


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """Return the problem document of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:harvester:problem:")
    assert document["title"]
    assert document["detail"]
    return document


@pytest.fixture(name="problem")
def problem_fixture() -> Callable[[httpx2.Response, int], dict[str, Any]]:
    return problem


@pytest.fixture(name="add_pilot")
def add_pilot_fixture() -> Callable[..., None]:
    return add_pilot


@pytest.fixture
def fake_pilot() -> type[FakePilot]:
    return FakePilot
