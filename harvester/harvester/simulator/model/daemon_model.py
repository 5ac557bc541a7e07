"""The daemon model of an idle log: what a daemon could have harvested that knows nothing of the future.

How to call it:

    log = idle_log.read(Path("idle-nodes.txt.gz")).between(1647471600, 1647558000)
    report = simulate_idle_log(log, policies.by_name("gap"), Parameters(foresight=0.5))

The log's gaps are what the cluster offers. A share of their ends (`foresight`) stands in the scheduler's plan from the
opening on, as a pending batch job with an expected start on that node; the other ends are surprises: any pilot may
start, and is evicted when the gap closes. `overlay` tells the rest.
"""

from __future__ import annotations

from hashlib import blake2b

from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.harvest.planning import HarvestMode, Policy
from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.gaps import ClusterOffer, Gap, PlanChange
from harvester.simulator.inputs.idle_log import IdleLog
from harvester.simulator.model import fleet as fleets
from harvester.simulator.model.figures import harvested
from harvester.simulator.model.overlay import Overlay, Progress
from harvester.simulator.parameters import Parameters
from harvester.simulator.report.report import Report


def simulate_idle_log(
    log: IdleLog, policy: Policy, parameters: Parameters, *, name: str = "", progress: Progress | None = None
) -> Report:
    """Return what `policy` would have had of `log`.

    Parameters
    ----------
    name: the policy's, for the report.
    progress: told how far it is, now and then.

    Raises `SimulationError` where nobody was ever idle, or the mode is one that an idle log cannot show.
    """
    if parameters.mode is not HarvestMode.PREEMPTIBLE:
        raise SimulationError("an idle log shows no prime jobs, so only the mode 'preemptible' can be simulated on it")
    overlay = Overlay(offer(log, parameters), policy, parameters)
    overlay.run(progress)
    figures = harvested(overlay.offer, overlay.fleet.account, parameters)
    return Report(
        source=log.source,
        model="daemon",
        policy=name or type(policy).__name__,
        mode=parameters.mode.value,
        skipped=log.skipped,
        **figures,
    )


def offer(log: IdleLog, parameters: Parameters) -> ClusterOffer:
    """Return what the log offers. Raises `SimulationError` where it offers nothing, or names too many nodes."""
    gaps = log.gaps()
    if not gaps:
        raise SimulationError(f"{log.source} shows no idle node in that time")
    seen = sorted({gap.node for gap in gaps})
    count = parameters.nodes or log.node_count
    if count < len(seen):
        raise SimulationError(f"--nodes {count} is impossible: {log.source} names {len(seen)} different nodes")
    others = [f"busy-{number}" for number in range(count - len(seen))]
    return ClusterOffer(
        nodes=(*seen, *others),
        gaps=gaps,
        plans=_plans([gap for gap in gaps if is_foreseen(gap, parameters)]),
        from_at=log.times[0],
        to_at=log.ends_at,
    )


def is_foreseen(gap: Gap, parameters: Parameters) -> bool:
    """Return whether the scheduler's plan knows the end of `gap`.

    It is the same for every policy, and nested: an end that is known at a foresight of 0.5 is known at 0.8 too.
    """
    text = f"{parameters.seed}:{gap.node}:{gap.opens_at:.3f}"
    drawn = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    return drawn < parameters.foresight


def _plans(gaps: list[Gap]) -> tuple[PlanChange, ...]:
    moments: dict[float, list[Gap]] = {}
    for gap in gaps:
        moments.setdefault(gap.opens_at, []).append(gap)
        moments.setdefault(gap.closes_at, []).append(gap)
    planned: dict[str, BatchJob] = {}
    changes = []
    for at in sorted(moments):
        for gap in sorted(moments[at], key=lambda gap: gap.opens_at):
            if gap.closes_at == at:
                planned.pop(gap.node, None)
            else:
                planned[gap.node] = _prime(gap)
        changes.append(PlanChange(at=at, primes=tuple(planned.values())))
    return tuple(changes)


def _prime(gap: Gap) -> BatchJob:
    return BatchJob(
        batch_job_id=f"prime-{gap.node}-{gap.opens_at:.0f}",
        name="prime",
        user="somebody",
        partition=fleets.PRIME,
        state=BatchState.PENDING,
        reason="Resources",
        nodes=(gap.node,),
        requested=fleets.WHOLE,
        submitted_at=gap.opens_at,
        start_at=gap.closes_at,
    )
