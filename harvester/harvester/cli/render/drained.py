"""Pilots that are still on nodes that an admin has drained. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any


def pilots_on(nodes: Collection[str], pilots: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return, for each of `nodes` that still has pilots, these with their state: `pilot 5e6cd602 (draining)`."""
    found: dict[str, list[str]] = {}
    for pilot in pilots:
        node = pilot.get("node")
        if node in nodes and not pilot.get("ended_at"):
            name = str(pilot.get("pilot_id") or "").rpartition("-")[2]
            found.setdefault(str(node), []).append(f"pilot {name} ({pilot.get('state')})")
    return found
