"""The planner: a policy's plan, held to what no policy may break.

Owns the limits that protect the cluster: never more pilots, and never more pending, than the config says; no
submission while paused; a pilot that is starting is never cancelled (start-and-kill loops are what sites complain of).
"""

from __future__ import annotations

from harvester.domain.pilots import PilotState
from harvester.domain.planning import CancelPilot, Plan, Policy, Situation, SubmitPilot

_CANCELLABLE = frozenset({PilotState.QUEUED, PilotState.READY})


def decide(policy: Policy, situation: Situation, *, paused: str = "") -> Plan:
    """Return the plan of `policy` for `situation`, without what the limits forbid.

    Parameters
    ----------
    paused: why nothing is submitted; empty while something may be. Pilots are still let go while paused.
    """
    wish = policy.plan(situation)
    limits = _Limits(situation, paused)
    effects = tuple(effect for effect in wish.effects if limits.allow(effect))
    first = (f"Nothing is submitted: paused, {paused}",) if paused else ()
    return Plan(effects=effects, notes=(*first, *wish.notes))


class _Limits:
    """Counts what has been allowed so far."""

    def __init__(self, situation: Situation, paused: str) -> None:
        self.settings = situation.settings
        self.shapes = {shape.name for shape in situation.settings.shapes} - set(situation.closed)
        self.states = {pilot.pilot_id: pilot.state for pilot in situation.pilots}
        self.live = len(situation.pilots)
        self.pending = sum(pilot.is_pending for pilot in situation.pilots)
        self.is_paused = bool(paused)

    def allow(self, effect: SubmitPilot | CancelPilot) -> bool:
        """Tell whether `effect` keeps to the limits, and count it if it does."""
        if isinstance(effect, CancelPilot):
            return self.states.pop(effect.pilot_id, None) in _CANCELLABLE
        if self.is_paused or effect.shape not in self.shapes:
            return False
        if self.live >= self.settings.max_pilots or self.pending >= self.settings.max_pending:
            return False
        self.live += 1
        self.pending += 1
        return True
