"""Shapes out of a look at the cluster: what pilots are when nobody has configured any.

Whole nodes of the preemptible partition, because backfill takes a node back as a whole: several small pilots on one
node would fall together.
"""

from __future__ import annotations

from collections import Counter

from harvester.domain.cluster import ClusterSnapshot
from harvester.domain.planning import Shape
from harvester.domain.resources import Resources

_MOST = 4  # kinds of nodes; the rest of a zoo is left alone


def whole_nodes(snapshot: ClusterSnapshot, *, partition: str = "", python: str = "") -> tuple[Shape, ...]:
    """Return a shape for each kind of node in `partition`, by default the first preemptible one that is up.

    The most frequent comes first, nodes without GPUs before those with. Nothing is returned where no partition is
    preemptible: a site that has none must say where pilots may go.
    """
    preemptible = (part.name for part in snapshot.partitions if part.is_preemptible and part.is_up)
    name = partition or next(preemptible, "")
    kinds: Counter[Resources] = Counter(
        node.total for node in snapshot.nodes if name in node.partitions and node.total.cpus
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
