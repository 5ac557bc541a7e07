"""A million queued invocations on one gateway: memory, acceptance, dispatch, and recovery after kill -9.

One real gateway process as `harvester up` makes it, SQLite with fsync. First nobody serves what is queued; then
simulated pilots take no-ops from the million, and for comparison from a queue of ten; then the gateway is killed, and
recovers from the disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Report, at_least, at_most
from benchmarks.gateway import http_load
from benchmarks.gateway.pilots import Fleet, around, write_down
from benchmarks.gateway.system import USER, OneGateway, allow_files
from benchmarks.gateway.users import User

PILOTS, SLOTS = 20, 8
FEW, SOME = 10, 20_000


async def measure(gateway: OneGateway, report: Report, count: int, batch: int, seconds: float) -> None:
    endpoint = http_load.Endpoint.of(gateway.start())
    user = User(endpoint, USER)
    await user.register()
    await _few(endpoint, report)
    report.add("gateway before", "MB", gateway.rss_mb)
    begun_at = time.perf_counter()
    asking = asyncio.create_task(_asking(user, report))
    for _ in range(count // batch):
        await user.submit(batch)
    rate = count / (time.perf_counter() - begun_at)
    asking.cancel()
    await asyncio.wait({asking})
    report.add(f"accepted in batches of {batch:,}, on disk", "/s", rate, at_least(15_000))
    report.add(f"gateway with {count:,} queued", "MB", gateway.rss_mb, at_most(1500))
    await _many(endpoint, report, count, seconds)
    report.add("gateway, at most", "MB", gateway.peak_mb, at_most(1500))
    gateway.kill()
    user.close()
    begun_at = time.perf_counter()
    endpoint = http_load.Endpoint.of(await asyncio.to_thread(gateway.start))
    user = User(endpoint, USER)
    while True:
        try:
            await user.get("/readyz")
            break
        except http_load.LoadError:
            await asyncio.sleep(0.05)
    report.add("kill -9 until ready again, all recovered from disk", "s", time.perf_counter() - begun_at, at_most(30))
    report.add("gateway recovered", "MB", gateway.rss_mb, at_most(1500))
    fleet = await _connected(endpoint, ["third-00000"], 1)
    while not fleet.finished:
        await asyncio.sleep(0.005)
    report.add("kill -9 until a new pilot has run the first", "s", time.perf_counter() - begun_at)
    fleet.close()
    user.close()


async def _asking(user: User, report: Report) -> None:
    """Ask something small again and again: how long does everybody else wait?"""
    while True:
        begun_at = time.perf_counter()
        await user.get("/v1/whoami")
        report.add("a small request meanwhile", "ms", 1000 * (time.perf_counter() - begun_at))
        await asyncio.sleep(0.05)


async def _connected(endpoint: http_load.Endpoint, ids: list[str], slots: int) -> Fleet:
    fleet = Fleet(ids, slots, around(0))
    await fleet.connect(endpoint)
    return fleet


async def _few(endpoint: http_load.Endpoint, report: Report) -> None:
    """One pilot with one slot and a queue of ten, filled again when it is empty: from a result to the next lease."""
    user = User(endpoint, USER)
    await user.listen()
    fleet = await _connected(endpoint, ["first-00000"], 1)
    for _ in range(100):
        fleet.pilots[0].rest()  # the wait for the next filling is not dispatch
        await user.submit(FEW)
        while user.open:
            await asyncio.sleep(0.001)
    assert not user.wrong, user.wrong[:3]
    fleet.close()
    _told(report, f"result until the next lease, {FEW} queued", fleet)
    await user.submit(SOME)
    fleet = await _connected(endpoint, [f"sim-{number:05}" for number in range(PILOTS)], SLOTS)
    begun_at = time.perf_counter()
    while user.open:
        await asyncio.sleep(0.005)
    report.add(f"no-ops on {PILOTS * SLOTS} slots, {SOME:,} queued", "/s", SOME / (time.perf_counter() - begun_at))
    fleet.close()
    user.close()


async def _many(endpoint: http_load.Endpoint, report: Report, count: int, seconds: float) -> None:
    one = await _connected(endpoint, ["second-00000"], 1)
    while one.finished < 1000:
        await asyncio.sleep(0.001)
    one.close()
    _told(report, f"result until the next lease, {count:,} queued", one)
    fleet = await _connected(endpoint, [f"more-{number:05}" for number in range(PILOTS)], SLOTS)
    begun_at, before = time.perf_counter(), fleet.finished
    while (passed := time.perf_counter() - begun_at) < seconds:
        await asyncio.sleep(0.1)
    report.add(f"no-ops on {PILOTS * SLOTS} slots, {count:,} queued", "/s", (fleet.finished - before) / passed)
    fleet.close()


def _told(report: Report, name: str, fleet: Fleet) -> None:
    took = sorted(1000 * each for each in fleet.turnarounds)
    report.add(f"{name}, p50", "ms", took[len(took) // 2])
    report.add(f"{name}, p99", "ms", took[int(len(took) * 0.99)])


def main() -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of dispatch with everything queued")
    chosen = parser.parse_args()
    allow_files()
    report = Report(f"{chosen.count:,} queued")
    with tempfile.TemporaryDirectory(prefix="harvester-backlog-") as folder:
        gateway = OneGateway(Path(folder), lease_s=4.0)
        for prefix in ("first", "second", "third"):
            write_down(gateway.database, 1, 1, prefix)
        for prefix in ("sim", "more"):
            write_down(gateway.database, PILOTS, SLOTS, prefix)
        try:
            http_load.run(measure(gateway, report, chosen.count, chosen.batch, chosen.seconds))
        finally:
            gateway.stop()
    figures.finish(report, chosen.json)


if __name__ == "__main__":
    main()
