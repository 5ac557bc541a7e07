"""Ask nodes: the nodes for one kind of ask, in the orders in which a plan tries them, and what is known to be in vain.

Thousands of batch jobs ask alike, and what could not be had for one cannot be had for those behind it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf

from harvester.domain.contention.node_requests import Ask, NodeRequest
from harvester.domain.contention.node_time import NOTHING, Amount, NodeTime, covers


class AskNodes:
    """What is remembered of one kind of ask."""

    def __init__(self, ask: Ask, nodes: Sequence[NodeTime], now: float) -> None:
        self.ask = ask
        self.passes = ask.passes
        self.usable = [node for node in nodes if ask.could_use(node)]
        free = [node for node in self.usable if covers(node.left_now, ask.on(node))]
        self.now = sorted(free, key=lambda node: self.cost(node, now))
        self.first = 0  # those before it will never do again
        self.spans: list[float] | None = None  # for how long nodes can be had from now on, in order; never longer
        self.failed: list[tuple[int, float, Amount]] = []  # so many nodes for so long, so much in all: not to be had
        self.order: list[tuple[float, int, NodeTime]] | None = None

    def cost(self, node: NodeTime, at: float) -> tuple[int, Amount, int, int]:
        """Return the sort key: nodes that cost us fewest pilots first, then small and plain before large ones."""
        pilots = node.pilots
        if pilots and not node.is_in_the_way(self.ask.on(node), at, at + 1.0, self.passes):
            pilots = 0
        return (pilots, node.total, len(node.features), node.index)

    def is_hopeless(self, wanted: NodeRequest) -> bool:
        """Return whether a start at once is out of the question, by what is known from before."""
        if self.spans is not None and len(self.spans) - bisect_left(self.spans, wanted.length) < wanted.nodes:
            return True
        return bool(self.failed) and any(
            nodes <= wanted.nodes and length <= wanted.length and covers(wanted.in_all, in_all)
            for nodes, length, in_all in self.failed
        )

    def fail(self, wanted: NodeRequest, now: float) -> None:
        """Remember that there is no start at once for `wanted`: nodes only become fewer."""
        if wanted.in_all != NOTHING or wanted.ask.required:
            self.failed.append((wanted.nodes, wanted.length, wanted.in_all))
            return
        on = self.ask.on
        some = [node for node in self.now[self.first :] if node.left_now[0] > 0]
        spans = [node.span(on(node), now, self.passes) for node in some]
        self.spans = sorted([span for span in spans if span > 0])

    def plain_order(self, now: float) -> list[tuple[float, int, NodeTime]]:
        """Return the nodes in the order in which running batch jobs leave them, bookings and reservations aside."""
        if self.order is None:
            self.order = []
            for node in self.usable:
                need = self.ask.on(node)
                at = now if covers(node.free, need) else inf
                if at == inf:
                    at = next((end for end, room in node.ends if covers(room, need)), inf)
                if at < inf:
                    self.order.append((at, node.index, node))
            self.order.sort()
        return self.order
