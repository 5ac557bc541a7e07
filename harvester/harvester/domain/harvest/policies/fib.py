"""The fib policy: HPC-Whisk's first, as published (SC22). For each length of the set ten pilots wait in the queue.

Longer ones have the lower `nice`, so that the scheduler tries them first. It looks every 15 s and knows neither windows
nor demand: it harvests whatever there is. Needs `max_pending` of ten times the lengths.
"""

from __future__ import annotations

from collections import Counter

from harvester.domain.harvest.planning import Plan, Situation, SubmitPilot
from harvester.domain.harvest.policies.pace import is_due
from harvester.domain.harvest.policies.usable_shapes import usable_shapes

KEPT = 10  # pilots of each length that wait


class FibPolicy:
    """Ten pending of each length, longest first."""

    def plan(self, situation: Situation) -> Plan:
        """Return what to submit."""
        notes: list[str] = []
        shapes = usable_shapes(situation, notes)
        if not is_due(situation):
            return Plan(notes=tuple(notes))
        pending = Counter((pilot.shape, pilot.walltime) for pilot in situation.pilots if pilot.is_pending)
        effects = tuple(
            SubmitPilot(shape=shape.name, walltime=length, nice=rank, why=f"{KEPT} of {length} shall wait")
            for shape, lengths, _ in shapes
            for rank, length in enumerate(lengths)
            for _ in range(KEPT - pending[shape.name, length])
        )
        return Plan(effects=effects, notes=tuple(notes))
