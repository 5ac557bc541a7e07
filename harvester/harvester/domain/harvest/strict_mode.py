"""Strict mode: no preemption at the site, so a pilot has ended before its window does, by a margin.

Pure. A pilot is bound to the node of a window whose end is planned, and to a time by which it must have ended: where
the scheduler would start it too late for that, it does not start it at all. Windows without a known end are left alone,
because nobody could take the node back.
"""

from __future__ import annotations

import math
from datetime import timedelta

from msgspec.structs import replace

from harvester.domain.cluster.windows import Window
from harvester.domain.harvest.planning import CancelPilot, KnownPilot, Shape, Situation, SubmitPilot
from harvester.domain.harvest.yielding_mode import starting
from harvester.domain.model.pilots import PilotState

A_WINDOW = 5  # pilots that may wait for one window: of different lengths, as nobody knows when the scheduler comes by


class StrictRules:
    """What strict mode allows in one situation."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._settings = situation.settings
        self._now = situation.now
        self._margin = situation.settings.window_margin.total_seconds()
        self._contention = situation.contention
        self._starting = starting(situation, self._now)
        closed = [window for window in situation.windows if window.until_at is not None]
        self._windows = sorted(closed, key=lambda window: (window.left(self._now), window.node))
        self._by_node: dict[str, list[Window]] = {}
        for window in self._windows:
            self._by_node.setdefault(window.node, []).append(window)
        waiting = sum(pilot.is_pending for pilot in situation.pilots)
        self._room = A_WINDOW * len(self._windows) - waiting
        self._used: dict[str, int] = {}

    # ---- submissions

    def fitted(self, wish: SubmitPilot, shape: Shape) -> tuple[SubmitPilot | None, str]:
        """Return `wish` as it may be submitted, cut to a window where it does not say which; or why it may not."""
        if not self._windows:
            return None, "mode = strict, and there is no window with a known end"
        if self._room <= 0:
            return None, "mode = strict, and enough pilots wait for every window with a known end"
        order = self._as_wished(wish, shape) if wish.nodes else self._cut(wish, shape)
        if order is None:
            return None, "mode = strict, and no window with a known end is long enough"
        self._room -= 1
        for name in order.nodes:
            self._used[name] = self._used.get(name, 0) + 1
        return order, ""

    def _as_wished(self, wish: SubmitPilot, shape: Shape) -> SubmitPilot | None:
        ends = [self._latest_end(name, wish, shape) for name in wish.nodes]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends) or not known:
            return None
        end_by = min(known) if wish.end_by is None else min(wish.end_by, *known)
        return replace(wish, end_by=end_by) if self._now + wish.walltime.total_seconds() <= end_by else None

    def _latest_end(self, node: str, wish: SubmitPilot, shape: Shape) -> float | None:
        ends = [
            window.until_at - self._margin
            for window in self._by_node.get(node, ())
            if window.until_at is not None and self._is_for(window, shape)
            if max(self._now, window.from_at) + wish.walltime.total_seconds() <= window.until_at - self._margin
        ]
        return min(ends, default=None)

    def _cut(self, wish: SubmitPilot, shape: Shape) -> SubmitPilot | None:
        """Return `wish` for the shortest window that holds all of it, else cut to the longest that is left."""
        free = [window for window in self._windows if self._is_for(window, shape) and not self._used.get(window.node)]
        wanted = wish.walltime.total_seconds()
        holding = [window for window in free if self._length(window) >= wanted]
        window = holding[0] if holding else max(free, key=self._length, default=None)
        if window is None or window.until_at is None:
            return None
        length = min(wanted, self._length(window))
        if length < max(self._situation.snapshot.grain.total_seconds(), 2 * self._settings.boot.total_seconds()):
            return None
        return replace(
            wish,
            walltime=timedelta(seconds=length),
            time_min=wish.time_min if wish.time_min is not None and wish.time_min.total_seconds() <= length else None,
            nodes=(window.node,),
            end_by=window.until_at - self._margin,
        )

    def _length(self, window: Window) -> float:
        grain = self._situation.snapshot.grain.total_seconds()
        left = window.left(self._now) - self._margin - self._settings.cycle.total_seconds()
        return math.floor(left / grain) * grain

    def _is_for(self, window: Window, shape: Shape) -> bool:
        return shape.partition in window.partitions and shape.resources.fits(window.resources)

    def held(self) -> dict[str, str]:
        """Return nobody: a pilot that waits is bound to its window, and leaves the queue where that is gone."""
        return {}

    # ---- departures

    def departures(self) -> list[CancelPilot]:
        """Return the pilots that can no longer keep to their window: in the queue for too long, or wanted earlier."""
        found = []
        for pilot in self._situation.pilots:
            why = self._keeps_off(pilot) if pilot.is_pending else self._is_wanted(pilot)
            if why:
                found.append(CancelPilot(pilot_id=pilot.pilot_id, why=why))
        return found

    def _keeps_off(self, pilot: KnownPilot) -> str:
        """Return why a pilot that waits must leave the queue."""
        if pilot.end_by is None:
            return "it was submitted without a time by which it must have ended, and mode = strict"
        if self._now + pilot.walltime.total_seconds() > pilot.end_by:
            return "started now, it would outlive its window"
        for name in pilot.bound_to:
            claim = self._contention.claims.get(name)
            if claim is not None and claim.at - self._margin < self._now + pilot.walltime.total_seconds():
                return f"its window is shorter than was planned: {claim.why}"
        batch_job_id = None if pilot.bound_to else self._starting.get(pilot.partition)
        return f"batch job {batch_job_id} is about to start on nodes that it could take" if batch_job_id else ""

    def _is_wanted(self, pilot: KnownPilot) -> str:
        claim = self._contention.wanted.get(pilot.node)
        if claim is None or pilot.state is PilotState.DRAINING or claim.at - self._margin > self._now:
            return ""
        if pilot.ends_at is not None and pilot.ends_at <= claim.at - self._margin:
            return ""
        return f"its node is wanted earlier than was planned: {claim.why}"
