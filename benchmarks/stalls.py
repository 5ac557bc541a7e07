"""How long one request stops the gateway's event loop: the largest bodies that are legal, and the most hostile ones.

`python -m benchmarks.stalls [--payload-mb N] [--open N]` prints a table: for each body the longest that the loop's
thread computed without looking at anybody else, and how the request ended. A gateway in this very process, with SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harvester.cli.up.process import GC_THRESHOLDS
from harvester.store.store import open_store
from harvester_api.app import create_app
from harvester_api.server import GatewayServer, listen
from harvester_api.settings import GatewaySettings, Role, Token

TOKEN = "user-token"  # noqa: S105 - of a gateway that lives for this alone
INVOKE, BATCH = "/v1/functions/double/invocations", "/v1/functions/double/batches"
MB = 1024 * 1024

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
PICKLE = {"Content-Type": "application/x-python-pickle", "Harvester-Python": "3.11"}
CALLS = {"Content-Type": "application/vnd.harvester.calls+msgpack", "Harvester-Python": "3.11"}
PICKLES = {"Content-Type": "application/vnd.msgpack", "Harvester-Python": "3.11"}
HUGE = b"\xdd\xff\xff\xff\xff"  # the head of an array of 4 billion
CALLS_BATCH = {"Content-Type": "application/vnd.harvester.calls-batch+msgpack", "Harvester-Python": "3.11"}


class Watch:
    """The longest that an event loop's thread computed between two looks at what is ready, by its own CPU time.

    Other processes on the machine do not count, nor do other threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._longest_s = self._before_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._call(self._tick)

    def taken_s(self) -> float:
        """Return the longest since the last call."""
        return self._call(self._take)

    def close(self) -> None:
        """Watch no more."""
        self._call(lambda: self._timer and self._timer.cancel())

    def _call(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
        done, found = threading.Event(), []

        def call() -> None:
            found.append(function())
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(60), "the event loop does not answer"
        return found[0]

    def _tick(self) -> None:
        now_s = time.thread_time()
        if self._before_s:
            self._longest_s = max(self._longest_s, now_s - self._before_s)
        self._before_s = now_s
        self._timer = self._loop.call_later(0.001, self._tick)

    def _take(self) -> float:
        longest_s, self._longest_s = max(self._longest_s, time.thread_time() - self._before_s), 0.0
        return longest_s


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    name: str
    path: str
    headers: dict[str, str]
    body: Callable[[], bytes]


def filled(before: bytes, unit: bytes, after: bytes, size: int) -> Callable[[], bytes]:
    """Return what makes a body of `size` bytes at most, of one unit again and again."""
    return lambda: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def cases(payload: int, batch: int, count: int) -> Iterator[Case]:
    """Yield requests: bodies of up to `payload` bytes, batches of up to `batch` bytes and `count` invocations."""
    yield from single(payload)
    yield from batches(payload, batch, count)
    yield from registrations(payload)
    ids = b'{"invocation_ids":['
    yield Case(name="wait: empty ids", path="/v1/wait", headers=JSON, body=filled(ids, b'"",', b'""]}', MB))
    yield Case(name="a query of many parameters", path=f"{INVOKE}?{'a&' * 30_000}", headers=JSON, body=lambda: b"{}")
    yield Case(name="a query with a long name", path=f"{INVOKE}?{'a' * 60_000}", headers=JSON, body=lambda: b"{}")
    yield Case(name="many headers", path=INVOKE, headers=JSON | {f"a{n}": "" for n in range(90)}, body=lambda: b"{}")


def single(payload: int) -> Iterator[Case]:
    """Yield requests for one invocation."""

    def one(name: str, before: bytes, unit: bytes, after: bytes) -> Case:
        return Case(name=f"invoke: {name}", path=INVOKE, headers=JSON, body=filled(before, unit, after, payload))

    yield one("a string", b'{"args":["', b"a", b'"]}')
    yield one("numbers", b'{"args":[', b"1,", b"1]}")
    yield one("long numbers", b'{"args":[', b"1" * 4200 + b",", b"1]}")
    yield one("empty arrays", b'{"args":[', b"[],", b"1]}")
    yield one("nested too deeply", b'{"args":[', b"[", b"")
    yield one("the wrong type", b'{"args":1,"args":', b"1", b"}")
    yield one("the same key again and again", b"{", b'"args":[],', b'"args":[]}')
    yield one("spaces", b'{"args":[', b" ", b"]}")
    yield one("escapes", b'{"args":["', b"\\u00e9", b'"]}')
    quick = 10_000 * b"[1],"
    yield Case(name="invoke: numbers, small", path=INVOKE, headers=JSON, body=lambda: b'{"args":[' + quick + b"1]}")
    yield Case(name="invoke: a pickle", path=INVOKE, headers=PICKLE, body=filled(b"\x80", b"x", b".", payload))
    table = b"HVB1" + b"\xff\xff\xff\x00"
    yield Case(name="invoke: a table of buffers", path=INVOKE, headers=PICKLE, body=filled(table, b"\0", b".", payload))
    calls = b"\xdd\x00\x0f\x42\x40" + b"\xc4\x02\x80." * 1_000_000  # a million
    yield Case(name="invoke: a million calls", path=INVOKE, headers=CALLS, body=lambda: calls[:payload])
    yield Case(name="invoke: too many calls", path=INVOKE, headers=CALLS, body=filled(HUGE, b"\xc4\0", b"", payload))


def batches(payload: int, batch: int, count: int) -> Iterator[Case]:
    """Yield requests for many invocations."""

    def many(name: str, headers: dict[str, str], before: bytes, unit: bytes, after: bytes) -> Case:
        return Case(name=f"batch: {name}", path=BATCH, headers=headers, body=filled(before, unit, after, batch))

    def counted(name: str, headers: dict[str, str], before: bytes, unit: bytes, after: bytes) -> Case:
        body = before + unit * (count - 1) + unit.rstrip(b",") + after
        return Case(name=f"batch: {name}", path=BATCH, headers=headers, body=lambda: body)

    yield counted("as many as may be", JSON, b"[", b'{"args":[1]},', b"]")
    yield many("empty objects", JSON, b"[", b"{},", b"{}]")
    yield many("numbers", JSON, b"[", b"1,", b"1]")
    yield many("nested too deeply", JSON, b"[", b"[", b"")
    large = filled(b'[{"args":[', b"{},", b"1]}]", payload)
    yield Case(name="batch: one large element", path=BATCH, headers=JSON, body=large)
    yield counted("as many lines as may be", LINES, b"", b'{"args":[1]}\n', b"")
    yield many("empty lines", LINES, b"", b"\n", b"{}")
    yield many("short lines", LINES, b"", b"{}\n", b"")
    yield many("one long line", LINES, b'{"args":[', b"[],", b"1]}")
    yield many("empty pickles", PICKLES, HUGE, b"\xc4\0", b"")
    yield counted("as many pickles as may be", PICKLES, counter(count), b"\xc4\x02\x80.", b"")
    yield of_calls(count)


def counter(count: int) -> bytes:
    """Return the head of an array of `count` in MessagePack."""
    return b"\xdd" + count.to_bytes(4, "big")


def of_calls(count: int) -> Case:
    """Return a batch of `count` invocations with one call each."""
    body = counter(count) + b"\xc4\x05\x91\xc4\x02\x80." * count
    return Case(name="batch: calls", path=BATCH, headers=CALLS_BATCH, body=lambda: body)


def registrations(payload: int) -> Iterator[Case]:
    """Yield requests that register a function."""
    draft = {"name": "f", "kind": "pickle", "python": "3.11"}
    encoded = base64.b64encode(b"\x80" + bytes(3 * (payload // 4)) + b".").decode()
    yield Case(name="register: a pickle", path="/v1/functions", headers=JSON,
               body=lambda: msgspec.json.encode(draft | {"body": encoded}))  # fmt: skip
    yield Case(name="register: the same key again and again", path="/v1/functions", headers=JSON,
               body=filled(b"{", b'"entry":"f",', b'"name":"f"}', payload))  # fmt: skip
    source = draft | {"kind": "source", "entry": "a"}
    for what, text in (("short lines", "a=1\n" * 30_000), ("many names", "".join(f"a{n}=1\n" for n in range(12_000)))):
        yield Case(name=f"register: a source of {what}", path="/v1/functions", headers=JSON,
                   body=lambda text=text: msgspec.json.encode(source | {"body": text}))  # fmt: skip


def measured(server: GatewayServer, watch: Watch, case: Case) -> tuple[float, float, str]:
    """Send a request; return the longest stall, how long it took, and its status."""
    where = urlsplit(server.url)
    assert where.hostname is not None
    body = case.body()
    watch.taken_s()
    begun_s = time.monotonic()
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=300)
    try:
        connection.request("POST", case.path, body, case.headers | {"Authorization": f"Bearer {TOKEN}"})
        said = str(connection.getresponse().status)
    except OSError as error:  # it was refused before all of it was sent
        said = type(error).__name__
    finally:
        connection.close()
    return watch.taken_s(), time.monotonic() - begun_s, said


def served(folder: Path, settings: GatewaySettings) -> GatewayServer:
    """Return a gateway that listens, with one function."""
    server = listen(create_app(settings, open_store(f"sqlite:///{folder}/harvester.db")), "127.0.0.1", 0)
    server.start()
    where = urlsplit(server.url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port)
    draft = b'{"name": "double", "kind": "module", "body": "package.module:double"}'
    connection.request("POST", "/v1/functions", draft, JSON | {"Authorization": f"Bearer {TOKEN}"})
    assert connection.getresponse().status == 201
    connection.close()
    return server


def loop_of(server: GatewayServer) -> asyncio.AbstractEventLoop:
    """Return the event loop of a gateway."""
    loop: asyncio.AbstractEventLoop = server.app.state.gateway.parts.journal._loop  # noqa: SLF001 - nobody else asks for it
    return loop


def settings_of(folder: Path, payload: int) -> GatewaySettings:
    """Return the settings of a gateway that takes payloads of so many bytes."""
    return GatewaySettings(
        tokens=(Token(name="ada", role=Role.USER, token=TOKEN),),
        payload_limit_bytes=payload,
        batch_limit_bytes=4 * payload,
        blobs=folder / "blobs",
    )


def tell(name: str, stall_s: float, took_s: float, said: str) -> None:
    """Print a line of the table."""
    sys.stdout.write(f"{name:45} {stall_s * 1000:9.1f} {took_s:9.2f}  {said}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payload-mb", type=int, default=64, help="the limit of one payload; a batch may have four")
    parser.add_argument("--open", type=int, default=0, help="then batches of calls, until so many invocations are open")
    asked = parser.parse_args()
    payload = asked.payload_mb * MB
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)  # as `harvester up` does
    with tempfile.TemporaryDirectory(prefix="harvester-bench-") as folder:
        settings = settings_of(Path(folder), payload)
        server = served(Path(folder), settings)
        watch = Watch(loop_of(server))
        sys.stdout.write(f"{'':45} {'stall ms':>9} {'request s':>9}  status\n")
        for case in cases(payload, settings.batch_limit_bytes, settings.batch_limit):
            tell(case.name, *measured(server, watch, case))
        case, book = of_calls(settings.batch_limit), server.app.state.gateway.parts.book
        while len(book.open) < asked.open:
            before = len(book.open)
            tell(f"batch: calls, {before:,} open before", *measured(server, watch, case))
            assert len(book.open) > before, "no more are taken"
        watch.close()
        server.close()


if __name__ == "__main__":
    main()
