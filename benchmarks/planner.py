"""How long windows, contention and a plan take, for a cluster of 10,000 nodes with 20,000 batch jobs."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace

from harvester.domain.cluster import windows
from harvester.domain.cluster.snapshot import (
    BatchJob,
    BatchState,
    ClusterSnapshot,
    Node,
    NodeState,
    Partition,
    Reservation,
)
from harvester.domain.cluster.survival import Survival
from harvester.domain.contention.contention import contention
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, KnownPilot, Need, Shape, Situation
from harvester.domain.harvest.policies import by_name
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

NODES, JOBS, PILOTS = 10_000, 20_000, 500
NOW = 1_000_000.0
WHOLE = Resources(cpus=64, gpus=4, memory_mb=256_000)
NOTHING = Resources(cpus=0)
ROUNDS = 5
MOST_S = 0.5  # what the harvester promises


def snapshot(seed: int = 1) -> ClusterSnapshot:
    """A busy cluster: a tenth of the nodes idle, a tenth shared, the rest taken; a thousand starts planned."""
    dice = random.Random(seed)  # noqa: S311 - nothing secret
    names = [f"n{number:05}" for number in range(NODES)]
    states = dice.choices(
        (NodeState.ALLOCATED, NodeState.IDLE, NodeState.MIXED, NodeState.DRAINED), (78, 10, 10, 2), k=NODES
    )
    free = {NodeState.IDLE: WHOLE, NodeState.MIXED: Resources(cpus=16, gpus=1, memory_mb=64_000)}
    nodes = tuple(
        Node(name=name, state=state, partitions=("prime", "harvest"), total=WHOLE, free=free.get(state, NOTHING))
        for name, state in zip(names, states, strict=True)
    )
    taken = [node.name for node in nodes if node.state in {NodeState.ALLOCATED, NodeState.MIXED}]
    return ClusterSnapshot(
        taken_at=NOW,
        scheduler="benchmark",
        nodes=nodes,
        batch_jobs=tuple(_job(number, dice, names, taken) for number in range(JOBS)),
        partitions=(Partition(name="prime", priority_tier=2), Partition(name="harvest", is_preemptible=True)),
        reservations=(Reservation(name="maint", nodes=tuple(names[:200]), start_at=NOW + 7200),),
        grain=timedelta(minutes=1),
    )


def _job(number: int, dice: random.Random, names: list[str], taken: list[str]) -> BatchJob:
    is_running = number < 8000
    is_planned = not is_running and number % 12 == 0
    count = dice.choice((1, 1, 2, 4, 16)) if is_running else dice.choice((1, 1, 2, 4, 16, 64, 256))
    cpus = 64 if is_running else dice.choice((64, 64, 16, 4))
    return BatchJob(
        batch_job_id=str(number),
        name="prime",
        user="somebody",
        partition="prime",
        state=BatchState.RUNNING if is_running else BatchState.PENDING,
        reason="" if is_running else "Resources",
        nodes=tuple(dice.sample(taken if is_running else names, count)) if is_running or is_planned else (),
        requested=Resources(cpus=cpus * count),
        each=Resources(cpus=cpus),
        is_exclusive=cpus == 64,
        node_count=count,
        priority=dice.randrange(10_000),
        limit=timedelta(minutes=dice.choice((30, 60, 120, 240, 720, 1440, 2880))),
        submitted_at=NOW - 10_000 + number / 10,
        start_at=NOW - 100 if is_running else NOW + dice.uniform(60, 40_000) if is_planned else None,
        end_at=NOW + dice.uniform(1, 80_000) if is_running else None,
    )


def with_pilots(seen: ClusterSnapshot) -> ClusterSnapshot:
    """Return the snapshot with running pilots on idle nodes, as `situation` knows them."""
    idle = [node.name for node in seen.nodes if node.state is NodeState.IDLE]
    held = {idle[number]: f"hv-{number}" for number in range(0, PILOTS, 2)}
    nodes = [
        replace(node, state=NodeState.ALLOCATED, free=NOTHING) if node.name in held else node for node in seen.nodes
    ]
    ours = [
        BatchJob(
            batch_job_id=f"h{name}",
            name=name,
            user="us",
            partition="harvest",
            state=BatchState.RUNNING,
            nodes=(node,),
            requested=WHOLE,
            end_at=NOW + 600,
        )
        for node, name in held.items()
    ]
    return replace(seen, nodes=tuple(nodes), batch_jobs=(*seen.batch_jobs, *ours))


def situation(seen: ClusterSnapshot, mode: HarvestMode) -> Situation:
    """A site that harvests all it can, with pilots in the queue and at work."""
    shapes = (
        Shape(name="node", partition="harvest", resources=WHOLE),
        Shape(name="part", partition="harvest", resources=Resources(cpus=8, memory_mb=16_000)),
        Shape(name="gpu", partition="harvest", resources=Resources(cpus=8, gpus=1, memory_mb=16_000)),
    )
    idle = [node.name for node in seen.nodes if node.state is NodeState.IDLE]
    pilots = tuple(
        KnownPilot(
            pilot_id=f"p{number}",
            name=f"hv-{number}",
            shape="node",
            partition="harvest",
            resources=WHOLE,
            walltime=timedelta(minutes=90),
            state=PilotState.QUEUED if number % 2 else PilotState.READY,
            planned_at=NOW - 20,
            ends_at=None if number % 2 else NOW + 600,
            node="" if number % 2 else idle[number],
        )
        for number in range(PILOTS)
    )
    return Situation(
        snapshot=seen,
        needs=tuple(Need(function_id=f"f{n}@1", resources=Resources(cpus=1 + n % 8), waiting=200) for n in range(50)),
        pilots=pilots,
        now=NOW,
        survival=Survival().opened([600.0, None, 60.0, 3600.0] * 20),
        settings=HarvestSettings(
            shapes=shapes,
            lengths=tuple(timedelta(minutes=length) for length in (2, 4, 6, 8, 14, 22, 34, 56, 90)),
            mode=mode,
            max_pilots=10_000,
            max_pending=500,
            is_unbounded=True,
            max_share=0.9,
            excluded_nodes=frozenset(idle[:3]),
        ),
    )


def median_s(work: Callable[[], object]) -> float:
    """Return the median time of a few rounds on the processor, in seconds: others may use the machine."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    """Measure, and print a line each."""
    seen = snapshot()
    held = with_pilots(seen)
    print(f"{NODES} nodes, {JOBS} batch jobs, {PILOTS} pilots; windows and plan shall take less than {MOST_S} s")
    alone = median_s(lambda: windows.compute(seen, NOW, horizon=timedelta(seconds=45)))
    print(f"  windows alone            {alone * 1000:7.1f} ms  ({len(windows.compute(seen, NOW))} open)")
    names = {f"hv-{number}" for number in range(PILOTS)}
    took = median_s(lambda: contention(held, NOW, ours=names))
    plan = contention(held, NOW, ours=names)
    in_the_way = sum(len(start.in_the_way) for start in plan.starts)
    print(
        f"  contention alone         {took * 1000:7.1f} ms  ({len(plan.starts)} starts, {in_the_way} pilots in the way)"
    )
    slowest = took
    for mode in HarvestMode:
        asked = replace(situation(seen, mode), snapshot=held)
        for name in ("demand", "fib", "var", "gap"):
            policy = by_name(name)
            took = median_s(lambda policy=policy, asked=asked: decide(policy, asked))  # type: ignore[misc]
            slowest = max(slowest, took)
            print(
                f"  {name:7} {mode.value:12}     {took * 1000:7.1f} ms  ({len(decide(policy, asked).effects)} effects)"
            )
    assert slowest < MOST_S, f"the slowest took {slowest:.2f} s"


if __name__ == "__main__":
    main()
