"""Usable shapes: those that may be submitted now, with the lengths that their partition takes."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from harvester.domain.harvest.planning import Shape, Situation
from harvester.domain.harvest.policies.lengths import allowed


class Usable(NamedTuple):
    """A shape that may be submitted."""

    shape: Shape
    lengths: tuple[timedelta, ...]  # longest first
    limit: timedelta | None  # of its partition


def usable_shapes(situation: Situation, notes: list[str]) -> list[Usable]:
    """Return the usable shapes in the order of preference, and add to `notes` why each of the others is none."""
    found = []
    for shape in situation.settings.shapes:
        partition = situation.snapshot.partition(shape.partition)
        why = situation.closed.get(shape.name, "")
        if partition is None:
            why = f"the scheduler has no partition {shape.partition!r}"
        elif not partition.is_up:
            why = f"partition {shape.partition!r} is down"
        elif shape.partition in situation.settings.excluded_partitions:
            why = f"partition {shape.partition!r} is in harvest.excluded_partitions"
        if why or partition is None:
            notes.append(f"No pilots of shape {shape.name}: {why}.")
        else:
            found.append(Usable(shape, allowed(situation.settings, partition), partition.max_time))
    return found
