"""The peers and us, the same work in one run: `python -m benchmarks.peers [--rounds 5] [--json FILE] [--only ours,…]`.

Every round starts each peer anew in a process of its own, one after the other, lets it do each work, and ends it.
Printed are medians over the rounds with the least and the greatest, and how many times better than each peer we are.
A peer that is not installed or does not start is a line that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks import figures
from benchmarks.gateway import http_load
from benchmarks.peers.face import NotOffered, Peer

NAMES = {
    "ours": "HPC Harvester",
    "ray_core": "Ray",
    "ray_serve": "Ray Serve",
    "ray_serve_tuned": "Ray Serve, tuned",
    "parsl_htex": "Parsl HTEX",
    "dask_distributed": "Dask",
    "hyper_queue": "HyperQueue",
    "loky_pool": "loky (no network)",
}
WORKS = {  # unit, whether more is better
    "submit one by one, gathered": ("/s", True),
    "map of no-ops": ("/s", True),
    "round trip p50": ("ms", False),
    "round trip p99": ("ms", False),
    "1 MB echo p50": ("ms", False),
    "HTTP 1 connection p50": ("ms", False),
    "HTTP 1 connection p99": ("ms", False),
    "HTTP 64 connections": ("/s", True),
}
ROOT = str(Path(__file__).parents[2])  # workers of some peers import the functions from here
MOST_S = 120.0  # that a peer may take for one round
Samples = dict[str, float]


# ---- in the process of one peer -------------------------------------------------------------------------------------


def measure(peer: Peer, share: float) -> Samples:
    """Return one sample of each work that the peer offers. `share`: of each work's size."""
    found: Samples = {}
    sizes = peer.sizes

    def some(count: int) -> int:
        return max(4, int(count * share))

    def tried(work: Callable[[], Samples]) -> None:
        with contextlib.suppress(NotOffered):
            found.update(work())

    def rate(name: str, count: int, work: Callable[[int], None]) -> Samples:
        begun_at = time.perf_counter()
        work(count)
        return {name: count / (time.perf_counter() - begun_at)}

    def trips() -> Samples:
        took = sorted(_each_ms(peer.round_trip, some(sizes.round_trips)))
        return {"round trip p50": statistics.median(took), "round trip p99": took[int(len(took) * 0.99)]}

    def echoes() -> Samples:
        payload = os.urandom(1_000_000)
        assert peer.echo(payload) == payload
        return {"1 MB echo p50": statistics.median(_each_ms(lambda: peer.echo(payload), some(sizes.echoes)))}

    tried(trips)
    tried(lambda: rate("submit one by one, gathered", some(sizes.submits), peer.submit_gather))
    tried(lambda: rate("map of no-ops", some(sizes.maps), peer.map))
    tried(echoes)
    tried(lambda: _over_http(peer, 3.0 * share))
    return found


def _each_ms(work: Callable[[], object], count: int) -> list[float]:
    took = []
    for _ in range(count):
        begun_at = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - begun_at))
    return took


def _over_http(peer: Peer, seconds: float) -> Samples:
    where = peer.http()
    endpoint = http_load.Endpoint.of(where.url)
    what = http_load.request(endpoint, where.path, token=where.token, body=where.body)

    async def both() -> tuple[http_load.Took, http_load.Took]:
        await http_load.hammer(endpoint, what, connections=4, seconds=0.5)
        return (
            await http_load.hammer(endpoint, what, connections=1, seconds=seconds),
            await http_load.hammer(endpoint, what, connections=64, seconds=seconds),
        )

    one, many = http_load.run(both())  # type: ignore[misc]
    return {
        "HTTP 1 connection p50": one.quantile_ms(0.5),
        "HTTP 1 connection p99": one.quantile_ms(0.99),
        "HTTP 64 connections": many.rate,
    }


def _one(name: str, share: float) -> int:
    """Measure one peer, and say what was found, or why not, as the last line of the output."""
    try:
        peer: Peer = importlib.import_module(f"benchmarks.peers.{name}").peer()
        begun_at = time.perf_counter()
        peer.start()
        started_s = time.perf_counter() - begun_at
        try:
            found = {"start": started_s} | measure(peer, share)
        finally:
            peer.stop()
    except ImportError as error:
        return _say({"missing": f"an import failed ({error}): pip install 'hpc-harvester[bench-peers]'"})
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is a line of the report
        traceback.print_exc()
        return _say({"missing": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
    return _say({"found": found})


def _say(document: dict[str, object]) -> int:
    print("\n@" + json.dumps(document), flush=True)
    return 0


# ---- outside --------------------------------------------------------------------------------------------------------


def ask(name: str, share: float) -> dict[str, object]:
    """Run one peer in a process of its own, and end everything it leaves behind."""
    command = [sys.executable, "-m", "benchmarks.peers", "--one", name, "--share", str(share)]
    path = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    )  # some look for python3 there
    with tempfile.TemporaryFile("w+") as out:  # no pipe: what a peer leaves behind would hold it open
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PATH": path, "PYTHONPATH": ROOT},
        )
        try:
            process.wait(MOST_S)
        except subprocess.TimeoutExpired:
            return {"missing": f"not done within {MOST_S:.0f} s"}
        finally:
            _end(process)
        out.seek(0)
        lines = out.read().splitlines()
    said = [line[1:] for line in lines if line.startswith("@{")]
    if said:
        document: dict[str, object] = json.loads(said[-1])
        return document
    return {"missing": f"ended with {process.returncode}: {' '.join(lines)[-200:]}"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what a peer left behind: its descendants, and the processes of its session."""
    left = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(each.pid) == process.pid or process.pid in {parent.pid for parent in each.parents()}:
                left.append(each)
    for each in left:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.wait()


def compare(names: list[str], rounds: int, share: float) -> dict[str, dict[str, object]]:
    """Return what each peer showed: samples by work, or why there are none."""
    samples: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in names}
    missing: dict[str, str] = {}
    for number in range(rounds):
        for name in names:
            if name in missing:
                continue
            said = ask(name, share)
            print(f"round {number + 1}: {NAMES[name]}: {said.get('missing', 'done')}", file=sys.stderr, flush=True)
            if "missing" in said and not samples[name]:
                missing[name] = str(said["missing"])
            for work, sample in dict(said.get("found", {})).items():  # type: ignore[call-overload]
                samples[name][work].append(sample)
    return {name: {"samples": samples[name], "missing": missing.get(name, "")} for name in names}


def table(found: dict[str, dict[str, object]], *, is_ratio: bool) -> str:
    names = [name for name in found if not found[name]["missing"]]
    if is_ratio:
        names.remove("ours")
    lines = ["| work | " + " | ".join(NAMES[name] for name in names) + " |", "|---|" + "---:|" * len(names)]
    for work, (unit, is_more_better) in WORKS.items():
        cells = []
        for name in names:
            took = _samples(found, name, work)
            cells.append(_ratio(_samples(found, "ours", work), took, is_more_better) if is_ratio else _spread(took))
        if any(cells):
            lines.append(f"| {work}{'' if is_ratio else ', ' + unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _samples(found: dict[str, dict[str, object]], name: str, work: str) -> list[float] | None:
    return found[name]["samples"].get(work)  # type: ignore[attr-defined, no-any-return]


def _spread(took: list[float] | None) -> str:
    if not took:
        return ""
    return f"{figures.shown(statistics.median(took))} ({figures.shown(min(took))} to {figures.shown(max(took))})"


def _ratio(ours: list[float] | None, theirs: list[float] | None, is_more_better: bool) -> str:
    """Return how many times better we are, round for round."""
    if not ours or not theirs:
        return ""
    times = [mine / other if is_more_better else other / mine for mine, other in zip(ours, theirs, strict=False)]
    return _spread(times)


def main() -> None:
    parser = figures.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of each work's size, to try it out")
    parser.add_argument("--only", default=",".join(NAMES), help="peers, by comma")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        sys.exit(_one(chosen.one, chosen.share))
    machine = figures.machine()
    found = compare(chosen.only.split(","), chosen.rounds, chosen.share)
    print("Medians over the rounds (least to greatest), two workers each:\n")
    print(table(found, is_ratio=False))
    if "ours" in found and not found["ours"]["missing"]:
        print("\nHow many times better we are, round for round (below 1: the peer is better):\n")
        print(table(found, is_ratio=True))
    for name, each in found.items():
        if each["missing"]:
            print(f"\n{NAMES[name]}: not measured: {each['missing']}")
    if chosen.json:
        figures.write(chosen.json, {"title": "peers", "machine": machine, "rounds": chosen.rounds, "peers": found})


if __name__ == "__main__":
    main()
