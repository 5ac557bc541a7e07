"""Learning: what the durations of a function's runs mean for the pilots that it may go to.

A function that declares no walltime and does not checkpoint is kept from pilots that have less time left than its runs
hardly ever exceed, once enough of them were seen. That is a belief: where all pilots have less, and nothing of the
function has run for as long as one run would have taken, it is halved, so that one long run cannot shut a function out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from harvester.domain.dispatch.leasing import placement
from harvester.domain.dispatch.leasing.placement import Obstacle
from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.dispatch.queueing.lanes import FunctionEntry
from harvester.domain.dispatch.queueing.queues import Queues


def learn(queues: Queues, function: FunctionEntry, seconds: float) -> None:
    """Take the duration of one run into account."""
    duration = function.duration
    duration.learn(seconds)
    if duration.needs_s != function.shape.needs_s and function.learns_needs:
        queues.reshape(function)


def doubtful(queues: Queues, pilots: Collection[PilotEntry], margin_s: float, now: float) -> Iterator[FunctionEntry]:
    """Halve the learned needs that keep functions from every pilot, and yield those functions."""
    for shape in [shape for shape in queues.active if shape.needs_s]:
        obstacles = None
        waiting = [f for f in queues.functions.values() if any(lane.shape == shape for lane in f.lanes)]
        for function in waiting:
            if not function.learns_needs or function.leases or now - function.quiet_since <= shape.needs_s:
                continue
            if obstacles is None:
                obstacles = {placement.obstacle(shape, pilot, margin_s, now, in_line=True) for pilot in pilots}
            if None not in obstacles and Obstacle.TIME in obstacles:
                function.duration.doubt()
                function.quiet_since = now
                yield function
