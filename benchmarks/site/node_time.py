"""Node-time: stretches of time on nodes, added, cut and taken away. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Stretch = tuple[float, float]
"""From one moment to another, in Unix seconds."""


def union(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return the same time as stretches that do not touch, in order; empty ones are left out."""
    found: list[Stretch] = []
    for begin, end in sorted(each for each in stretches if each[0] < each[1]):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def without(stretches: Iterable[Stretch], taken: Iterable[Stretch]) -> list[Stretch]:
    """Return what is in `stretches` and not in `taken`."""
    left = union(stretches)
    for begin, end in union(taken):
        parts = [((a, min(b, begin)), (max(a, end), b)) for a, b in left]
        left = union(part for pair in parts for part in pair)
    return left


def common(one: Iterable[Stretch], other: Iterable[Stretch]) -> list[Stretch]:
    """Return what is in both."""
    mine = union(one)
    return without(mine, without(mine, other))


def length_s(stretches: Iterable[Stretch]) -> float:
    """Return how long they are together, counting nothing twice."""
    return sum(end - begin for begin, end in union(stretches))


def share(of: Mapping[str, Sequence[Stretch]], what: Mapping[str, Sequence[Stretch]]) -> float:
    """Return which share of the node-time `of` is also in `what`; both by node. 0 of no time."""
    all_s = sum(length_s(stretches) for stretches in of.values())
    had_s = sum(length_s(common(stretches, what.get(node, ()))) for node, stretches in of.items())
    return had_s / all_s if all_s else 0.0


def ready(pilots: Iterable[Mapping[str, Any]], until: float) -> dict[str, list[Stretch]]:
    """Return by node when pilots were ready, of the gateway's documents; those that have not ended, `until`."""
    found: dict[str, list[Stretch]] = {}
    for pilot in pilots:
        if pilot["registered_at"] is not None:
            ended_at = until if pilot["ended_at"] is None else pilot["ended_at"]
            found.setdefault(pilot["node"], []).append((pilot["registered_at"], min(until, ended_at)))
    return found
