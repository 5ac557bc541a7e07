"""The connections of a blocking client: sockets, one request at a time on each. Safe to use from many threads.

Owns which are free. What is written on them is `endpoint`'s, what is read `response_parser`'s.
"""

from __future__ import annotations

import socket
import threading

from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.messages import Request, Response
from harvester.sdk.http.response_parser import ResponseParser

CONNECT_S = 10.0
ANSWER_S = 30.0  # of silence, beyond the time that the gateway was asked to wait
SCRATCH_BYTES = 64 * 1024


class ConnectionPool:
    """As many as there are threads that ask at the same time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._free: list[_Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def ask(self, request: Request) -> Response:
        """Return the answer. Raises `OSError` when there is none, `ValueError` for a request that can't be sent."""
        head = self._peer.head(request)
        connection = self._take()
        if connection is not None:
            try:
                return self._ask(connection, head, request)
            except OSError:
                # The gateway closes connections that were not used for a while; any request may be sent twice.
                if not connection.is_stale:
                    raise
        return self._ask(_Connection(self._peer), head, request)

    def _take(self) -> _Connection | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _ask(self, connection: _Connection, head: bytes, request: Request) -> Response:
        may_stay = False
        try:
            hearing = connection.ask(head, request.content, ANSWER_S + request.wait_s)
            may_stay = hearing.may_stay
            return hearing.answer()
        finally:
            with self._lock:
                may_stay = may_stay and not self._is_closed
                if may_stay:
                    self._free.append(connection)
            if not may_stay:
                connection.close()

    def close(self) -> None:
        """Close those that are free; the others are closed when they are."""
        with self._lock:
            self._is_closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()


def _connected(peer: Peer) -> socket.socket:
    """Return an open socket. Raises `OSError`."""
    if peer.unix_socket:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(peer.unix_socket)
        except BaseException:
            line.close()
            raise
        return line
    line = socket.create_connection(peer.connect_to, CONNECT_S)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


class _Connection:
    """Raises `OSError` when it cannot be made."""

    def __init__(self, peer: Peer) -> None:
        self.is_stale = False  # it broke before anything of an answer came
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._socket = _connected(peer)
        try:
            if peer.tunnel is not None:
                peer.check_tunnel(
                    self._exchange(peer.tunnel, b"", ResponseParser(self._scratch, is_tunnel=True)).status
                )
            if peer.tls is not None:
                self._socket = peer.tls.wrap_socket(self._socket, server_hostname=peer.host)
        except BaseException:
            self._socket.close()
            raise

    def ask(self, head: bytes, content: bytes, silence_s: float) -> ResponseParser:
        self._socket.settimeout(silence_s)
        hearing = ResponseParser(self._scratch)
        try:
            return self._exchange(head, content, hearing)
        except OSError as error:
            self.is_stale = not (hearing.has_begun or isinstance(error, TimeoutError))
            raise

    def _exchange(self, head: bytes, content: bytes, hearing: ResponseParser) -> ResponseParser:
        try:
            if len(content) < SCRATCH_BYTES:
                self._socket.sendall(head + content)
            else:
                self._socket.sendall(head)
                self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who refuses a large request answers before it is read, and closes
        while not hearing.is_done:
            size = self._socket.recv_into(hearing.room())
            if size:
                hearing.took(size)
            else:
                hearing.ended()
        return hearing

    def close(self) -> None:
        self._socket.close()
