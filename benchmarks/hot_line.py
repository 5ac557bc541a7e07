"""The hot line: what an invocation costs through the whole system, over HTTP and through the SDK.

A real `harvester up` on the embedded local scheduler, one pilot with two slots, SQLite with fsync; client, gateway,
pilot and slots share this machine's cores. `--rounds` fresh systems are measured, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks import figures
from benchmarks.figures import Report, at_least, at_most
from benchmarks.gateway import http_load
from benchmarks.gateway.http_load import Endpoint, Line, Took, ask_all, hammer, request
from benchmarks.gateway.system import harvester_up
from harvester.domain.model.functions import Encoding
from harvester.sdk.client import Client
from harvester.sdk.payload.payloads import encode_arguments

MEGABYTE = bytes(1_000_000)
BATCH = 1000


def nothing(_: object = None) -> None:
    return None


def echo(payload: bytes) -> bytes:
    return payload


def http(report: Report, url: str, token: str, seconds: float) -> None:
    """Invoke and wait, on one connection and on 64."""
    endpoint = Endpoint.of(url)
    what = request(endpoint, "/v1/functions/nothing/invocations?wait_s=30", token=token, body=b"{}")
    for connections in (1, 64):
        _run(hammer(endpoint, what, connections=connections, seconds=seconds / 4))
        took = _run(hammer(endpoint, what, connections=connections, seconds=seconds))
        name, alone = f"HTTP invoke and wait, {connections} connection{'s' * (connections > 1)}", connections == 1
        report.add(f"{name}, p50", "ms", took.quantile_ms(0.5), at_most(0.9) if alone else None)
        report.add(f"{name}, p99", "ms", took.quantile_ms(0.99), at_most(4) if alone else None)
        report.add(name, "/s", took.rate, None if alone else at_least(3500))


def sdk(report: Report, client: Client, share: float) -> None:
    submits, maps = int(5_000 * share), int(10_000 * share)
    trips = [_timed(lambda: client.submit(nothing).result()) for _ in range(int(200 * share))]
    report.add("SDK round trip, p50", "ms", 1000 * sorted(trips)[len(trips) // 2])

    def gather() -> None:
        for future in [client.submit(nothing) for _ in range(submits)]:
            future.result()

    report.add("SDK submit one by one, gathered", "/s", submits / _timed(gather))
    report.add(
        "SDK map of no-ops", "/s", maps / _timed(lambda: list(client.map(nothing, range(maps)))), at_least(25_000)
    )
    took = sorted(_timed(lambda: client.submit(echo, MEGABYTE).result()) for _ in range(int(50 * share)))
    report.add("SDK echo of 1 MB, p50", "ms", 1000 * took[len(took) // 2])


def durable(report: Report, client: Client, token: str, seconds: float, share: float) -> None:
    """Accepted and on disk, while two slots run what was accepted: one by one on 64 connections, and in batches."""
    endpoint = Endpoint.of(client.url)
    one = request(endpoint, "/v1/functions/nothing/invocations", token=token, body=b"{}")
    begun_at = time.perf_counter()
    took = _run(hammer(endpoint, one, connections=64, seconds=seconds, status=202))
    report.add("durable 202, single, 64 connections", "/s", took.rate, at_least(1500))
    _run(_until_done(endpoint, token))
    report.add("the same until all have ended", "/s", len(took.each_s) / (time.perf_counter() - begun_at))
    pickled = msgspec.msgpack.encode([encode_arguments((), {}, Encoding.PICKLE)] * BATCH)
    path, python = "/v1/functions/nothing/batches", "{}.{}".format(*sys.version_info)
    kinds = {
        "JSON": request(endpoint, path, token=token, body=json.dumps([{}] * BATCH).encode()),
        "MessagePack of pickles": request(
            endpoint,
            path,
            token=token,
            body=pickled,
            content_type="application/vnd.msgpack",
            headers={"Harvester-Python": python},
        ),
    }
    for kind, what in kinds.items():
        count = int(40 * share)
        begun_at = time.perf_counter()
        took = _run(ask_all(endpoint, [what] * count, connections=4))
        report.add(f"durable 202, batches of {BATCH:,}, {kind}", "/s", BATCH * took.rate, at_least(15_000))
        _run(_until_done(endpoint, token))
        report.add(f"the same, {kind}, until all have ended", "/s", BATCH * count / (time.perf_counter() - begun_at))


async def _until_done(endpoint: Endpoint, token: str) -> Took:
    """Ask until nothing of the caller's is open any more."""
    line = Line(endpoint)
    begun_at = time.perf_counter()
    for state in ("accepted", "leased", "running"):
        what = request(endpoint, f"/v1/invocations?state={state}&limit=1", method="GET", token=token)
        while msgspec.json.decode(await line.ask(what))["items"]:
            await asyncio.sleep(0.02)
    line.close()
    return Took([], time.perf_counter() - begun_at)


def _run(coroutine: Awaitable[Took]) -> Took:
    took = http_load.run(coroutine)
    assert isinstance(took, Took)
    return took


def _timed(work: Callable[[], object]) -> float:
    begun_at = time.perf_counter()
    work()
    return time.perf_counter() - begun_at


def measure(report: Report, seconds: float, share: float) -> None:
    """Measure everything on one fresh system."""
    begun_at = time.perf_counter()
    with harvester_up() as (client, token):
        client.submit(nothing).result()
        started_s = time.perf_counter() - begun_at
        report.add("`harvester up` to the first result of a new function", "s", started_s, at_most(3))
        client.submit(echo, b"").result()
        http(report, client.url, token, seconds)
        sdk(report, client, share)
        durable(report, client, token, seconds, share)


def main() -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load over HTTP, for each figure")
    parser.add_argument("--share", type=float, default=1.0, help="of each work's size, to try it out")
    chosen = parser.parse_args()
    report = Report("the hot line")
    for _ in range(chosen.rounds):
        measure(report, chosen.seconds, chosen.share)
    figures.finish(report, chosen.json)


if __name__ == "__main__":
    main()
