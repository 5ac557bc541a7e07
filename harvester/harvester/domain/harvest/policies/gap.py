"""The gap policy, ours: pilots cut to the windows that are there, and a standing reserve for those nobody foresees.

What it rests on. An eviction costs a pilot nothing but the boot of the next one, so where no end is known a long pilot
is the right one. A pilot that is longer than a window whose end the scheduler knows is never started, so those get
lengths that fit, and a few of them, as nobody knows when the scheduler comes by. Between a gap's opening and our next
look only pilots that wait already can be started, so a reserve waits, with lengths as gaps of this cluster have had.
In strict mode only windows with a known end are used, each by a pilot that is bound to its node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harvester.domain.harvest.planning import PENDING, CancelPilot, HarvestMode, KnownPilot, Plan, Situation
from harvester.domain.harvest.policies.queueing import Match, cancellations, match, submission
from harvester.domain.harvest.policies.targets import Planner, WantedPilot, why_none
from harvester.domain.harvest.policies.usable_shapes import Usable, usable_shapes
from harvester.domain.harvest.policies.wanted import by_demand


class GapPolicy:
    """Lengths cut to windows, and a reserve."""

    def plan(self, situation: Situation) -> Plan:
        """Return what to submit and cancel."""
        notes: list[str] = []
        shapes = usable_shapes(situation, notes)
        if situation.settings.is_unbounded:
            return _plan(situation, shapes, None, notes)
        demand = by_demand(situation)
        plan = _plan(situation, shapes, demand.waiting, [*notes, *demand.notes])
        return Plan(effects=(*demand.cancels, *plan.effects), notes=tuple(dict.fromkeys(plan.notes)))


def _plan(
    situation: Situation, shapes: Sequence[Usable], waiting: dict[str, list[float]] | None, notes: list[str]
) -> Plan:
    """Return the plan. `waiting`: the pilots that shall wait, by shape; None where there is no end of work."""
    settings = situation.settings
    pending = [pilot for pilot in situation.pilots if pilot.state in PENDING]
    room = max(0, min(settings.max_pending, settings.max_pilots - len(situation.pilots) + len(pending)))
    too_short = {usable.shape.name: why for usable in shapes if (why := why_none(situation, usable))}
    notes += [f"No pilots of shape {name}: {why}." for name, why in too_short.items()]
    shapes = [usable for usable in shapes if usable.shape.name not in too_short]
    if not shapes:
        return Plan(notes=tuple(notes))
    planner = Planner(situation, shapes, is_sparing=waiting is not None)
    targets = _limited(planner.for_windows(situation.windows, room), room)
    if waiting is None:
        targets += planner.reserve(room - sum(target.pilots for target in targets))
    else:
        targets = _limited(_as_wanted(planner, targets, waiting), room)
    if not targets and settings.mode is HarvestMode.STRICT:
        notes.append("No window with a known end is long enough for a pilot (mode = strict).")
    found = match(targets, pending)
    cancels = _cancels(found, room, pending, is_strict=settings.mode is HarvestMode.STRICT)
    longest = max(limits.longest for limits in planner.limits.values())
    missing = found.missing[: max(0, room - len(pending) + len(cancels))]
    submissions = [submission(target, longest) for target in missing]
    return Plan(effects=(*cancels, *submissions), notes=tuple(notes))


def _limited(targets: Iterable[WantedPilot], room: int) -> list[WantedPilot]:
    """Return the first targets, for `room` pilots in all."""
    found: list[WantedPilot] = []
    for target in targets:
        if room <= 0:
            break
        found.append(target if target.pilots <= room else target._replace(pilots=room))
        room -= target.pilots
    return found


def _as_wanted(planner: Planner, targets: list[WantedPilot], waiting: dict[str, list[float]]) -> list[WantedPilot]:
    """Return a target for each pilot that shall wait: in a window where one lasts long enough, else of the reserve."""
    chosen: list[WantedPilot] = []
    for shape, needs in waiting.items():
        mine = [target._replace(pilots=1) for target in targets if target.shape == shape for _ in range(target.pilots)]
        lengths = planner.limits.get(shape)
        for least in sorted(needs, reverse=True):
            fit = next((target for target in mine if target.length >= least), None)
            if fit is not None:
                mine.remove(fit)
                chosen.append(fit)
            elif lengths is not None and not planner.is_strict:
                longest = lengths.cut(lengths.longest)
                chosen.append(WantedPilot(shape, longest, max(least, longest * 0.5), longest, "for the next window"))
    return chosen


def _cancels(found: Match, room: int, pending: Sequence[KnownPilot], *, is_strict: bool) -> list[CancelPilot]:
    """Return which of the pilots that are good for nothing now make room, and all of them in strict mode."""
    if is_strict:
        return cancellations(found.surplus, len(found.surplus), "its window has closed, or is too short now")
    too_many = len(pending) + len(found.missing) - room
    return cancellations(found.surplus, too_many, "fits no window; makes room for a pilot that fits one")
