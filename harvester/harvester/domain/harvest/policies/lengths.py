"""Lengths: which walltime the next pilot of a shape gets.

Longest first. A pilot that pends for longer than our patience shows that its length fits no gap, so the next ones take
the next shorter length (HPC-Whisk's *fib* submits the whole set; this walks down it only as far as the cluster asks).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from harvester.domain.cluster.snapshot import Partition
from harvester.domain.harvest.planning import HarvestSettings, KnownPilot, Need
from harvester.domain.model.pilots import PilotState


def required(need: Need, settings: HarvestSettings) -> timedelta:
    """Return how long a fresh pilot must be to run `need`; zero where any length will do."""
    if need.walltime is None or need.checkpoints:
        return timedelta(0)
    return need.walltime + settings.margin


def allowed(settings: HarvestSettings, partition: Partition) -> tuple[timedelta, ...]:
    """Return the lengths that `partition` takes, longest first.

    A partition shorter than the whole set gives its own limit: Slurm leaves a longer request pending for ever
    (PartitionTimeLimit).
    """
    limit = partition.max_time
    lengths = tuple(sorted({length for length in settings.lengths if limit is None or length <= limit}, reverse=True))
    return lengths or (() if limit is None else (limit,))


def is_stuck(pilot: KnownPilot, settings: HarvestSettings, now: float) -> bool:
    """Return whether `pilot` has waited in the queue for longer than our patience.

    One that waits for a limit of our account or QOS is not stuck: its length is not why it waits.
    """
    if pilot.state is not PilotState.QUEUED or pilot.held_by_limit:
        return False
    return now - pilot.pending_since > settings.patience.total_seconds()


def shorter(lengths: Sequence[timedelta], than: timedelta, at_least: timedelta) -> timedelta | None:
    """Return the longest of `lengths` below `than` that is still `at_least` so long."""
    return max((length for length in lengths if at_least <= length < than), default=None)


def choose(
    lengths: Sequence[timedelta],
    queue: Sequence[KnownPilot],
    at_least: timedelta,
    settings: HarvestSettings,
    now: float,
) -> timedelta | None:
    """Return the walltime of the next pilot, None where no length is enough.

    Parameters
    ----------
    lengths: what the partition takes, longest first.
    queue: the shape's pilots that are pending.
    at_least: what the work needs.
    """
    enough = [length for length in lengths if length >= at_least]
    if not enough:
        return None
    if not queue:
        return enough[0]
    newest = min(queue, key=lambda pilot: pilot.walltime)
    ceiling = newest.walltime
    if any(is_stuck(pilot, settings, now) for pilot in queue if pilot.walltime == ceiling):
        return shorter(enough, ceiling, at_least) or enough[-1]
    return next((length for length in enough if length <= ceiling), enough[-1])
