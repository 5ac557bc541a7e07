"""The planner: a policy's plan, held to what no policy may break.

Owns the order: cancellations come first, because they make room under the caps. What is forbidden is `brakes`'s. A
policy may be another package's: one that fails still lets pilots leave that must.
"""

from __future__ import annotations

from msgspec.structs import replace

from harvester.domain.harvest.brakes import Brakes
from harvester.domain.harvest.modes import settings_of
from harvester.domain.harvest.planning import CancelPilot, Plan, Policy, PolicyError, Situation, SubmitPilot


def decide(policy: Policy, situation: Situation, *, paused: str = "") -> Plan:
    """Return the plan of `policy` for `situation`, without what the brakes forbid.

    Parameters
    ----------
    paused: why nothing is submitted; empty while something may be. Pilots are still let go while paused.

    Raises nothing for a policy that does: see `Plan.failure`.
    """
    settings = settings_of(situation.settings)
    if settings != situation.settings:  # else its windows, which the caller may have looked at, are computed twice
        situation = replace(situation, settings=settings)
    brakes = Brakes(situation, paused)
    departures = brakes.departures()
    wish = _wish(policy, situation)
    wanted = {effect.shape for effect in wish.effects if isinstance(effect, SubmitPilot)}
    cancels = [brakes.cancellation(effect, wanted) for effect in wish.effects if isinstance(effect, CancelPilot)]
    submissions = [brakes.submission(effect) for effect in wish.effects if isinstance(effect, SubmitPilot)]
    effects = (*departures, *cancels, *submissions)
    return Plan(
        effects=tuple(effect for effect in effects if effect is not None),
        held=brakes.held(),
        notes=tuple(dict.fromkeys((*brakes.notes(), *wish.notes))),
        failure=wish.failure,
    )


def _wish(policy: Policy, situation: Situation) -> Plan:
    """Return the policy's plan, with `failure` where it raised or asked for what there is not."""
    try:
        wish: object = policy.plan(situation)
        if not isinstance(wish, Plan):
            return Plan(failure=PolicyError(f"plan() returned a {type(wish).__name__}, not a Plan"))
    except Exception as error:  # noqa: BLE001 - a border: it may be another package's, and the caller tells of it
        return Plan(failure=error)
    shapes = [shape.name for shape in situation.settings.shapes]
    asked = {effect.shape for effect in wish.effects if isinstance(effect, SubmitPilot)}
    unknown = sorted(asked.difference(shapes))
    if not unknown:
        return wish
    words = f"it asks for pilots of the shape {unknown[0]!r}, which is not there; there are {', '.join(shapes)}"
    return replace(wish, failure=PolicyError(words))
