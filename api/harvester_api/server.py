"""Runs the application under uvicorn, inside somebody else's process.

Owns the socket, which is bound first, so that a port in use is one clear line and port 0 is known; and the end, at
which long polls are answered instead of waited for. Who embeds a server says when to `stop`.
Only `serve` takes signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from harvester_api.connections import ConnectionLimits, Connections
from harvester_api.http.sockets import HttpConnection, PilotConnection, ServerConfig

log = logging.getLogger(__name__)


def _is_no_denial(record: logging.LogRecord) -> bool:
    """Tell whether a line of uvicorn's is to be logged.

    Its sans-I/O WebSocket sends the response that denies an upgrade, and then complains that there was no handshake,
    because it notes that only once the socket is closed. `pilot_connection` either accepts or denies, and logs why it
    denies.
    """
    return record.msg != "ASGI callable returned without completing handshake."


logging.getLogger("uvicorn.error").addFilter(_is_no_denial)


class ServerError(Exception):
    """The server could not be started; the message says why and what to do."""


class PortInUse(ServerError):
    """Somebody listens there already."""


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers, which answers long polls when it is told to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        gateway = getattr(getattr(app, "state", None), "gateway", None)
        if gateway is not None:
            gateway.release()
        await super().shutdown(sockets)


class GatewayServer:
    """One listening gateway. Made by `listen`; then either `run` it, or `start` and `stop` it in a thread."""

    def __init__(
        self,
        app: FastAPI,
        listener: socket.socket,
        *,
        host: str,
        certificate: Path | None,
        key: Path | None,
        frame: int,
    ) -> None:
        self.app = app
        self._listener = listener
        self.host = host
        self.port: int = 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
        self.is_tls = certificate is not None
        keeper: Connections | None = getattr(getattr(app, "state", None), "connections", None)
        if keeper is None:  # the application is wrapped
            keeper = Connections(ConnectionLimits())
        config = ServerConfig(
            app,
            loop="uvloop",
            http=HttpConnection,
            ws=PilotConnection,
            ws_max_size=frame,
            ws_per_message_deflate=False,  # payloads are the users' own; compressing them costs more than it saves
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on the caller's address
            timeout_keep_alive=round(keeper.limits.idle.total_seconds()),
            timeout_graceful_shutdown=5,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.keeper = keeper
        try:
            config.load()
        except OSError as error:  # ssl's errors are OSErrors, too
            listener.close()
            raise ServerError(f"TLS certificate {certificate} with key {key} cannot be used: {error}") from error
        self._server = _Uvicorn(config)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Where it listens, as a URL that works on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - to be read, not bound
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"

    def run(self) -> None:
        """Serve until `stop` is called, from a signal handler or another thread. Raises `ServerError`."""
        try:
            with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
                runner.run(self._server.serve(sockets=[self._listener]))
        except SystemExit:  # uvicorn's way to say that the application's start failed; its log has the reason
            raise ServerError("the gateway could not start; the log says why") from None
        finally:
            self._listener.close()

    def stop(self) -> None:
        """Ask `run` to end; safe from any thread and from signal handlers."""
        self._server.should_exit = True

    def start(self, patience: timedelta = timedelta(seconds=30)) -> None:
        """Run in a thread; returns once requests are answered. Raises `ServerError`."""
        self._thread = threading.Thread(target=self._run_in_thread, name="harvester-gateway", daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(patience.total_seconds() * 50)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                raise ServerError(f"the gateway could not start: {self._failure}") from self._failure
            waited.wait(0.02)
        self.stop()
        raise ServerError(f"the gateway did not start within {patience.total_seconds():g} s")

    def close(self, patience: timedelta = timedelta(seconds=20)) -> None:
        """End what `start` began, and wait for it."""
        self.stop()
        if self._thread is not None:
            self._thread.join(patience.total_seconds())

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except Exception as error:
            self._failure = error
            log.exception("the gateway ended")


def listen(
    app: FastAPI,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    frame_limit_bytes: int = 256 * 1024 * 1024,
) -> GatewayServer:
    """Bind the socket and return the server, which does not serve yet.

    Parameters
    ----------
    app: made by `create_app`.
    host, port: where to listen; port 0 takes a free one.
    certificate, key: PEM files; with them the gateway speaks TLS.
    frame_limit_bytes: the largest frame of a pilot; above the limit on results.

    Raises `PortInUse`, and `ServerError` for an address that is not this machine's, a port that needs privileges, or a
    certificate that cannot be read.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ServerError(
            f"{host!r} is not an address to listen at: {error}; choose one of this machine's with --host"
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)  # here, not later: two that bound the same port would only find out then
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"{host}:{port} is in use by another process; choose another port with --port, or end what listens "
                f"there (`ss -ltnp sport = :{port}` names it)"
            ) from error
        remedy = _REMEDIES.get(error.errno or 0, "choose another address with --host, or another port with --port")
        raise ServerError(f"cannot listen on {host}:{port}: {error.strerror}; {remedy}") from error
    return GatewayServer(app, listener, host=host, certificate=certificate, key=key, frame=frame_limit_bytes)


_REMEDIES = {
    errno.EADDRNOTAVAIL: "the address has to be one of this machine's (`ip -brief address` lists them): choose one "
    "with --host, or 0.0.0.0 for all of them",
    errno.EACCES: "ports below 1024 need privileges: choose another one with --port",
}


def serve(
    app: FastAPI,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Listen, and serve until SIGINT or SIGTERM; for the main thread of a process of its own. Raises `ServerError`."""
    server = listen(app, host, port, certificate=certificate, key=key)
    log.info("the gateway listens at %s", server.url)
    before = {number: signal.signal(number, lambda *_: server.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
