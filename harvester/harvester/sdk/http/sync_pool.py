"""The connections of a blocking client: sockets, one request at a time on each. Safe to use from many threads.

Owns which of them are free. What is written on them is `endpoint`'s, what is read `response_parser`'s.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time

from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.messages import Request, Response
from harvester.sdk.http.response_parser import ResponseParser

CONNECT_S = 10.0
ANSWER_S = 30.0  # of silence, beyond the time that the gateway was asked to wait
LOOK_S = 5.0  # the same, at least, where something is only looked at by who has less patience than that
SCRATCH_BYTES = 64 * 1024


class Silent(TimeoutError):
    """The gateway took the request, and then nothing came."""

    remedy = "see whether its process is stopped or has too much to do; its log may tell"


class LargeAnswer(Exception):
    """The answer is larger than its reader wants it."""


class Interrupted(BaseException):
    """A signal handler of the program's raised `error` while an answer was waited for.

    Not an `Exception`, so that nobody takes it for the connection's: the handler's may well be a `TimeoutError`.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class ConnectionPool:
    """As many connections as there are threads that ask at the same time.

    Parameters
    ----------
    patience_s: what is only looked at is not waited for much longer than this.
    """

    def __init__(self, peer: Peer, patience_s: float = ANSWER_S) -> None:
        self._peer = peer
        self._look_s = min(ANSWER_S, max(LOOK_S, patience_s))
        self._free: list[Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_warming = False

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
        return self._ask(Connection(self._peer), head, request)

    def begin(self, request: Request) -> Connection | None:
        """Send a request on a connection that is free, without waiting for the answer; None where there is none.

        The answer is read from the connection, which is then given back with `end`. Never waits for a connection: where
        none is free, one is made in the background, for the next time. Raises `ValueError` as `ask` does.
        """
        head = self._peer.head(request)
        while (connection := self._take()) is not None:
            if not connection.is_broken():
                try:
                    connection.begin(head, request.content)
                except OSError:
                    connection.close()
                    continue
                return connection
            connection.close()
        self._warm()
        return None

    def end(self, connection: Connection, *, may_stay: bool) -> None:
        """Take a connection back; one that may not stay is closed."""
        with self._lock:
            may_stay = may_stay and not self._is_closed
            if may_stay:
                self._free.append(connection)
        if not may_stay:
            connection.close()

    def _take(self) -> Connection | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _ask(self, connection: Connection, head: bytes, request: Request) -> Response:
        may_stay = False
        silence_s = (self._look_s if request.method == "GET" else ANSWER_S) + request.wait_s
        try:
            connection.begin(head, request.content)
            try:
                answer = connection.answer(silence_s)
            except TimeoutError:
                raise Silent(f"it has taken the request, and said nothing for {silence_s:g} s") from None
            may_stay = connection.may_stay
            return answer
        finally:
            self.end(connection, may_stay=may_stay)

    def _warm(self) -> None:
        with self._lock:
            if self._is_warming or self._is_closed:
                return
            self._is_warming = True
        threading.Thread(target=self._connect, name="harvester-connect", daemon=True).start()

    def _connect(self) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):  # the next request meets it too
                self.end(Connection(self._peer), may_stay=True)
        finally:
            self._is_warming = False

    def close(self) -> None:
        """Close those that are free; the others are closed when they are."""
        with self._lock:
            self._is_closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()


_OWN = frozenset({__name__, ResponseParser.__module__, "socket", "ssl"})


def _is_own(error: Exception) -> bool:
    """Return whether the reading of an answer raised this itself: a signal handler's own frame would be the last."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_globals.get("__name__") in _OWN


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


class Connection:
    """One connection, made at once; the thread that has it may use it. Raises `OSError` when it cannot be made."""

    def __init__(self, peer: Peer) -> None:
        self.is_stale = False  # it broke before anything of an answer came
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._parser = ResponseParser(self._scratch)
        self._socket = _connected(peer)
        try:
            if peer.tunnel is not None:
                self._parser = ResponseParser(self._scratch, is_tunnel=True)
                self._send(peer.tunnel, b"")
                self._read()
                peer.check_tunnel(self._parser.status)
            if peer.tls is not None:
                self._socket = peer.tls.wrap_socket(self._socket, server_hostname=peer.host)
        except BaseException:
            self._socket.close()
            raise

    @property
    def may_stay(self) -> bool:
        """Whether it can be used again, once the answer is whole."""
        return self._parser.may_stay

    def is_broken(self) -> bool:
        """Whether the other side has closed it, or speaks unasked."""
        try:
            self._socket.setblocking(False)
            # Of the socket beneath TLS, whose own messages may lie there and mean nothing.
            seen = socket.socket.recv(self._socket, 1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return not seen or type(self._socket) is socket.socket

    def begin(self, head: bytes, content: bytes) -> None:
        """Send a request."""
        self.is_stale = False
        self._parser = ResponseParser(self._scratch)
        self._socket.settimeout(ANSWER_S)
        try:
            self._send(head, content)
        except OSError as error:
            self.is_stale = not isinstance(error, TimeoutError)
            raise

    def answer(self, silence_s: float, end_at: float = math.inf, most: float = math.inf) -> Response:
        """Wait for the answer: `silence_s` for each piece of it, and until the monotonic clock shows `end_at`.

        Raises `TimeoutError` then, after which it may be called again; `LargeAnswer` for a body of more than `most`
        bytes; `OSError` when the connection breaks; and `Interrupted`.
        """
        self._socket.settimeout(silence_s)
        try:
            return self._read(most, silence_s, end_at)
        except Exception as error:
            if not _is_own(error):
                raise Interrupted(error) from None
            if isinstance(error, OSError):
                self.is_stale = not (self._parser.has_begun or isinstance(error, TimeoutError))
            raise

    def answer_now(self, most: float = math.inf) -> Response | None:
        """Return the answer if it has come whole, else None, without waiting. Raises as `answer`."""
        self._socket.setblocking(False)
        try:
            return self._read(most)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return None

    def _send(self, head: bytes, content: bytes) -> None:
        try:
            if len(content) < SCRATCH_BYTES:
                self._socket.sendall(head + content)
            else:
                self._socket.sendall(head)
                self._socket.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who refuses a large request answers before it is read, and closes

    def _read(self, most: float = math.inf, silence_s: float = 0.0, end_at: float = math.inf) -> Response:
        parser = self._parser
        while not parser.is_done:
            if end_at != math.inf:
                self._socket.settimeout(min(silence_s, max(0.001, end_at - time.monotonic())))
            size = self._socket.recv_into(parser.room())
            if size:
                parser.took(size)
            else:
                parser.ended()
            if parser.body_bytes > most:
                raise LargeAnswer(f"a body of {parser.body_bytes} bytes")
        return parser.answer()

    def fileno(self) -> int:
        """Return the descriptor of the socket, for an event loop."""
        return self._socket.fileno()

    def interrupt(self) -> None:
        """End what is under way on it; a thread that waits for the answer finds it closed."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # beneath TLS: another thread is using that

    def close(self) -> None:
        """Close it. No other thread may be using it."""
        self._socket.close()
