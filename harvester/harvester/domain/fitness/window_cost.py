"""What the windows of this moment are worth, and what of it each mode could use. Pure.

The windows are those that `harvester windows` shows; what strict mode makes of one is as in `harvest.strict_mode`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.cluster.windows import Window, compute
from harvester.domain.fitness.findings import Finding, Topic, note, ok, warning
from harvester.domain.fitness.sentences import counted, span
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings


class WindowWorth(msgspec.Struct, frozen=True, kw_only=True):
    """The windows in which a pilot of some shape fits, up to the longest pilot."""

    windows: int = 0
    closed: int = 0  # of these, with an end that is known
    node_hours: float = 0.0  # of all of them
    strict_node_hours: float = 0.0  # of these, what strict mode could use


def window_worth(snapshot: ClusterSnapshot, settings: HarvestSettings) -> WindowWorth:
    """Return what the windows of a look are worth to pilots."""
    now, most_s = snapshot.taken_at, settings.longest.total_seconds()
    fit = [window for window in compute(snapshot, now) if _fits(window, settings)]
    lasting = [min(window.left(now), most_s) for window in fit]
    return WindowWorth(
        windows=len(fit),
        closed=sum(window.until_at is not None for window in fit),
        node_hours=sum(lasting) / 3600,
        strict_node_hours=sum(_strict_s(window, snapshot, settings) for window in fit) / 3600,
    )


def _fits(window: Window, settings: HarvestSettings) -> bool:
    return any(
        shape.partition in window.partitions and shape.resources.fits(window.resources) for shape in settings.shapes
    )


def _strict_s(window: Window, snapshot: ClusterSnapshot, settings: HarvestSettings) -> float:
    if window.until_at is None:
        return 0.0
    grain = snapshot.grain.total_seconds()
    left = window.left(snapshot.taken_at) - settings.window_margin.total_seconds() - settings.cycle.total_seconds()
    usable = math.floor(min(left, max(settings.lengths).total_seconds()) / grain) * grain
    return usable if usable >= max(grain, 2 * settings.boot.total_seconds()) else 0.0


def of_the_windows(snapshot: ClusterSnapshot, settings: HarvestSettings) -> Iterator[Finding]:
    """Yield what could be harvested now, and what `strict` would give away of it."""
    worth = window_worth(snapshot, settings)
    if not worth.windows:
        if settings.shapes:
            yield note(Topic.WINDOWS, "no node is free for pilots now, so nothing is known of the windows here")
        return
    text = (
        f"{counted(worth.windows, 'window')} now, {worth.node_hours:.1f} node-hours within {span(settings.longest)}; "
        f"strict could use {worth.strict_node_hours:.1f} of them, because {worth.closed} of {worth.windows} have a "
        "known end"
    )
    if settings.mode is HarvestMode.STRICT and not worth.strict_node_hours:
        remedy = 'write harvest.mode = "yielding" where prime jobs may wait for some seconds'
        yield warning(Topic.WINDOWS, text, remedy)
    else:
        yield ok(Topic.WINDOWS, text)
