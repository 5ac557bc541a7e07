"""A scripted hour of prime jobs that come and go on a real Slurm, compressed to minutes: without harvest, and with it.

Needs root and Debian's Slurm packages; brings up its own one-machine cluster. Both runs submit the same prime jobs at
the same moments. Sampled every second: a node without a prime job is idle time, of which the share with a READY pilot
is the ready share. Waits are the scheduler's own, in whole seconds.
"""

import argparse
import random
import statistics
import time
from collections import Counter

from benchmarks.site.harvest_up import harvest_up, settings
from benchmarks.site.slurm import Site, SiteKind, site
from harvester.sdk.client import Client

NODES = 8
SETTLE_S = 10.0  # the pilots are there before the hour begins


def script(minutes: float, seed: int) -> list[tuple[float, int, int]]:
    """Return prime jobs as (seconds after the start, nodes, seconds that it runs): some three quarters of the nodes."""
    chance = random.Random(seed)  # noqa: S311 - a workload, no secret
    jobs, at_s, area = [], 0.0, 0.75 * NODES
    while at_s < 60 * minutes - 20:
        nodes, runs_s = chance.choice([1, 1, 2, 2, 4, 6]), chance.choice([5, 10, 15, 25, 40])
        jobs.append((at_s, nodes, runs_s))
        at_s += chance.expovariate(area / (nodes * runs_s))
    return jobs


def play(slurm: Site, jobs: list[tuple[float, int, int]], client: Client | None) -> dict[str, float]:
    """Submit the prime jobs in time, sample every second until all have ended; return the figures."""
    left, samples = list(jobs), Counter[str]()
    ids: list[str] = []
    begun_at = time.monotonic()
    second = 0
    while left or any(state in ("PENDING", "RUNNING") for state in states(slurm, ids)):
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
            ids.append(slurm.run("sbatch", "--parsable", *wish))
        if time.monotonic() - begun_at >= second:
            second += 1
            prime = set(slurm.run("squeue", "-h", "-p", "prime", "-t", "R,CG", "-o", "%N").split())
            taken = set(slurm.run("scontrol", "show", "hostnames", ",".join(prime)).split()) if prime else set()
            ready = {pilot["node"] for pilot in client.pilots() if pilot["state"] == "ready"} if client else set()
            samples["idle"] += NODES - len(taken)
            samples["ready"] += len(ready - taken)
        time.sleep(0.1)
    return figures(slurm, ids, samples, client)


def states(slurm: Site, ids: list[str]) -> list[str]:
    return slurm.run("squeue", "-h", "-p", "prime", "-t", "all", "-o", "%T").split() if ids else []


def figures(slurm: Site, ids: list[str], samples: Counter[str], client: Client | None) -> dict[str, float]:
    waits = []
    for line in slurm.run("squeue", "-h", "-p", "prime", "-t", "all", "-o", "%i %V %S").splitlines():
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
        with site(SiteKind(nodes=NODES)) as slurm:
            if name == "without harvest":
                time.sleep(SETTLE_S)
                results[name] = play(slurm, jobs, None)
                continue
            wishes = ["--ready", str(NODES), *settings(policy=chosen.policy, partition="harvest", max_pending=16)]
            with harvest_up(slurm, *wishes) as harvest, harvest.client() as client:
                time.sleep(SETTLE_S)
                results[name] = play(slurm, jobs, client)
    print(f"| {chosen.minutes:g} minutes, seed {chosen.seed} | " + " | ".join(results) + " |\n|---|---|---|")
    for row in next(iter(results.values())):
        print(
            f"| {row} | " + " | ".join(f"{result[row]:.2f}".removesuffix(".00") for result in results.values()) + " |"
        )


if __name__ == "__main__":
    main()
