"""A scripted hour of prime jobs that come and go on a real Slurm, compressed to minutes: without harvest, and with it.

Needs root and Debian's Slurm packages; brings up its own one-machine cluster. Both runs submit the same prime jobs at
the same moments. Sampled every second: a node without a prime job is idle time, of which the share with a READY pilot
is the ready share. Waits are the scheduler's own, in whole seconds.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.sdk.client import Client

ROOT = Path(__file__).parents[1]
NODES = 8


def script(minutes: float, seed: int) -> list[tuple[float, int, int]]:
    """Return prime jobs as (seconds after the start, nodes, seconds that it runs): some three quarters of the nodes."""
    chance = random.Random(seed)  # noqa: S311 - a workload, no secret
    jobs, at_s, area = [], 0.0, 0.75 * NODES
    while at_s < 60 * minutes - 20:
        nodes, runs_s = chance.choice([1, 1, 2, 2, 4, 6]), chance.choice([5, 10, 15, 25, 40])
        jobs.append((at_s, nodes, runs_s))
        at_s += chance.expovariate(area / (nodes * runs_s))
    return jobs


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@contextmanager
def cluster() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="harvester-hour-") as folder:
        where = ["--dir", f"{folder}/slurm"]
        cluster_py = [sys.executable, str(ROOT / "slurm-test/cluster.py")]
        subprocess.run([*cluster_py, "up", "--nodes", str(NODES), "--cpus", "2", "--grace", "60", *where], check=True)
        os.environ["SLURM_CONF"] = f"{folder}/slurm/slurm.conf"
        try:
            yield
        finally:
            subprocess.run([*cluster_py, "down", *where], check=True)


@contextmanager
def harvest(policy: str) -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="harvester-hour-") as folder:
        wishes = [
            "--port",
            "0",
            "--ready",
            str(NODES),
            "--set",
            f"harvest.policy={policy}",
            "--set",
            "harvest.max_pending=16",
        ]
        command = [sys.executable, "-m", "harvester.cli", "up", "--scheduler", "slurm", "--state", folder, *wishes]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            endpoint = Path(folder, "endpoint.json")
            while not endpoint.exists():
                assert process.poll() is None, "harvester up ended"
                time.sleep(0.05)
            token = Path(folder, "tokens/admin").read_text().strip()
            with Client(url=json.loads(endpoint.read_text())["url"], token=token) as client:
                time.sleep(10)  # the pilots are there before the hour begins
                yield client
        finally:
            process.terminate()
            process.wait()


def play(jobs: list[tuple[float, int, int]], client: Client | None) -> dict[str, float]:
    """Submit the prime jobs in time, sample every second until all have ended; return the figures."""
    left, samples, ids = list(jobs), Counter[str](), []
    begun_at = time.monotonic()
    second = 0
    while left or any(state in ("PENDING", "RUNNING") for state in states(ids)):
        while left and left[0][0] <= time.monotonic() - begun_at:
            _, nodes, runs_s = left.pop(0)
            wish = [
                "-p",
                "prime",
                "-N",
                str(nodes),
                "--exclusive",
                "-t",
                "1",
                "-o",
                "/dev/null",
                f"--wrap=sleep {runs_s}",
            ]
            ids.append(slurm("sbatch", "--parsable", *wish).strip())
        if time.monotonic() - begun_at >= second:
            second += 1
            prime = set(slurm("squeue", "-h", "-p", "prime", "-t", "R,CG", "-o", "%N").split())
            taken = set(slurm("scontrol", "show", "hostnames", ",".join(prime)).split()) if prime else set()
            ready = {pilot["node"] for pilot in client.pilots() if pilot["state"] == "ready"} if client else set()
            samples["idle"] += NODES - len(taken)
            samples["ready"] += len(ready - taken)
        time.sleep(0.1)
    return figures(ids, samples, client)


def states(ids: list[str]) -> list[str]:
    return slurm("squeue", "-h", "-p", "prime", "-t", "all", "-o", "%T").split() if ids else []


def figures(ids: list[str], samples: Counter[str], client: Client | None) -> dict[str, float]:
    waits = []
    for line in slurm("squeue", "-h", "-p", "prime", "-t", "all", "-o", "%i %V %S").splitlines():
        batch_job, submitted, started = line.split()
        if batch_job in ids:
            waits.append(seconds(started) - seconds(submitted))
    ended = Counter(pilot["state"] for pilot in client.pilots(all=True)) if client else Counter()
    return {
        "prime jobs": len(waits),
        "prime wait, mean, s": statistics.mean(waits),
        "prime wait, median, s": statistics.median(waits),
        "prime wait, greatest, s": max(waits),
        "idle node-time, node-minutes": samples["idle"] / 60,
        "ready share of idle node-time": samples["ready"] / max(1, samples["idle"]),
        "pilots": ended.total(),
        "of these evicted": ended["evicted"],
        "of these failed or lost": ended["failed"] + ended["lost"],
    }


def seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=4.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--policy", default="gap")
    chosen = options.parse_args()
    jobs = script(chosen.minutes, chosen.seed)
    results = {}
    for name in ("without harvest", f"with harvest ({chosen.policy})"):
        with cluster():
            if name == "without harvest":
                time.sleep(10)
                results[name] = play(jobs, None)
            else:
                with harvest(chosen.policy) as client:
                    results[name] = play(jobs, client)
    print(f"| {chosen.minutes:g} minutes, seed {chosen.seed} | " + " | ".join(results) + " |\n|---|---|---|")
    for row in next(iter(results.values())):
        print(
            f"| {row} | " + " | ".join(f"{result[row]:.2f}".removesuffix(".00") for result in results.values()) + " |"
        )


if __name__ == "__main__":
    main()
