"""HTTP load: one client for any gateway, as cheap as Python allows, because it shares the cores with what it measures.

Owns HTTP/1.1 over keep-alive connections and the clock around each call. Knows no path of a gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop


class LoadError(Exception):
    """The other side answered what nobody expects, or went away."""


class Endpoint(NamedTuple):
    """Where to call."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Endpoint:
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80)


class Took(NamedTuple):
    """Calls that were answered: the seconds of each, and of all together."""

    each_s: list[float]
    all_s: float

    @property
    def rate(self) -> float:
        return len(self.each_s) / self.all_s

    def quantile_ms(self, share: float) -> float:
        return 1000 * sorted(self.each_s)[min(len(self.each_s) - 1, int(len(self.each_s) * share))]


def request(
    endpoint: Endpoint,
    path: str,
    *,
    method: str = "POST",
    token: str = "",
    body: bytes = b"",
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return one whole request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {endpoint.host}:{endpoint.port}", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if body else []
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def run(coroutine: object) -> object:
    """Run a coroutine on the fastest loop there is."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)  # type: ignore[arg-type]


class _Caller(asyncio.Protocol):
    """One connection that sends the same request again and again."""

    def __init__(
        self, what: bytes, status: bytes, end_at: float, took: list[float], done: asyncio.Future[None]
    ) -> None:
        self._what, self._status, self._end_at, self._took, self._done = what, status, end_at, took, done
        self._got = b""
        self._begun_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._begun_at = time.perf_counter()
        transport.write(self._what)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        got = self._got + data if self._got else data
        if not _is_whole(got):
            self._got = got
            return
        self._got = b""
        now = time.perf_counter()
        if got[9:12] != self._status:
            self._end(LoadError(got[:500].decode(errors="replace")))
            return
        self._took.append(now - self._begun_at)
        if now >= self._end_at:
            self._end(None)
            return
        self._begun_at = now
        self._transport.write(self._what)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(LoadError(f"the connection was lost: {exc}"))

    def _end(self, error: LoadError | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)
        self._transport.close()


def _is_whole(got: bytes) -> bool:
    """Whether `got` is one whole answer."""
    head = got.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = got.find(b"ontent-", 0, head)
    while at >= 0 and got[at : at + 15].lower() != b"ontent-length: ":
        at = got.find(b"ontent-", at + 1, head)
    if at < 0:
        return got.endswith(b"0\r\n\r\n")  # chunked
    return len(got) >= head + 4 + int(got[at + 15 : got.find(b"\r", at, head + 2)])


async def hammer(endpoint: Endpoint, what: bytes, *, connections: int, seconds: float, status: int = 200) -> Took:
    """Send `what` on each connection, the next when the last was answered. Raises `LoadError` for another status."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    begun_at = time.perf_counter()
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        ends.append(done)
        await loop.create_connection(
            lambda done=done: _Caller(what, str(status).encode(), begun_at + seconds, took, done),  # type: ignore[misc]
            *endpoint,
        )
    await asyncio.gather(*ends)
    return Took(took, time.perf_counter() - begun_at)


class Line:
    """One keep-alive connection for calls of all kinds."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, what: bytes, *statuses: int) -> bytes:
        """Send a whole request and return the answer's body. Raises `LoadError` for a status not in `statuses`."""
        reader, writer = self._streams or await self._open()
        writer.write(what)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise LoadError(f"the connection was lost: {error}") from error
        if int(head[9:12]) not in (statuses or (200, 201, 202)):
            raise LoadError(f"{head[:40]!r}: {body[:500].decode(errors='replace')}")
        return body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            self._streams = await asyncio.open_connection(*self._endpoint, limit=2**26)
        except OSError as error:
            raise LoadError(f"nobody listens at {self._endpoint}: {error}") from error
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask_all(endpoint: Endpoint, requests: Iterable[bytes], *, connections: int) -> Took:
    """Send all `requests` over some connections, each once."""
    left, took = iter(requests), []
    begun_at = time.perf_counter()

    async def one() -> None:
        line = Line(endpoint)
        for what in left:
            sent_at = time.perf_counter()
            await line.ask(what)
            took.append(time.perf_counter() - sent_at)
        line.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return Took(took, time.perf_counter() - begun_at)
