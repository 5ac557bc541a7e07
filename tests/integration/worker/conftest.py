"""A fake gateway that speaks the wire, and real pilot processes that talk to it."""

import asyncio
import contextlib
import os
import pickle
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.resources import Resources
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol import pilot_file, wire
from harvester.domain.protocol.pilot_file import PilotFile

TOKEN = "the pilot's own"
ONE_CPU = Resources(cpus=1)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class FakeGateway:
    """Accepts one pilot, keeps what it says, and says what a test wants."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.heard_at: list[float] = []
        self.hellos: list[wire.Hello] = []
        self.abandon: tuple[wire.Held, ...] = ()
        self.heartbeat_s = 1.0
        self.lease_s = 5.0
        self.acknowledges = True
        self.blobs: dict[str, Any] = {}  # what `Welcome` says of them
        self.refuses_with: int | None = None
        self.connection: ServerConnection | None = None
        self._news = asyncio.Condition()
        self.port = 0

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        assert request.path == wire.LINK_PATH
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        if self.refuses_with is not None:
            return connection.respond(self.refuses_with, "no\n")
        return None

    async def handle(self, connection: ServerConnection) -> None:
        self.connection = connection
        with contextlib.suppress(ConnectionClosed):
            async for frame in connection:
                assert isinstance(frame, bytes)
                for message in wire.decode_to_gateway(frame):
                    await self._hear(connection, message)

    async def _hear(self, connection: ServerConnection, message: Any) -> None:
        self.heard.append(message)
        self.heard_at.append(time.monotonic())
        if isinstance(message, wire.Hello):
            self.hellos.append(message)
            welcome = wire.Welcome(heartbeat_s=self.heartbeat_s, lease_s=self.lease_s, abandon=self.abandon)
            await self.send(msgspec.structs.replace(welcome, **self.blobs))
        if isinstance(message, wire.Heartbeat):
            await connection.send(wire.encode([wire.Heard()]))
        kinds: dict[type, wire.AckKind] = {
            wire.Finished: wire.AckKind.FINISHED,
            wire.GivenBack: wire.AckKind.GIVEN_BACK,
            wire.Checkpoint: wire.AckKind.CHECKPOINT,
        }
        if type(message) in kinds and self.acknowledges:
            kind = kinds[type(message)]
            seq = getattr(message, "seq", 0)
            ack = wire.Ack(kind=kind, invocation_id=message.invocation_id, fence=message.fence, seq=seq)
            with contextlib.suppress(Exception):
                await connection.send(wire.encode([ack]))
        async with self._news:
            self._news.notify_all()

    async def send(self, *messages: Any) -> None:
        assert self.connection is not None
        await self.connection.send(wire.encode(messages))

    def of(self, kind: type, invocation_id: str | None = None) -> list[Any]:
        return [
            m for m in self.heard if isinstance(m, kind) and invocation_id in {None, getattr(m, "invocation_id", None)}
        ]

    async def wait_for(
        self, kind: type, invocation_id: str | None = None, *, count: int = 1, within_s: float = 10
    ) -> Any:
        """Wait until `count` such messages have come, and return the last of them."""
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(lambda: len(self.of(kind, invocation_id)) >= count)
        return self.of(kind, invocation_id)[count - 1]

    def cut(self) -> None:
        """Lose the connection as a network does."""
        assert self.connection is not None
        self.connection.transport.abort()


class Pilots:
    """Starts real pilots, and ends those that a test leaves."""

    def __init__(self, folder: Path, gateway: FakeGateway) -> None:
        self.folder = folder
        self.gateway = gateway
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(
        self, *, environ: dict[str, str] | None = None, until_ready: bool = True, **orders: Any
    ) -> asyncio.subprocess.Process:
        defaults: dict[str, Any] = {
            "pilot_id": "pilot-1",
            "token": TOKEN,
            "gateways": (f"http://127.0.0.1:{self.gateway.port}",),
            "capacity": Resources(cpus=2),
            "walltime_s": 600.0,
            "grace_s": 30.0,
        }
        path = self.folder / "pilot.json"
        path.write_bytes(pilot_file.encode(PilotFile(**{**defaults, **orders})))
        known = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "PBS", "CUDA"))}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "harvester_worker", "--pilot-file", str(path), env={**known, **(environ or {})}
        )
        self.processes.append(process)
        if until_ready:
            await self.gateway.wait_for(wire.Hello)
        return process

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    fake = FakeGateway()
    async with serve(
        fake.handle, "127.0.0.1", 0, process_request=fake.check, max_size=None, compression=None, close_timeout=0.2
    ) as server:
        fake.port = server.sockets[0].getsockname()[1]
        yield fake


@pytest.fixture
async def pilots(tmp_path: Path, gateway: FakeGateway) -> AsyncIterator[Pilots]:
    starter = Pilots(tmp_path, gateway)
    yield starter
    await starter.stop()


Order = Callable[..., list[Any]]


@pytest.fixture
def order() -> Order:
    """Make the messages that order one invocation of a function."""

    def make(
        function: Any,
        *args: Any,
        invocation_id: str = "i-1",
        fence: int = 1,
        attempt: int = 1,
        encoding: Encoding = Encoding.PICKLE,
        arguments: bytes | BlobRef | None = None,
        checkpoint: bytes | None = None,
        resources: Resources = ONE_CPU,
        **declared: Any,
    ) -> list[Any]:
        if not isinstance(function, FunctionVersion):
            declared = {"kind": FunctionKind.PICKLE, "body": cloudpickle.dumps(function), "python": PYTHON, **declared}
            name = declared.pop("name", "f")
            function = FunctionVersion(function_id=f"{name}@1", name=name, version=1, **declared)
        lease = wire.Lease(
            invocation_id=invocation_id,
            fence=fence,
            attempt=attempt,
            function_id=function.function_id,
            resources=resources,
            encoding=encoding,
            arguments=pickle.dumps((args, {})) if arguments is None else arguments,
            checkpoint=checkpoint,
        )
        return [wire.Function(function=function), lease]

    return make
