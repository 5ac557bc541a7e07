"""A stretch of an idle log, small enough for a one-machine cluster: which part, which nodes, and what makes it. Pure.

The part and its nodes are drawn from a seed, several times over, and the draw is taken whose gaps are most like the
log's: nodes that were idle at some time, as most of a large cluster never is in an hour.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence

import msgspec

from harvester.simulator.inputs.idle_log import IdleLog

DRAWS = 40


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that are busy from one moment to another, as seconds of the stretch: a prime job's."""

    begin_s: float
    end_s: float
    nodes: tuple[str, ...]


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What is replayed. Its log counts seconds from 0, when no node is idle; the log's own part begins at `lead_s`."""

    log: IdleLog
    from_at: float  # in the time of the whole log
    lead_s: float
    distance: float  # of its gaps' lengths from the whole log's: the greatest difference of the two distributions


def pick(log: IdleLog, *, seconds: float, nodes: int, seed: int, lead_s: float) -> Stretch:
    """Return a stretch of `seconds` with `nodes` nodes. Raises `ValueError` where the log has none.

    Parameters
    ----------
    lead_s: no node is idle for so long before it, so that a daemon finds what it would find on a running cluster.
    """
    chance = random.Random(seed)  # noqa: S311 - a choice to be repeated, no secret
    usual = _usual_lengths(log, seconds)
    best: Stretch | None = None
    for _ in range(DRAWS):
        from_at = chance.uniform(log.times[0], log.ends_at - seconds)
        part = log.between(from_at, from_at + seconds)
        idle = sorted(frozenset[str]().union(*part.idle))
        if len(idle) < nodes:
            continue
        chosen = made(part, chance.sample(idle, nodes), lead_s)
        distance = kolmogorov(sorted(gap.length_s for gap in chosen.gaps()), usual)
        if best is None or distance < best.distance:
            best = Stretch(log=chosen, from_at=part.times[0], lead_s=lead_s, distance=distance)
    if best is None:
        raise ValueError(f"{log.source}: no stretch of {seconds:.0f} s in which {nodes} nodes were idle at some time")
    return best


def _usual_lengths(log: IdleLog, seconds: float) -> list[float]:
    """Return the lengths of all gaps, cut where stretches of `seconds` would cut them."""
    lengths: list[float] = []
    begin = log.times[0]
    while begin + seconds <= log.ends_at:
        lengths += [gap.length_s for gap in log.between(begin, begin + seconds).gaps()]
        begin += seconds
    return sorted(lengths)


def made(part: IdleLog, nodes: Sequence[str], lead_s: float) -> IdleLog:
    """Return `part` with these nodes only, called n1, n2 …, from `lead_s` on; before that none is idle."""
    names = {node: f"n{number}" for number, node in enumerate(nodes, 1)}
    idle = [frozenset(names[node] for node in sample & names.keys()) for sample in part.idle]
    start = part.times[0] - lead_s
    # The lead has as many samples as the part has for such a time, so that the mean time between them is the same.
    count = max(1, round(lead_s / part.period_s)) if part.period_s else 1
    lead = [number * lead_s / count for number in range(count)]
    return msgspec.structs.replace(
        part,
        times=(*lead, *(time - start for time in part.times)),
        idle=(*[frozenset[str]()] * count, *idle),
        node_count=len(nodes),
    )


def kolmogorov(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the greatest difference of the distributions of two sorted samples; 1 where one is empty."""
    if not one or not other:
        return 1.0
    return max(
        abs(bisect.bisect_right(one, value) / len(one) - bisect.bisect_right(other, value) / len(other))
        for value in {*one, *other}
    )


def busy(log: IdleLog) -> list[Busy]:
    """Return the complement of the gaps in the order of its begins; nodes that are busy together are one job's."""
    idle: dict[str, list[tuple[float, float]]] = {f"n{number}": [] for number in range(1, log.node_count + 1)}
    for gap in log.gaps():
        idle[gap.node].append((gap.opens_at, gap.closes_at))
    found: dict[tuple[float, float], list[str]] = {}
    for node, gaps in idle.items():
        at = log.times[0]
        for opens_at, closes_at in [*sorted(gaps), (log.ends_at, log.ends_at)]:
            if opens_at > at:
                found.setdefault((at, opens_at), []).append(node)
            at = closes_at
    return [Busy(begin_s=begin, end_s=end, nodes=tuple(nodes)) for (begin, end), nodes in sorted(found.items())]
