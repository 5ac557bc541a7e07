"""Outlook: the windows of a situation, as its settings ask for them, and without the nodes that pilots keep out of.

Knows what `windows` must not: our pilots, the mode, and which nodes are excluded and why.
"""

from __future__ import annotations

from harvester.domain import windows
from harvester.domain.planning import HarvestMode, Situation
from harvester.domain.windows import Window


def windows_of(situation: Situation) -> tuple[Window, ...]:
    """Return the windows that pilots may be put into, open now or about to open by somebody's limit."""
    if situation.windows is not None:
        return situation.windows
    settings = situation.settings
    ours = {pilot.name for pilot in situation.pilots}
    found = windows.compute(
        situation.snapshot,
        situation.now,
        ours=ours,
        horizon=settings.cycle + settings.loop,
        is_cautious=settings.mode is HarvestMode.STRICT,
    )
    shunned = excluded_nodes(situation)
    return tuple(window for window in found if window.node not in shunned) if shunned else found


def excluded_nodes(situation: Situation) -> dict[str, str]:
    """Return the nodes that pilots keep out of, and why."""
    configured = dict.fromkeys(situation.settings.excluded_nodes, "it is in harvest.excluded_nodes")
    return {**configured, **situation.bad_nodes}
