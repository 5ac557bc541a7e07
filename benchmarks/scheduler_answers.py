"""How long it takes to read what a scheduler says of 10,000 nodes and 20,000 batch jobs: a look's answers, whole."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the fake cluster, which gives the answers

from support.fake_cluster.answers import Call
from support.fake_cluster.kinds import PBS, SLURM, SiteKind
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import Amount, Wish
from support.fake_cluster.site import QUEUES, nodes

from harvester_adapters.pbs import jobs as pbs_jobs
from harvester_adapters.pbs import nodes as pbs_nodes
from harvester_adapters.pbs.partitions import QSTAT_QUEUES, partitions_of, queue_list
from harvester_adapters.slurm.text import nodes as slurm_nodes
from harvester_adapters.slurm.text import squeue

NODES, JOBS = 10_000, 20_000
MOST_S = 1.0  # what the harvester promises
ROUNDS = 5

Reader = Callable[[], tuple[int, int]]
"""Reads the answers, and returns how many nodes and batch jobs there were."""


def cluster(kind: SiteKind, nodes_count: int = NODES, jobs_count: int = JOBS) -> FakeCluster:
    """Return a busy cluster: half the nodes taken, a batch job on each of those, and all others waiting."""
    made = FakeCluster(nodes(nodes_count), QUEUES, kind.rules)
    taken = list(made.nodes)[: nodes_count // 2]
    for number in range(jobs_count):
        count = 1 if number < len(taken) else 4
        batch = made.submit(Wish(queue="prime", name=f"batch-{number}", nodes=count, each=Amount(4, 1, 4000)))
        if number < len(taken):
            made.start(batch, (taken[number],), 3600.0)
    return made


def reader(kind: SiteKind, made: FakeCluster) -> Reader:
    """Return what reads the answers of a look at this cluster."""

    def answer(command: str, *arguments: str) -> str:
        return kind.flavour.answer(made, Call(command, arguments, made.now)).stdout.decode()

    if kind is SLURM:
        question = squeue.not_ended("abcdef")
        of_nodes = answer("scontrol", "--details", "--oneliner", "--all", "show", "node")
        of_jobs = answer("squeue", *question.arguments)
        return lambda: (len(slurm_nodes.nodes(of_nodes)), len(squeue.batch_jobs(of_jobs, question)))
    of_nodes, of_jobs = answer(*pbs_nodes.PBSNODES), answer(*pbs_jobs.QSTAT)
    queues = queue_list(answer(*QSTAT_QUEUES), "ann").execution

    def read() -> tuple[int, int]:
        vnodes = pbs_nodes.vnode_list(of_nodes)
        found = pbs_nodes.nodes(vnodes, partitions_of(queues, vnodes))
        return len(found), len(pbs_jobs.batch_jobs(of_jobs, pbs_nodes.hosts(vnodes)))

    return read


def cpu_s(read: Reader) -> float:
    """Return the CPU time of one reading."""
    begun = time.process_time()
    read()
    return time.process_time() - begun


def main() -> None:
    failed = False
    for kind in (SLURM, PBS):
        read = reader(kind, cluster(kind))
        took = [cpu_s(read) for _ in range(ROUNDS)]
        failed |= min(took) > MOST_S
        print(f"{kind.name}: {min(took):.2f} s at best, {statistics.median(took):.2f} s in the middle of {ROUNDS}")
    if failed:
        sys.exit(f"more than {MOST_S:g} s")


if __name__ == "__main__":
    main()
