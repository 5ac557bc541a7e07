"""Requests: which nodes a pending batch job could use, and how much of each, as far as the scheduler tells.

Owns Slurm's notation of features. Knows neither what is free nor when: that is `node_time`'s and `list_plan`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from harvester.domain.cluster.snapshot import BatchJob, Partition
from harvester.domain.contention.node_time import NOTHING, Amount, NodeTime, amount, covers

_PLAIN = re.compile(r"[^\s&|()\[\]*,!]+(?:[&|][^\s&|()\[\]*,!]+)*")  # names with & and | between them


class Ask(NamedTuple):
    """What each node of a batch job must have: alike for thousands of batch jobs."""

    partition: str
    each: Amount
    is_exclusive: bool
    features: str
    required: tuple[str, ...]
    excluded: tuple[str, ...]
    reservation: str

    def on(self, node: NodeTime) -> Amount:
        """Return what must be free of `node`."""
        return (node.total[0], node.total[1], self.each[2]) if self.is_exclusive else self.each

    def could_use(self, node: NodeTime) -> bool:
        """Return whether it could run on `node` if nobody else were there."""
        return (
            covers(node.total, self.each)
            and node.name not in self.excluded
            and (not self.features or has_features(self.features, node.features))
        )

    @property
    def passes(self) -> frozenset[str]:
        """The reservations that it may use."""
        return frozenset(self.reservation.split(",")) if self.reservation else frozenset()


class NodeRequest(NamedTuple):
    """One way in which a batch job may be given its nodes."""

    ask: Ask
    nodes: int  # so many
    in_all: Amount  # over them; beyond what `ask` has of each only where it may be spread unevenly
    length: float  # seconds that it may last


def is_plain(features: str) -> bool:
    """Return whether we understand what `features` asks for."""
    return not features or _PLAIN.fullmatch(features) is not None


def has_features(wanted: str, offered: Iterable[str]) -> bool:
    """Return whether a node that offers features has those that are wanted.

    From left to right, as Slurm does it: `a|b&c` is `(a|b)&c`. What we do not understand every node has.
    """
    if not is_plain(wanted):
        return True
    words = re.split(r"([&|])", wanted)
    found = words[0] in offered
    for sign, word in zip(words[1::2], words[2::2], strict=True):
        found = found and word in offered if sign == "&" else found or word in offered
    return found


def request(batch: BatchJob, partition: Partition, largest: Amount) -> NodeRequest:
    """Return what `batch` asks for in `partition`, spread evenly over its nodes.

    Parameters
    ----------
    largest: the most that a node of the partition has. What is too much for `node_count` of them takes more nodes.
    """
    in_all, least = amount(batch.requested), amount(batch.each)
    count = max(1, batch.node_count, len(batch.required_nodes))
    for wanted, most in zip(in_all, largest, strict=True):
        if most > 0:
            count = max(count, -(-wanted // most))
    even = (
        max(least[0], -(-in_all[0] // count)),
        max(least[1], -(-in_all[1] // count)),
        max(least[2], -(-in_all[2] // count)),
    )
    return NodeRequest(_ask(batch, partition, even), count, NOTHING, _length(batch, partition))


def spread(batch: BatchJob, partition: Partition, even: NodeRequest) -> NodeRequest | None:
    """Return what `batch` asks for if its parts may be spread unevenly, None where that is the same."""
    least = (max(1, batch.each.cpus), batch.each.gpus, batch.each.memory_mb)
    if batch.is_exclusive or covers(least, even.ask.each):
        return None
    ask = _ask(batch, partition, least)
    return NodeRequest(ask, max(1, batch.node_count), amount(batch.requested), even.length)


def _ask(batch: BatchJob, partition: Partition, each: Amount) -> Ask:
    return Ask(
        partition.name,
        each,
        batch.is_exclusive,
        batch.features,
        batch.required_nodes,
        batch.excluded_nodes,
        batch.reservation,
    )


def _length(batch: BatchJob, partition: Partition) -> float:
    limits = [limit.total_seconds() for limit in (batch.limit, partition.max_time) if limit is not None]
    return max(1.0, min(limits, default=inf))
