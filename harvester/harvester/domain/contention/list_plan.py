"""List plan: pending batch jobs put onto node time one after the other, as a scheduler with backfill does it.

Whoever can start now takes its nodes. Whoever cannot gets a reservation at the earliest moment by the limits of what
runs, and those behind may not delay it. Bounded in depth as schedulers are, and in work. What is beyond the bounds has
no reservation, so those behind it start sooner here than they will: never later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush, nsmallest
from math import inf
from typing import NamedTuple

from harvester.domain.cluster.snapshot import BatchJob, Partition
from harvester.domain.contention.ask_nodes import AskNodes
from harvester.domain.contention.node_requests import Ask, NodeRequest, request, spread
from harvester.domain.contention.node_time import NOTHING, Amount, Booking, NodeTime, covers, plus

DEPTH = 100  # reservations in all
OF_AN_ARRAY = 20  # reservations for the elements of one array
HORIZON_S = 86_400.0  # no reservation begins later than this
KINDS = 40  # kinds of asks that get reservations: each costs a look at all nodes
LATER_WORK = 40_000  # looks at single nodes for reservations
NOW_WORK = 300_000  # looks at single nodes for starts at once

_ROUNDS = 20  # times that a reservation is put off because its nodes are not free together


class Placed(NamedTuple):
    """Where and when a batch job starts in the plan."""

    at: float
    nodes: tuple[NodeTime, ...]
    in_the_way: tuple[NodeTime, ...]  # those of them that our pilots must leave for that


class ListPlan:
    """The plan in the making.

    Parameters
    ----------
    nodes: as they would be without our pilots; bookings are added to them.
    partitions: those that are up.
    """

    def __init__(self, nodes: Sequence[NodeTime], partitions: Sequence[Partition], now: float) -> None:
        self._now = now
        self._partitions = {partition.name: partition for partition in partitions}
        self._by_name = {node.name: node for node in nodes}
        self._nodes: dict[str, list[NodeTime]] = {}
        for node in nodes:
            for name in node.partitions:
                self._nodes.setdefault(name, []).append(node)
        self._largest = {name: _largest(mine) for name, mine in self._nodes.items()}
        self._requests: dict[tuple[object, ...], list[NodeRequest]] = {}
        self._kinds: dict[Ask, AskNodes] = {}
        self._ordered = 0
        self._reservations = 0
        self._later_work = self._now_work = 0

    @property
    def is_out_of_work(self) -> bool:
        """Whether nothing more can be looked at."""
        return self._now_work > NOW_WORK

    # ---- one batch job

    def place(self, batch: BatchJob) -> Iterator[Placed]:
        """Yield the starts of `batch`, one for each of its elements as far as they can be told."""
        ways = self.requests(batch)
        reserved = 0
        for _ in range(max(1, batch.elements)):
            placed = self._started(ways, batch)
            if placed is None and reserved < OF_AN_ARRAY and self._may_reserve:
                placed = self._reserved(ways, batch, self._now)
                reserved += 1
                self._reservations += placed is not None
            if placed is None:
                return
            yield placed

    @property
    def _may_reserve(self) -> bool:
        return self._reservations < DEPTH and self._later_work <= LATER_WORK

    def place_from(self, batch: BatchJob, at: float) -> Placed | None:
        """Return the start of a batch job that does not want to start before `at`. Nobody keeps clear of it."""
        return self._reserved(self.requests(batch), batch, at, is_booked=False)

    def requests(self, batch: BatchJob) -> list[NodeRequest]:
        """Return what `batch` asks for in each of its partitions, those of a higher tier first."""
        key = (
            batch.partition, batch.requested, batch.each, batch.is_exclusive, batch.node_count, batch.limit,
            batch.features, batch.required_nodes, batch.excluded_nodes, batch.reservation,
        )  # fmt: skip
        found = self._requests.get(key)
        if found is None:
            parts = [self._partitions[name] for name in batch.partitions if name in self._partitions]
            parts.sort(key=lambda part: -part.priority_tier)
            found = [request(batch, part, self._largest[part.name]) for part in parts if part.name in self._largest]
            self._requests[key] = found
        return found

    def could_use(self, batch: BatchJob) -> list[NodeTime]:
        """Return all nodes that `batch` could use; none where too few are free for it to start now, whoever goes first.

        Taken the wide way: it may be spread over its nodes as it likes.
        """
        found: dict[int, NodeTime] = {}
        for wanted in self.requests(batch):
            wide = spread(batch, self._partitions[wanted.ask.partition], wanted) or wanted
            kind = self._kind(wide.ask)
            free = sum(covers(node.free, kind.ask.on(node)) for node in kind.usable)
            if free >= wide.nodes:
                found.update((node.index, node) for node in kind.usable)
        return list(found.values())

    def _kind(self, ask: Ask) -> AskNodes:
        kind = self._kinds.get(ask)
        if kind is None:
            mine = self._nodes.get(ask.partition, [])
            self._now_work += len(mine) // 2
            kind = self._kinds[ask] = AskNodes(ask, mine, self._now)
        return kind

    # ---- now

    def _started(self, ways: Sequence[NodeRequest], batch: BatchJob) -> Placed | None:
        for wanted in ways:
            placed = self._start_as_planned(wanted, batch) or self._start(wanted)
            if placed is not None:
                return placed
        for wanted in ways:
            uneven = spread(batch, self._partitions[wanted.ask.partition], wanted)
            placed = None if uneven is None else self._start(uneven, is_uneven=True)
            if placed is not None:
                return placed
        return None

    def _start_as_planned(self, wanted: NodeRequest, batch: BatchJob) -> Placed | None:
        """Return a start on the nodes that the scheduler has planned for it, where they would do now."""
        if len(batch.nodes) != wanted.nodes or wanted.ask.required:
            return None
        kind = self._kind(wanted.ask)
        if kind.is_hopeless(wanted):
            return None
        nodes = [self._by_name[name] for name in batch.nodes if name in self._by_name]
        fitting = [
            node
            for node in nodes
            if wanted.ask.partition in node.partitions
            and wanted.ask.could_use(node)
            and node.span(wanted.ask.on(node), self._now, kind.passes) >= wanted.length
        ]
        if len(fitting) < wanted.nodes:
            return None
        placed = _placed(kind, fitting, wanted, self._now)
        self._book(kind, placed, wanted)
        return placed

    def _start(self, wanted: NodeRequest, *, is_uneven: bool = False) -> Placed | None:
        kind = self._kind(wanted.ask)
        if kind.is_hopeless(wanted):
            return None
        chosen = self._free_now(kind, wanted)
        if not chosen:
            kind.fail(wanted, self._now)
            return None
        placed = _placed(kind, chosen, wanted, self._now)
        if is_uneven and not placed.in_the_way:
            return None  # the scheduler would have started it there, if it could be spread
        self._book(kind, placed, wanted)
        return placed

    def _free_now(self, kind: AskNodes, wanted: NodeRequest) -> list[NodeTime]:
        """Return nodes on which `wanted` can start now; none where there are too few."""
        now, length, on = self._now, wanted.length, kind.ask.on
        candidates = kind.now
        while kind.first < len(candidates) and not covers(candidates[kind.first].left_now, on(candidates[kind.first])):
            kind.first += 1
        missing = set(wanted.ask.required)
        chosen = [node for node in candidates[kind.first :] if node.name in missing] if missing else []
        if len(chosen) < len(missing) or any(node.span(on(node), now, kind.passes) < length for node in chosen):
            return []
        in_all = NOTHING
        cpus = 0 if kind.ask.is_exclusive else kind.ask.each[0]
        for place in range(kind.first, len(candidates)):
            if len(chosen) >= wanted.nodes and covers(in_all, wanted.in_all):
                break
            node = candidates[place]
            self._now_work += 1
            if node.left_now[0] < cpus or node.left_now[0] <= 0 or node.name in missing:
                continue
            if node.span(on(node), now, kind.passes) >= length:
                chosen.append(node)
                in_all = plus(in_all, node.left_now) if wanted.in_all != NOTHING else in_all
        return chosen if len(chosen) >= wanted.nodes and covers(in_all, wanted.in_all) else []

    # ---- later

    def _reserved(
        self, ways: Sequence[NodeRequest], batch: BatchJob, after: float, *, is_booked: bool = True
    ) -> Placed | None:
        times = [(self._earliest(wanted, after), number) for number, wanted in enumerate(ways)]
        at, number = min(times, default=(inf, 0))
        if at - self._now > HORIZON_S:
            return None
        wanted = ways[number]
        kind = self._kind(wanted.ask)
        placed = _placed(kind, self._chosen(kind, wanted, at, batch.nodes), wanted, at)
        if is_booked:
            self._book(kind, placed, wanted)
        return placed

    def _earliest(self, wanted: NodeRequest, after: float) -> float:
        """Return when `wanted` can start first; infinite where that cannot be told."""
        kind = self._kind(wanted.ask)
        if kind.order is None:
            if self._ordered >= KINDS:
                return inf
            self._ordered += 1
        for _ in range(_ROUNDS):
            at = inf if self._later_work > LATER_WORK else self._enough(kind, wanted, after)
            if at in {after, inf}:  # as many as it takes are free together then
                return at
            after = at
        return inf

    def _enough(self, kind: AskNodes, wanted: NodeRequest, after: float) -> float:
        """Return by when enough nodes have been free for `wanted`, each at some moment since `after`."""
        on, missing = kind.ask.on, set(wanted.ask.required)
        others = wanted.nodes - len(missing)
        required_at = after
        late: list[float] = []  # a heap: when nodes can be had again that are booked or reserved before
        for at, _, node in kind.plain_order(self._now):
            if others <= 0 and not missing:
                break
            self._later_work += 1
            while late and (late[0] <= at or late[0] <= after):
                others, then = others - 1, heappop(late)
                if others == 0 and not missing:
                    return max(then, required_at)
            begin = plain = at if at > after else after
            if plain < node.opens_at:
                begin = node.free_from(on(node), wanted.length, plain, kind.passes)
            if missing and node.name in missing:
                missing.discard(node.name)
                required_at = max(required_at, begin)
            elif begin > plain:
                heappush(late, begin)
            else:
                others -= 1
                if others == 0 and not missing:
                    return max(begin, required_at)
        if missing or len(late) < others:
            return inf
        return max(required_at, nsmallest(others, late)[-1] if others > 0 else after)

    def _chosen(self, kind: AskNodes, wanted: NodeRequest, at: float, planned: Sequence[str]) -> list[NodeTime]:
        """Return the nodes of a start at `at`: those of the scheduler's own plan, then those that are free last."""
        fitting = []
        for free_at, _, node in kind.plain_order(self._now):
            if free_at > at:
                break
            if at >= node.opens_at or node.free_from(kind.ask.on(node), wanted.length, at, kind.passes) <= at:
                fitting.append((-free_at, node))
        self._later_work += len(fitting)
        first, then = {*wanted.ask.required}, {*planned}
        best = nsmallest(
            wanted.nodes,
            fitting,
            key=lambda pair: (pair[1].name not in first, pair[1].name not in then, pair[0], kind.cost(pair[1], at)),
        )
        return [node for _, node in best]

    def _book(self, kind: AskNodes, placed: Placed, wanted: NodeRequest) -> None:
        is_whole = wanted.in_all != NOTHING  # spread unevenly, it takes all that is free
        for node in placed.nodes:
            taken = node.left(placed.at) if is_whole else node.total if kind.ask.is_exclusive else kind.ask.each
            node.book(Booking(placed.at, placed.at + wanted.length, taken), self._now)


def _placed(kind: AskNodes, nodes: Sequence[NodeTime], wanted: NodeRequest, at: float) -> Placed:
    until = at + wanted.length
    is_whole = wanted.in_all != NOTHING  # spread unevenly, it takes all that is free
    held = [
        node
        for node in nodes
        if node.pilots and (is_whole or node.is_in_the_way(kind.ask.on(node), at, until, kind.passes))
    ]
    return Placed(at, tuple(nodes), tuple(held))


def _largest(nodes: Sequence[NodeTime]) -> Amount:
    return (
        max(node.total[0] for node in nodes),
        max(node.total[1] for node in nodes),
        max(node.total[2] for node in nodes),
    )
