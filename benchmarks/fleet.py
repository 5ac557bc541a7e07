"""2,000 simulated pilots with 16,000 slots on one gateway: how many invocations a second, and are heartbeats kept.

One real gateway process as `harvester up` makes it, SQLite with fsync; one process that plays all pilots over real
WebSockets, and the user, who submits by batches and hears of the ends by the stream. Both share this machine's cores.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks import figures
from benchmarks.figures import Report, at_least, at_most
from benchmarks.gateway import http_load
from benchmarks.gateway.pilots import Fleet, around, write_down
from benchmarks.gateway.system import ADMIN, USER, OneGateway, allow_files
from benchmarks.gateway.users import User

FEEDERS = 3  # batches that are submitted at a time


class Wishes(NamedTuple):
    """What one run is to be like."""

    pilots: int
    slots: int
    mean_s: float
    seconds: float
    batch: int
    lease_s: float

    @property
    def most_open(self) -> int:
        """Invocations that have not ended: all slots are busy, and as many again as start within half a second."""
        rate = self.pilots * self.slots / self.mean_s if self.mean_s else 20_000
        return int(self.pilots * self.slots * bool(self.mean_s) + 0.5 * rate)


async def measure(gateway: OneGateway, wishes: Wishes, report: Report, ids: list[str]) -> None:
    endpoint = http_load.Endpoint.of(gateway.start())
    report.add("gateway, idle", "MB", gateway.rss_mb)
    fleet = Fleet(ids, wishes.slots, around(wishes.mean_s))
    begun_at = time.perf_counter()
    await fleet.connect(endpoint)
    while fleet.welcomed < wishes.pilots:
        await asyncio.sleep(0.01)
    report.add("all pilots connected", "s", time.perf_counter() - begun_at)
    user = User(endpoint, USER)
    await user.register()
    await user.listen()
    feeding = asyncio.gather(*(_feed(user, wishes) for _ in range(FEEDERS)))
    await _watch(gateway, fleet, user, wishes, report, feeding)
    user.is_done = True
    await feeding
    await _drain(fleet, user)
    admin = User(endpoint, ADMIN)
    states = Counter(str(pilot["state"]) for pilot in (await admin.get("/v1/pilots?all=1"))["items"])  # type: ignore[attr-defined]
    report.add("pilots lost", "of all", states["lost"] + len(fleet.lost), at_most(0))
    report.add("ends that were wrong, or came twice, or never", "of all", len(user.wrong) + user.open, at_most(0))
    for why in (*fleet.lost[:3], *user.wrong[:3]):
        report.note(why)
    admin.close()
    user.close()
    fleet.close()


async def _feed(user: User, wishes: Wishes) -> None:
    while not user.is_done:
        if user.open + wishes.batch <= wishes.most_open:
            await user.submit(wishes.batch)
        else:
            await asyncio.sleep(0.01)


async def _watch(  # noqa: PLR0917 - the whole stage
    gateway: OneGateway, fleet: Fleet, user: User, wishes: Wishes, report: Report, feeding: asyncio.Future[list[None]]
) -> None:
    """Let it settle, then look once a second."""
    await asyncio.wait({feeding}, timeout=2 + 2 * wishes.mean_s)  # the slots fill up, and the first runs end
    me, rates, busy = psutil.Process(), [], []
    fleet.answers.clear()
    fleet.late_beats.clear()
    first, cpu, mine, begun_at = len(user.ended), gateway.cpu_s, sum(me.cpu_times()[:2]), time.perf_counter()
    while (passed := time.perf_counter() - begun_at) < wishes.seconds:
        before, at = len(user.ended), time.perf_counter()
        await asyncio.wait({feeding}, timeout=1)
        if feeding.done():
            feeding.result()
        rates.append((len(user.ended) - before) / (time.perf_counter() - at))
        busy.append(fleet.running / (wishes.pilots * wishes.slots))
        report.add("gateway, resident", "MB", gateway.rss_mb, at_most(1000))
    ended = len(user.ended) - first
    report.add("invocations ended, each second", "/s", rates)
    report.add("invocations ended, all the time", "/s", ended / passed, at_least(5000))
    report.add("slots in use", "share", busy)
    report.add("gateway, at most", "MB", gateway.peak_mb, at_most(1000))
    report.add("gateway's processor time", "µs an invocation", 1e6 * (gateway.cpu_s - cpu) / max(1, ended))
    report.add(
        "simulation's processor time", "µs an invocation", 1e6 * (sum(me.cpu_times()[:2]) - mine) / max(1, ended)
    )
    answers = sorted(fleet.answers)
    if answers:
        report.add("heartbeat until answered, p50", "ms", 1000 * answers[len(answers) // 2])
        report.add("heartbeat until answered, greatest", "ms", 1000 * answers[-1], at_most(1000 * wishes.lease_s / 2))
        report.add("heartbeat later than due, greatest", "ms", 1000 * max(fleet.late_beats))
    report.note(
        f"{wishes.pilots} pilots with {wishes.slots} slots, runs of {wishes.mean_s:g} s ± half, {passed:.0f} s, "
        f"batches of {wishes.batch}, lease {wishes.lease_s:g} s; {fleet.frames:,} frames to pilots, "
        f"{fleet.given_back} leases recalled."
    )


async def _drain(fleet: Fleet, user: User, within_s: float = 60.0) -> None:
    """Wait until all that was accepted has ended."""
    deadline = time.perf_counter() + within_s
    while user.open and time.perf_counter() < deadline:
        await asyncio.sleep(0.1)


def main() -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--pilots", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=8, help="of each pilot")
    parser.add_argument("--mean-s", type=float, default=2.5, help="a run takes, on average; 0: nothing")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--lease-s", type=float, default=4.0, help="as `harvester up` has it")
    chosen = parser.parse_args()
    allow_files()
    wishes = Wishes(**{name: getattr(chosen, name) for name in Wishes._fields})
    report = Report(f"{chosen.pilots} simulated pilots")
    with tempfile.TemporaryDirectory(prefix="harvester-fleet-") as folder:
        gateway = OneGateway(Path(folder), chosen.lease_s)
        ids = write_down(gateway.database, wishes.pilots, wishes.slots)
        try:
            http_load.run(measure(gateway, wishes, report, ids))
        finally:
            gateway.stop()
    figures.finish(report, chosen.json)


if __name__ == "__main__":
    main()
