"""The door of the embedded `local` scheduler: what can never run is refused, naming what could. Pure."""

from __future__ import annotations

from datetime import timedelta

from harvester.domain.cluster.ports import PilotOrder, SubmissionRejected
from harvester_adapters.local.state import HARVEST, Cluster


def check_order(cluster: Cluster, order: PilotOrder) -> None:
    """Raise `SubmissionRejected` where a pilot can never run."""
    if order.partition != HARVEST:
        raise SubmissionRejected(
            f"pilot {order.name}: the local scheduler takes pilots in partition {HARVEST!r} only, not in "
            f"{order.partition!r}: set the partition to {HARVEST!r}"
        )
    if not any(order.resources.fits(node.total) for node in cluster.nodes):
        largest = max(cluster.nodes, key=lambda node: node.total)
        raise SubmissionRejected(
            f"pilot {order.name} asks for {order.resources}, more than any node has: the largest, {largest.name}, "
            f"has {largest.total}"
        )
    if order.walltime <= timedelta(0):
        raise SubmissionRejected(f"pilot {order.name} asks for a walltime of {order.walltime}: it must be above 0")


def check_prime(total: int, nodes: int, duration: timedelta) -> None:
    """Raise `SubmissionRejected` where a prime batch job of `nodes` nodes can never run on `total`."""
    if not 1 <= nodes <= total:
        raise SubmissionRejected(
            f"a prime batch job of {nodes} nodes: the local cluster has {total}, ask for 1 to {total}"
        )
    if duration <= timedelta(0):
        raise SubmissionRejected(f"a prime batch job of {duration}: its duration must be above 0")
