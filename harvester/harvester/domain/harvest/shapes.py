"""Shapes out of a look at the cluster: what pilots are when nobody has configured any.

Owns which partition pilots may take without being told: one from which they are evicted, and neither the default one
nor one of the highest tier, where they would be ahead of everybody. Pilots take whole nodes, because backfill takes a
node back as a whole: several small pilots on one node would fall together.
"""

from __future__ import annotations

from collections import Counter

from harvester.domain.cluster.snapshot import ClusterSnapshot, Partition
from harvester.domain.harvest.planning import Shape
from harvester.domain.model.resources import Resources

_MOST = 4  # kinds of nodes; the rest of a zoo is left alone


def whole_nodes(snapshot: ClusterSnapshot, *, partition: str = "", python: str = "") -> tuple[Shape, ...]:
    """Return a shape for each kind of node in `partition`, by default the one that may be taken without being told.

    The most frequent comes first, nodes without GPUs before those with. Nothing is returned where no partition may be
    taken so: then the site must say where pilots may go.
    """
    name = partition or untold_partition(snapshot)
    part = snapshot.partition(name)
    most = None if part is None else part.most
    kinds: Counter[Resources] = Counter(
        within(node.total, most) for node in snapshot.nodes if name in node.partitions and node.total.cpus
    )
    chosen = sorted(kinds.most_common(_MOST), key=lambda kind: kind[0].gpus > 0)
    return tuple(
        Shape(
            name=name if number == 0 else f"{name}-{number + 1}",
            partition=name,
            resources=total,
            python=python,
        )
        for number, (total, _) in enumerate(chosen)
    )


def within(total: Resources, most: Resources | None) -> Resources:
    """Return what a batch job may take of a node that has `total`, where a partition allows `most` of one."""
    if most is None:
        return total
    return Resources(
        cpus=min(total.cpus, most.cpus or total.cpus),
        gpus=total.gpus,
        memory_mb=min(total.memory_mb, most.memory_mb or total.memory_mb),
    )


def untold_partition(snapshot: ClusterSnapshot) -> str:
    """Return the partition that pilots may take without being told; empty where there is none.

    Of several, the first of the lowest tier: batch jobs of partitions between would find pilots in their way.
    """
    fit = [part for part in snapshot.partitions if not why_not_untold(snapshot, part)]
    return min(fit, key=lambda part: part.priority_tier).name if fit else ""


def why_not_untold(snapshot: ClusterSnapshot, part: Partition) -> str:
    """Return why pilots do not take a partition unless they are told to, in words that end a sentence."""
    if not part.is_preemptible:
        return part.why_not or "the scheduler is not known to evict batch jobs from it"
    if not part.is_up:
        return "it is not up"
    if part.refuses:
        return part.refuses
    if part.is_default:
        return "it is the default partition"
    if len(snapshot.partitions) > 1 and part.priority_tier == max(each.priority_tier for each in snapshot.partitions):
        return "it is of the highest PriorityTier"
    return ""
