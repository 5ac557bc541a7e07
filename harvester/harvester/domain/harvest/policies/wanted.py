"""Wanted: how many pilots the work there is asks for, as the demand policy counts them. Their lengths are another's."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from msgspec.structs import replace

from harvester.domain.harvest.planning import CancelPilot, Situation
from harvester.domain.harvest.policies.demand import PlanDraft

_NEVER = timedelta(days=3650)


class Wanted(NamedTuple):
    """What the queue shall hold."""

    waiting: dict[str, list[float]]  # by shape: for each pilot that shall wait, the seconds that it must last
    cancels: tuple[CancelPilot, ...]  # pilots that are not needed any more
    notes: tuple[str, ...]


def by_demand(situation: Situation) -> Wanted:
    """Count the pilots that shall wait in the queue, so that all work and what shall be ready finds one."""
    # Nothing is stuck for whoever cuts lengths to windows: what fits no window is replaced, not walked down from.
    draft = PlanDraft(replace(situation, settings=replace(situation.settings, patience=_NEVER)))
    draft.serve()
    draft.keep_ready()
    draft.let_go()
    cancels = tuple(effect for effect in draft.effects if isinstance(effect, CancelPilot))
    gone = {cancel.pilot_id for cancel in cancels}
    waiting: dict[str, list[float]] = {}
    for room in draft.rooms:
        if room.pilot is None or (room.pilot.is_pending and room.pilot.pilot_id not in gone):
            waiting.setdefault(room.shape, []).append(room.least.total_seconds())
    return Wanted(waiting, cancels, tuple(dict.fromkeys(draft.notes)))
