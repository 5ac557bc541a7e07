"""A harvester in one process: the gateway in a thread, its store in a temporary folder, and one pilot at a time.

Owns what is started and in which order it ends, and the tokens. What the pilot does is `thread_pilot`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import quote

import cloudpickle

from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.sdk.async_client import AsyncClient
from harvester.sdk.client import Client
from harvester.sdk.http.endpoint import UNIX_SCHEME
from harvester.store.records import PilotRecord
from harvester.store.store import Store, open_store
from harvester.testing.thread_pilot import PilotPlace, ThreadPilot
from harvester.testing.thread_run import LIMIT_BYTES, TIME_LEFT_S
from harvester_adapters.scheduler_command import own_name
from harvester_api.app import create_app
from harvester_api.server import GatewayServer
from harvester_api.settings import GatewaySettings, Offer, Role, Token

LONGEST_PATH = 90  # of a unix socket; the kernel's own limit is 107 bytes
END_S = 0.2  # for runs to end when all is over


class InProcessHarvester:
    """A gateway and a pilot in this process, until `close`. Safe to use from many threads.

    Parameters
    ----------
    cpus: how many runs go on side by side, each in a thread; a function that asks for more is refused.
    gpus: how many a function may ask for; it is given none.
    memory_mb: the same; nothing is limited.

    Raises `ValueError` for too few of them, `RuntimeError` where the pilot does not find the gateway.
    """

    def __init__(self, *, cpus: int = 8, gpus: int = 0, memory_mb: int = 64_000) -> None:
        for name, value, least in (("cpus", cpus, 1), ("gpus", gpus, 0), ("memory_mb", memory_mb, 0)):
            if value < least:
                raise ValueError(f"{name} must be {least} or more, not {value}")
        self._capacity = Resources(cpus=cpus, gpus=gpus, memory_mb=memory_mb)
        with contextlib.ExitStack() as begun:  # what has begun ends where the rest cannot
            self._begin(begun)
            self._begun = begun.pop_all()

    def _begin(self, begun: contextlib.ExitStack) -> None:
        folder = _temporary_folder()
        begun.callback(shutil.rmtree, folder, ignore_errors=True)
        self._unix_socket = str(folder / "gateway")
        self.url = f"{UNIX_SCHEME}://{quote(self._unix_socket, safe='')}"
        self.token = secrets.token_hex(16)
        self.admin_token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._pilots = 0
        self._store = open_store(f"sqlite:///{folder / 'harvester.db'}")
        begun.callback(self._store.close)
        server = _server(self._settings(), self._store, self._unix_socket)
        begun.callback(server.close)
        server.start()
        self._pilot: ThreadPilot | None = self._new_pilot()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which `Client()`, decorated functions and the command line find it."""
        return {"HARVESTER_URL": self.url, "HARVESTER_TOKEN": self.token}

    def client(self, *, is_admin: bool = False) -> Client:
        """Return a new blocking client, to be closed by who asks."""
        return Client(self.url, self.admin_token if is_admin else self.token)

    def async_client(self, *, is_admin: bool = False) -> AsyncClient:
        """Return a new client for asyncio, to be closed by who asks."""
        return AsyncClient(self.url, self.admin_token if is_admin else self.token)

    def evict(self, within_s: float = 1.0) -> None:
        """Take the node away: what runs is handed over at its next checkpoint, and resumed on another pilot.

        Returns when the pilot has left. A function that reaches no checkpoint `within_s` seconds is begun anew; its
        thread, which nobody can end, runs on to its end, and what it returns is dropped.
        """
        with self._lock:
            if self._pilot is None:
                return
            self._pilot.leave(within_s)
            self._pilot = self._new_pilot()

    def close(self) -> None:
        """End everything and remove the folder. Close the clients before: what is open then gets no answer."""
        with self._lock:
            pilot, self._pilot = self._pilot, None
            if pilot is None:
                return
            pilot.leave(END_S)
            self._begun.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_pilot(self) -> ThreadPilot:
        self._pilots += 1
        pilot_id, token = f"in-process-{self._pilots}", secrets.token_hex(16)
        self._store.add_pilot(
            PilotRecord(
                pilot_id=pilot_id,
                name=pilot_id,
                shape="in-process",
                partition="in-process",
                resources=self._capacity,
                walltime_s=TIME_LEFT_S,
                token_sha256=hashlib.sha256(token.encode()).hexdigest(),
                state=PilotState.QUEUED,
                planned_at=time.time(),
            )
        )
        place = PilotPlace(
            pilot_id=pilot_id,
            token=token,
            node=f"n{self._pilots}",
            capacity=self._capacity,
            unix_socket=self._unix_socket,
        )
        pilot = ThreadPilot(place, self.evict)
        pilot.start()
        return pilot

    def _settings(self) -> GatewaySettings:
        offer = Offer(
            name="in-process",
            resources=self._capacity,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            cloudpickle=cloudpickle.__version__,
            longest_s=TIME_LEFT_S,
        )
        return GatewaySettings(
            tokens=(
                Token(name=own_name(), role=Role.USER, token=self.token),
                Token(name="admin", role=Role.ADMIN, token=self.admin_token),
            ),
            offers=(offer,),
            payload_limit_bytes=LIMIT_BYTES,
            result_limit_bytes=LIMIT_BYTES,
            lease=timedelta(seconds=60),  # a test in a debugger keeps its pilot
            heartbeat=timedelta(seconds=15),
            tick=timedelta(seconds=0.1),
            retry=timedelta(seconds=0.1),
        )


def _temporary_folder() -> Path:
    """Return a new folder that only this user may enter, whose path is short enough for a socket."""
    folder = Path(tempfile.gettempdir())
    is_short = len(str(folder)) + len("/harvester-12345678/gateway") <= LONGEST_PATH
    return Path(tempfile.mkdtemp(prefix="harvester-", dir=folder if is_short else "/tmp"))  # noqa: S108 - see above


def _server(settings: GatewaySettings, store: Store, unix_socket: str) -> GatewayServer:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(unix_socket)
    listener.listen(1024)
    return GatewayServer(
        create_app(settings, store), listener, host="localhost", certificate=None, key=None, frame=4 * LIMIT_BYTES
    )
