"""Pace: the published policies act in a loop of 15 s, however often somebody asks them."""

from __future__ import annotations

from harvester.domain.harvest.planning import Situation

_SLACK = 0.5  # seconds: a tick that comes a little early is still the next turn of the loop


def is_due(situation: Situation) -> bool:
    """Return whether the loop's next turn has come since a pilot was last planned."""
    newest = max((pilot.planned_at for pilot in situation.pilots), default=float("-inf"))
    return newest >= situation.now or situation.now - newest >= situation.settings.loop.total_seconds() - _SLACK
