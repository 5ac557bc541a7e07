"""What answers in the gateway's place while nobody runs one, so that a probe can be seen to arrive."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harvester.cli.up import build_address
from harvester.config import Config
from harvester.domain.protocol import site_probe


class _Handler(BaseHTTPRequestHandler):
    """Answers every question with the time and the number; keeps nothing and tells nothing else."""

    timeout = 10

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(HTTPStatus.OK)
        self.send_header(site_probe.NONCE_HEADER, getattr(self.server, "nonce", ""))
        self.send_header("Content-Length", "0")
        self.send_header(site_probe.TIME_HEADER, f"{time.time():.6f}")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    """Knows the number by which the probe recognises this check."""

    daemon_threads = True

    def __init__(self, host: str, port: int, nonce: str) -> None:
        self.nonce = nonce
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)


@contextmanager
def listening(config: Config, nonce: str) -> Iterator[int]:
    """Listen where the gateway would, with its certificate, and yield the port. Raises `OSError`."""
    server = _Server(build_address.host(config), config.gateway.port, nonce)
    if config.gateway.tls_certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(Path(config.gateway.tls_certificate), Path(config.gateway.tls_key))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, name="check-listener", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
