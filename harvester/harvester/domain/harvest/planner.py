"""The planner: a policy's plan, held to what no policy may break.

Owns the order: cancellations come first, because they make room under the caps. What is forbidden is `brakes`'s.
"""

from __future__ import annotations

from msgspec.structs import replace

from harvester.domain.harvest.brakes import Brakes
from harvester.domain.harvest.modes import settings_of
from harvester.domain.harvest.planning import CancelPilot, Plan, Policy, Situation, SubmitPilot


def decide(policy: Policy, situation: Situation, *, paused: str = "") -> Plan:
    """Return the plan of `policy` for `situation`, without what the brakes forbid.

    Parameters
    ----------
    paused: why nothing is submitted; empty while something may be. Pilots are still let go while paused.
    """
    settings = settings_of(situation.settings)
    if settings != situation.settings:  # else its windows, which the caller may have looked at, are computed twice
        situation = replace(situation, settings=settings)
    brakes = Brakes(situation, paused)
    departures = brakes.departures()
    wish = policy.plan(situation)
    wanted = {effect.shape for effect in wish.effects if isinstance(effect, SubmitPilot)}
    cancels = [brakes.cancellation(effect, wanted) for effect in wish.effects if isinstance(effect, CancelPilot)]
    submissions = [brakes.submission(effect) for effect in wish.effects if isinstance(effect, SubmitPilot)]
    effects = (*departures, *cancels, *submissions)
    return Plan(
        effects=tuple(effect for effect in effects if effect is not None),
        held=brakes.held(),
        notes=tuple(dict.fromkeys((*brakes.notes(), *wish.notes))),
    )
