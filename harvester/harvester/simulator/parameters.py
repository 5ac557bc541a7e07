"""Parameters: what a simulation is told, the same for every policy. Checks them; knows no model."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import msgspec

from harvester.domain.harvest.planning import HarvestMode
from harvester.simulator.errors import SimulationError
from harvester.simulator.measures import positive, share

PUBLISHED_LENGTHS = tuple(timedelta(minutes=minutes) for minutes in (2, 4, 6, 8, 14, 22, 34, 56, 90))
"""HPC-Whisk's set A1."""

_MOST_LENGTHS = 1000


class TimeMin(StrEnum):
    """What backfill gives a pilot that was submitted with --time-min."""

    MINIMUM = "minimum"  # exactly the minimum: Slurm 20.11 to 25.05.4, measured
    LARGEST = "largest"  # the largest fit: from 25.05.5 on


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """How scheduler, pilots and daemon behave."""

    lengths: tuple[timedelta, ...] = PUBLISHED_LENGTHS  # what a policy may choose from; `gap` also cuts its own
    nodes: int | None = None  # size of the cluster; None: as the idle log tells
    cycle_s: float = 10.0  # from one look of the scheduler at its queue to the next
    boot_s: float = 12.5  # from a pilot's start until it is ready (HPC-Whisk's figure)
    tick_s: float = 2.0  # from one look of the daemon to the next, while things change
    idle_tick_s: float = 15.0  # … while nothing does
    quiet_tick_s: float = 600.0  # … while nothing has for some time
    sched_delay_s: float = 3.0  # job trace: from a submission or an end until the scheduler acts (batch_sched_delay)
    block: int | None = None  # job trace: nodes that are simulated as one, for speed; None: as the size asks for
    granularity_s: float = 1.0  # the scheduler rounds walltimes up to this; Slurm: 60
    foresight: float = 0.0  # idle log: share of gap ends that the plan knows when the gap opens
    time_min: TimeMin = TimeMin.MINIMUM
    mode: HarvestMode = HarvestMode.PREEMPTIBLE
    grace_s: float = 60.0  # notice before a pilot is killed
    leave_s: float = 1.0  # a pilot that was asked to leave is gone after this, or after the grace time
    margin_s: float = 60.0  # strict: a pilot has ended so long before its window does
    daemon_dies_at: float | None = None  # job trace: after this share of the time nobody looks any more
    orphan_s: float | None = 30.0  # a pilot leaves so long after the daemon has died; None: it does not notice
    max_pending: int = 200
    max_pilots: int = 100_000
    max_time: timedelta = timedelta(hours=12)  # limit of the pilots' partition
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.lengths:
            raise SimulationError("--lengths is empty: name at least one length in minutes")
        if len(self.lengths) > _MOST_LENGTHS:
            raise SimulationError(f"--lengths names {len(self.lengths)} lengths; {_MOST_LENGTHS} are the most")
        for length in self.lengths:
            positive("a length (s)", length.total_seconds())
        for name in ("cycle_s", "tick_s", "idle_tick_s", "quiet_tick_s", "granularity_s", "max_pending", "max_pilots"):
            positive(name, getattr(self, name))
        for name in ("boot_s", "sched_delay_s", "grace_s", "leave_s", "margin_s"):
            positive(name, getattr(self, name), zero=True)
        if self.nodes is not None:
            positive("nodes", self.nodes)
        if self.block is not None:
            positive("block", self.block)
        positive("max_time (s)", self.max_time.total_seconds())
        share("foresight", self.foresight)
        if self.orphan_s is not None:
            positive("orphan_s", self.orphan_s, zero=True)
        if self.daemon_dies_at is not None:
            share("daemon_dies_at", self.daemon_dies_at)

    def document(self) -> dict[str, object]:
        """Return them as plain data, durations in seconds."""
        made: dict[str, object] = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name not in {"lengths", "max_time", "mode", "seed", "time_min"}
        }
        made["lengths_min"] = [length / timedelta(minutes=1) for length in sorted(self.lengths)]
        made["max_time_s"] = self.max_time.total_seconds()
        made["time_min"] = self.time_min.value
        return made
