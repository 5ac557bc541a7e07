"""The var policy: HPC-Whisk's second, as published (SC22). A hundred pilots of two minutes to two hours wait.

The scheduler is to cut each to the gap it finds (`time_min`). Slurm's backfill does so from 25.05.5 on; before, such a
pilot gets exactly its minimum, whatever the room. It looks every 15 s and knows neither windows nor demand.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from harvester.domain.harvest.planning import Plan, Situation, SubmitPilot
from harvester.domain.harvest.policies.pace import is_due
from harvester.domain.harvest.policies.usable_shapes import usable_shapes

KEPT = 100  # pilots that wait
SHORTEST = timedelta(minutes=2)
LONGEST = timedelta(minutes=120)


class VarPolicy:
    """A hundred pending of flexible length."""

    def plan(self, situation: Situation) -> Plan:
        """Return what to submit."""
        notes: list[str] = []
        shapes = usable_shapes(situation, notes)
        if not is_due(situation):
            return Plan(notes=tuple(notes))
        pending = Counter(pilot.shape for pilot in situation.pilots if pilot.is_pending)
        effects = tuple(
            SubmitPilot(
                shape=shape.name,
                walltime=LONGEST if limit is None else min(LONGEST, limit),
                time_min=SHORTEST if limit is None else min(SHORTEST, limit),
                why=f"{KEPT} shall wait",
            )
            for shape, _, limit in shapes
            for _ in range(KEPT - pending[shape.name])
        )
        return Plan(effects=effects, notes=tuple(notes))
