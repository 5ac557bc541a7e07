"""How long a year of a cluster like Theta takes to simulate: 24,000 batch jobs on 4,360 nodes, policy `gap`."""

from __future__ import annotations

import time
from random import Random

from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import HarvestMode
from harvester.simulator.inputs.jobs import JobTrace, PrimeJob
from harvester.simulator.model.cluster_model import simulate_jobs
from harvester.simulator.parameters import Parameters

NODES, JOBS, YEAR_S = 4360, 24_000, 365 * 86_400.0
MOST_S = 120.0  # what the harvester promises
SIZES = ((128, 670), (256, 123), (384, 30), (512, 40), (1024, 45), (1536, 10), (2048, 6), (4352, 2))  # Theta's mix


def year(seed: int = 1) -> JobTrace:
    """A year of batch jobs that want about five sixths of the machine, sizes as on Theta in 2023."""
    dice = Random(seed)  # noqa: S311 - nothing secret
    at = 0.0
    jobs = []
    for number in range(JOBS):
        at += dice.expovariate(JOBS / YEAR_S)
        nodes = dice.choices([size for size, _ in SIZES], [weight for _, weight in SIZES])[0]
        limit = dice.choice((3600.0, 14_400.0, 28_800.0, 54_000.0))
        jobs.append(
            PrimeJob(
                job_id=str(number), submit_at=at, run_s=limit * dice.betavariate(4.5, 1.5), limit_s=limit, nodes=nodes
            )
        )
    return JobTrace(source="made-up year", jobs=tuple(jobs))


def main() -> None:
    trace = year()
    for mode in (HarvestMode.PREEMPTIBLE, HarvestMode.STRICT):
        began = time.perf_counter()
        report = simulate_jobs(trace, policies.by_name("gap"), Parameters(nodes=NODES, mode=mode), name="gap")
        took = time.perf_counter() - began
        print(
            f"{mode}: {took:.1f} s (promised: {MOST_S:.0f} s); idle {report.idle_share:.1%}, ready "
            f"{report.ready_share:.1%} of it, {report.prime_delayed} of {report.prime_jobs} prime jobs delayed by at "
            f"most {report.prime_delay_max_s:g} s"
        )
        assert took <= MOST_S, "too slow"


if __name__ == "__main__":
    main()
