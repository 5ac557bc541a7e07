"""Targets: the pilots that should wait in the queue right now, each with the range of lengths that would do for it.

Pure geometry of windows: which shape a window takes, how long a pilot in it may be, and what the standing reserve for
windows that nobody foresees looks like. Knows nothing of the pilots that wait already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from harvester.domain.cluster.survival import Survival
from harvester.domain.cluster.windows import Window
from harvester.domain.harvest.planning import HarvestMode, Shape, Situation
from harvester.domain.harvest.policies.pilot_bins import how_many
from harvester.domain.harvest.policies.usable_shapes import Usable

STEPS = 5  # lengths for one window with a known end: nobody knows when within its cycle the scheduler comes by
FEWEST = 20  # pilots of the reserve, however calm the cluster was
BURSTS = 4  # the reserve is so many times the largest burst of gaps of late
NEAR = 0.95  # a pilot that waits will do for a rung of the ladder that is so near
_BOOTS = 1.5  # a pilot that lasts for less than this many boots is not worth one


class WantedPilot(NamedTuple):
    """A pilot that should wait."""

    shape: str
    length: float  # seconds; what is submitted where nothing waits
    low: float  # what waits already and lasts at least this …
    high: float  # … and at most this will do
    why: str
    pilots: int = 1  # so many of them
    node: str = ""
    end_by: float | None = None
    time_min: float | None = None  # the scheduler may cut it to this


class Lengths(NamedTuple):
    """The limits of lengths, in seconds."""

    shortest: float
    longest: float
    grain: float

    @property
    def least(self) -> float:
        """The shortest length that the scheduler keeps as it is."""
        return math.ceil(self.shortest / self.grain) * self.grain

    def cut(self, seconds: float) -> float:
        """Return the longest length of at most `seconds` that the scheduler keeps as it is; 0 where it is too short."""
        length = math.floor(min(seconds, self.longest) / self.grain + 1e-9) * self.grain
        return length if length >= self.shortest else 0.0


def limits(situation: Situation, usable: Usable) -> Lengths:
    """Return what a pilot of a shape may last."""
    settings, grain = situation.settings, situation.snapshot.grain.total_seconds()
    longest = settings.longest.total_seconds()
    if usable.limit is not None:
        longest = min(longest, usable.limit.total_seconds())
    return Lengths(shortest=max(grain, _BOOTS * settings.boot.total_seconds()), longest=longest, grain=grain)


def why_none(situation: Situation, usable: Usable) -> str:
    """Return why no pilot of a shape lasts long enough to be worth its boot; empty where one does."""
    found = limits(situation, usable)
    if found.cut(math.inf):
        return ""
    return (
        f"a pilot of it lasts for {found.longest:g} s at most, and one of less than {found.least:g} s is not worth "
        "its boot (harvest.boot_s, harvest.longest_min, the partition's limit)"
    )


def best_shape(window: Window, shapes: Sequence[Usable]) -> tuple[Shape, int] | None:
    """Return the shape that takes most of a window, GPUs before CPUs and few pilots before many, and how many fit."""
    best, best_key, best_count = None, (-1, -1, 0), 0
    for shape, _, _ in shapes:
        if shape.partition not in window.partitions:
            continue
        count = how_many(shape.resources, window.resources)
        key = (count * shape.resources.gpus, count * shape.resources.cpus, -count)
        if count and key > best_key:
            best, best_key, best_count = shape, key, count
    return None if best is None else (best, best_count)


class Planner:
    """Makes targets of windows."""

    def __init__(self, situation: Situation, shapes: Sequence[Usable], *, is_sparing: bool) -> None:
        self.now = situation.now
        self.settings = situation.settings
        self.shapes = shapes
        self.limits = {usable.shape.name: limits(situation, usable) for usable in shapes}
        self.is_strict = situation.settings.mode is HarvestMode.STRICT
        self.cycle = situation.settings.cycle.total_seconds()
        self.survival = situation.survival
        self.is_sparing = is_sparing  # one length a window: every pilot that waits may be one too many
        # Where backfill cuts a pilot to the window by itself, one kind of pilot is right for all of them.
        self.is_flexible = situation.snapshot.cuts_time_min and not self.is_strict

    def for_windows(self, windows: Iterable[Window], room: int) -> Iterator[WantedPilot]:
        """Yield targets for the windows that are there, those first that last longest.

        Parameters
        ----------
        room: how many pilots may wait. Where there are many windows, each has fewer lengths.
        """
        usual = self._usual_s()
        found: list[tuple[float, Window]] = []
        for window in windows:
            is_closed = window.until_at is not None and not self.is_flexible
            if is_closed or not self.is_strict:
                found.append((window.left(self.now) if is_closed else usual, window))
        found.sort(key=lambda pair: -pair[0])
        closed = sum(window.until_at is not None for _, window in found)
        count = 1 if self.is_sparing or not closed else max(1, min(STEPS, (room - len(found) + closed) // closed))
        for left, window in found:
            if window.until_at is None or self.is_flexible:
                yield from self._open(window)
            else:
                yield from self._closed(left, window, count)

    def _usual_s(self) -> float:
        """Return how long a window without a known end counts for, in seconds, when they are put in order.

        Where all of them get a pilot those go first, as they may last longest. Where few pilots are wanted, a window
        that is known to last goes before one that usually does not.
        """
        usual = self.survival.quantile(0.5) if self.is_sparing and self.survival is not None else None
        return math.inf if usual is None else usual

    def _open(self, window: Window) -> Iterator[WantedPilot]:
        fit = self._fit(window)
        if fit is not None:
            shape, count = fit
            why = f"{window.node} is free, with no end known" if window.until_at is None else f"{window.node} is free"
            yield self._long(shape.name, why, count)

    def _long(self, shape: str, why: str, count: int) -> WantedPilot:
        lengths = self.limits[shape]
        longest = lengths.cut(math.inf)
        least = lengths.least if self.is_flexible else None
        return WantedPilot(shape, longest, longest * 0.8, longest, why, count, time_min=least)

    def _closed(self, left: float, window: Window, steps: int) -> Iterator[WantedPilot]:
        fit = self._fit(window)
        if fit is None:
            return
        shape, count = fit
        lengths = self.limits[shape.name]
        end_by = None
        if self.is_strict and window.until_at is not None:
            left -= self.settings.window_margin.total_seconds()
            end_by = window.until_at - self.settings.window_margin.total_seconds()
        why = f"{window.node} is free for {left:.0f} s, then {window.why}"
        node = window.node if self.is_strict else ""
        for length, low, high in self._steps(left, lengths, steps):
            yield WantedPilot(shape.name, length, low, high, why, count, node, end_by)

    def _steps(self, left: float, lengths: Lengths, count: int) -> Iterator[tuple[float, float, float]]:
        """Yield lengths for a window, the longest first, each with the range of those that would do.

        The first fits if the scheduler comes by at once, the last if it takes its whole cycle.
        """
        if left >= lengths.longest + self.cycle:  # it ends before the window does, whenever it is started
            longest = lengths.cut(math.inf)
            yield longest, longest * 0.8, longest
            return
        step = max(lengths.grain, self.cycle / max(1, count - 1))
        for number in range(count):
            length = lengths.cut(left - (number * step if count > 1 else self.cycle))
            if not length:
                return
            yield length, length - step, min(left, length + step / 2)

    def _fit(self, window: Window) -> tuple[Shape, int] | None:
        if len(self.shapes) == 1 and window.is_whole and self.shapes[0].shape.resources == window.resources:
            shape = self.shapes[0].shape
            return (shape, 1) if shape.partition in window.partitions else None
        return best_shape(window, self.shapes)

    def reserve(self, most: int) -> Iterator[WantedPilot]:
        """Yield targets for windows that nobody foresees: long ones, and a ladder where ends tend to be known.

        Parameters
        ----------
        most: how many pilots they may be in all. They are as many as bursts of gaps have needed, or as configured.
        """
        survival, configured = self.survival, self.settings.reserve
        if self.is_strict:
            return
        learned = most if survival is None else max(FEWEST, math.ceil(BURSTS * survival.burst))
        count = min(most, learned if configured is None else configured)
        why = "for windows that nobody foresees"
        for place, usable in enumerate(self.shapes):
            name, mine = usable.shape.name, _part(count, place, len(self.shapes))
            climbing = 0 if survival is None or self.is_flexible else round(mine * survival.foreseen_share)
            rungs = _ladder(survival, self.limits[name], climbing) if survival is not None and climbing else []
            if mine > len(rungs):
                yield self._long(name, why, mine - len(rungs))
            for length in rungs:
                yield WantedPilot(name, length, length * NEAR, length / NEAR, why)


def _part(count: int, place: int, parts: int) -> int:
    """Return how many of `count` fall to one of `parts`; the first take what does not go into all."""
    return count // parts + (place < count % parts)


def _ladder(survival: Survival, lengths: Lengths, count: int) -> list[float]:
    """Return lengths that known windows have had when they opened, spread over their quantiles, the longest first."""
    found = survival.foreseen_quantiles([(number + 0.5) / count for number in range(count)])
    return [length for length in (lengths.cut(quantile) for quantile in reversed(found)) if length]
