"""A proposal: what a configuration for a site may be, out of one look at it, with what was assumed. Pure.

Owns the choices: whose partition, which shapes, which mode. `configuration` writes it down.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from harvester.domain.cluster.snapshot import ClusterSnapshot, Partition
from harvester.domain.fitness.cluster_findings import is_hidden
from harvester.domain.fitness.sentences import counted, span
from harvester.domain.fitness.site_facts import SiteFacts
from harvester.domain.harvest.planning import HarvestMode, Shape
from harvester.domain.harvest.shapes import untold_partition, whole_nodes


class NoProposal(Exception):
    """No configuration can be proposed; the text says why and what to do."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration may be."""

    partition: Partition
    shapes: tuple[Shape, ...]
    mode: HarvestMode
    lengths_min: tuple[float, ...]  # empty: the default ones fit
    cycle: timedelta | None  # None: the default
    qos: str = ""  # what pilots run under, where that was chosen
    assumed: tuple[str, ...]  # sentences without a full stop


def propose(
    snapshot: ClusterSnapshot,
    facts: SiteFacts | None,
    *,
    lengths_min: tuple[float, ...],
    partition: str = "",
    qos: str = "",
) -> Proposal:
    """Return what a configuration for this site may be. Raises `NoProposal`.

    Parameters
    ----------
    lengths_min: the default lengths of pilots, in minutes.
    partition: whose nodes pilots are to take; empty: choose one.
    qos: what the look was made with, where that was chosen.
    """
    chosen, why = _chosen(snapshot, partition)
    shapes = whole_nodes(snapshot, partition=chosen.name)
    if not shapes:
        raise NoProposal(f'partition "{chosen.name}" has no nodes; name another with --partition')
    mode, why_mode = _mode(chosen, is_blind=is_hidden(snapshot, facts))
    lengths, why_lengths = _lengths(chosen, lengths_min)
    why_qos = f'pilots run under the QOS "{qos}", whose batch jobs others evict' if qos else ""
    nodes = sum(chosen.name in node.partitions for node in snapshot.nodes)
    size = f"pilots take whole nodes of {counted(len(shapes), 'kind')}, {counted(nodes, 'node')} in all"
    return Proposal(
        partition=chosen,
        shapes=shapes,
        mode=mode,
        lengths_min=lengths,
        cycle=None if facts is None else facts.cycle,
        qos=qos,
        assumed=tuple(filter(None, (why, why_qos, size, why_mode, why_lengths))),
    )


def _chosen(snapshot: ClusterSnapshot, partition: str) -> tuple[Partition, str]:
    if partition:
        named = snapshot.partition(partition)
        if named is None:
            has = ", ".join(part.name for part in snapshot.partitions)
            raise NoProposal(f'there is no partition "{partition}"; the scheduler has {has}')
        return named, f'pilots go to "{partition}", as you said'
    if untold := snapshot.partition(untold_partition(snapshot)):
        return untold, f'pilots go to "{untold.name}", the lowest partition from which they are evicted'
    used = {name for node in snapshot.nodes for name in node.partitions}
    open_ones = [part for part in snapshot.partitions if part.is_up and not part.refuses and part.name in used]
    if not open_ones:
        raise NoProposal("no partition is up and has nodes; name one with --partition when there is one")
    lowest = min(open_ones, key=lambda part: (not part.is_preemptible, part.priority_tier, part.is_default))
    also = ", which is the default one" if lowest.is_default else ""
    if lowest.is_preemptible:
        return lowest, f'pilots go to "{lowest.name}"{also}: they are evicted from no lower one'
    return lowest, f'pilots go to "{lowest.name}"{also}: there is no partition from which they would be evicted'


def _mode(part: Partition, *, is_blind: bool) -> tuple[HarvestMode, str]:
    if part.is_preemptible:
        grace = f"a grace time of {span(part.grace_time)}" if part.grace_time else "no grace time"
        return HarvestMode.PREEMPTIBLE, f"the scheduler evicts pilots for prime jobs, with {grace}"
    because = f" ({part.why_not})" if part.why_not else ""
    if is_blind:
        raise NoProposal(
            f'pilots are not evicted from "{part.name}"{because}, and other users\' batch jobs are hidden from you, so '
            "nothing would keep pilots out of their way; ask for the right to see them, or name another --partition"
        )
    why = (
        f'nobody evicts pilots from "{part.name}"{because}, so they leave by themselves when a prime job could start, '
        "which may wait some seconds for that"
    )
    return HarvestMode.YIELDING, why


def _lengths(part: Partition, lengths_min: tuple[float, ...]) -> tuple[tuple[float, ...], str]:
    if part.max_time is None:
        return (), ""
    most = part.max_time.total_seconds() / 60
    fit = tuple(length for length in lengths_min if length <= most)
    if len(fit) == len(lengths_min):
        return (), ""
    return fit or (most,), f'pilots last {span(part.max_time)} at most, as "{part.name}" allows no more'
