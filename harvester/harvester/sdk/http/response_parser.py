"""Reads one HTTP/1.1 answer out of what a connection brings. No sockets.

httptools (the parser of Node.js) reads; this module keeps what it finds. The body of a large answer does not go through
the parser: the connection writes it to where it stays.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools

from harvester.sdk.http.messages import Response

OWN_BYTES = 64 * 1024  # a body from here on is received into a bytearray of its size


class BadAnswer(ConnectionError):
    """The answer is not HTTP/1.1."""


class ResponseParser:
    """One answer on its way. What is received goes to `room`, and `took` is told how much it was.

    Parameters
    ----------
    scratch: memory of the connection, to receive into.
    on_piece: takes each piece of the body of a 200 as it comes; such an answer is not kept. None: the body is kept.
    is_tunnel: whether this answers a CONNECT, after which no body comes.
    """

    def __init__(
        self, scratch: memoryview, on_piece: Callable[[bytes], None] | None = None, *, is_tunnel: bool = False
    ) -> None:
        self._scratch = scratch
        self._on_piece = on_piece
        self._is_tunnel = is_tunnel
        self._parser = httptools.HttpResponseParser(self)
        self.has_begun = False
        self.has_head = False
        self.body_bytes = 0  # as the head says
        self.is_done = False
        self.may_stay = False  # whether the connection can be used again
        self._reset()

    def _reset(self) -> None:
        self._reason = b""
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._whole: bytearray | None = None
        self._view: memoryview | None = None  # of what is missing of `_whole`
        self._ends_with_connection = False

    @property
    def status(self) -> int:
        """The status, once there is a head."""
        return self._parser.get_status_code()

    def room(self) -> memoryview:
        """Return memory for what comes next."""
        return self._scratch if self._view is None else self._view

    def took(self, size: int) -> None:
        """Read `size` bytes that were received into `room`. Raises `BadAnswer`."""
        self.has_begun = True
        if self._view is not None:
            self._view = self._view[size:]
            self._end_if_whole()
            return
        try:
            self._parser.feed_data(self._scratch[:size])
        except httptools.HttpParserUpgrade:
            return  # a tunnel is open: what follows is not HTTP
        except httptools.HttpParserError as error:
            raise BadAnswer(f"what answered does not speak HTTP/1.1: {error}") from error
        self._end_if_whole()

    def ended(self) -> None:
        """The other side has closed the connection. Raises `ConnectionError` when the answer is not whole."""
        if self._ends_with_connection and self.has_head:
            self.is_done = True
        if not self.is_done:
            raise ConnectionError(
                "the connection was closed in the middle of the answer"
                if self.has_begun
                else "the connection was closed without an answer"
            )

    def answer(self) -> Response:
        """Return the answer, whole."""
        return Response(
            status=self.status,
            reason=self._reason.decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._pieces) if self._whole is None else self._whole,
        )

    def _end_if_whole(self) -> None:
        if self._view is not None and not self._view:
            self._view = None
            self.is_done = True

    # ---- what the parser calls -------------------------------------------------------------------------------------

    def on_status(self, reason: bytes) -> None:
        """Note the reason, which comes in pieces."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Decide how the body is received."""
        status = self.status
        if status < 200:
            return
        self.has_head = True
        self.may_stay = self._parser.should_keep_alive()
        if self._is_tunnel:
            self.is_done = True
            return
        length = self._headers.get("content-length", "")
        is_chunked = "transfer-encoding" in self._headers
        self._ends_with_connection = not length and not is_chunked
        if status != 200:
            self._on_piece = None  # a refusal is kept
        size = int(length) if length.isascii() and length.isdigit() and not is_chunked else 0
        self.body_bytes = size
        if self._on_piece is None and size >= OWN_BYTES:
            self._whole = bytearray(size)
            self._view = memoryview(self._whole)

    def on_body(self, piece: bytes) -> None:
        """Keep, or pass on, a piece of the body."""
        if self._on_piece is not None:
            self._on_piece(piece)
        elif self._view is not None:
            self._view[: len(piece)] = piece
            self._view = self._view[len(piece) :]
        else:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note the end of the answer; an interim one (100 to 199) does not count."""
        if self.status < 200:
            self._reset()
        else:
            self.is_done = True
            self._view = None
