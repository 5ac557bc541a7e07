"""The cluster model of a job trace: prime jobs under EASY backfill, and pilots in what they leave idle.

How to call it:

    trace = swf.read(Path("theta.swf.gz")).on(4360)
    report = simulate_jobs(trace, policies.by_name("gap"), Parameters(nodes=4360))      # None for no harvest

`easy_backfill` says when and where prime jobs run; `overlay` lays the pilots over it. A prime job that finds a pilot on
its nodes starts later by the time until that pilot has left. Such a delay is the batch job's own: it is not handed on
to those behind it, because one second's shift changes what backfill picks, for better or worse, and would drown what
the harvest did in noise.

Large clusters are counted in blocks of nodes: a pilot stands for `block` pilots, and a prime job takes whole blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from harvester.domain.harvest.planning import Policy
from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.gaps import ClusterOffer
from harvester.simulator.inputs.jobs import JobTrace
from harvester.simulator.measures import quantile
from harvester.simulator.model import fleet as fleets
from harvester.simulator.model.easy_backfill import Prime, Schedule
from harvester.simulator.model.figures import harvested
from harvester.simulator.model.fleet import Account
from harvester.simulator.model.overlay import Overlay, Progress
from harvester.simulator.parameters import Parameters
from harvester.simulator.report.report import Report

_UNITS = 600  # blocks beyond which a cluster is counted coarser
_TOLERANCE_S = 1e-6


def simulate_jobs(
    trace: JobTrace,
    policy: Policy | None,
    parameters: Parameters,
    *,
    name: str = "",
    progress: Progress | None = None,
) -> Report:
    """Return what `policy` would have had of a cluster under `trace`.

    Parameters
    ----------
    policy: None simulates the prime jobs alone.
    name: the policy's, for the report.
    progress: told how far it is, now and then.

    Raises `SimulationError` where the parameters name no size of the cluster.
    """
    if parameters.nodes is None:
        raise SimulationError("--nodes is missing: a job trace does not tell the size of its cluster")
    block = parameters.block or block_for(parameters.nodes)
    trace = trace.on(parameters.nodes // block * block)
    schedule, offer = offered(trace, parameters, block)
    account, delays = Account(), dict[int, float]()
    if policy is not None:
        overlay = Overlay(offer, policy, parameters)
        overlay.run(progress)
        account, delays = overlay.fleet.account, overlay.delays
    return Report(
        source=trace.source,
        model="cluster",
        policy=name or ("off" if policy is None else type(policy).__name__),
        mode="off" if policy is None else parameters.mode.value,
        skipped=trace.skipped,
        **harvested(offer, account, parameters, block=block),
        **waits(trace, schedule, delays, parameters.grace_s),
    )


def offered(trace: JobTrace, parameters: Parameters, block: int) -> tuple[Schedule, ClusterOffer]:
    """Return how the prime jobs run, and what they leave."""
    units = (parameters.nodes or 0) // block
    names = [f"n{unit * block + 1:05}" for unit in range(units)]
    prime = Prime(trace.jobs, names, block, parameters.sched_delay_s, fleets.PRIME)
    schedule = prime.run()
    offer = ClusterOffer(
        nodes=tuple(names),
        gaps=schedule.gaps,
        plans=schedule.plans,
        from_at=schedule.from_at,
        to_at=schedule.to_at,
    )
    return schedule, offer


def block_for(nodes: int) -> int:
    """Return how many nodes to count as one: a divisor of `nodes` where a small one will do, 1 for small clusters."""
    least = ceil(nodes / _UNITS)
    return next((block for block in range(least, 2 * least) if nodes % block == 0), least)


def waits(trace: JobTrace, schedule: Schedule, delays: dict[int, float], grace_s: float) -> dict[str, Any]:
    """Return the fields of `Report` that tell of prime jobs' waits."""
    alone = [start - job.submit_at for start, job in zip(schedule.starts, trace.jobs, strict=True)]
    beside = [wait + delays.get(index, 0.0) for index, wait in enumerate(alone)]
    late = [delay for delay in delays.values() if delay > _TOLERANCE_S]
    return {
        "prime_jobs": len(alone),
        "prime_delayed": len(late),
        "prime_delayed_over_grace": sum(delay > grace_s + _TOLERANCE_S for delay in late),
        "prime_wait_mean_s": _mean(beside),
        "prime_wait_p99_s": quantile(sorted(beside), 0.99),
        "prime_wait_mean_off_s": _mean(alone),
        "prime_wait_p99_off_s": quantile(sorted(alone), 0.99),
        "prime_delay_max_s": max(late, default=0.0),
        "prime_delay_mean_s": _mean(late) if late else 0.0,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
