"""The report: what a simulation found. A frozen record, and its JSON.

Owns the names under which scripts find the figures. Knows no model: each fills in what it measured; `None` stands where
a model cannot know (an idle log tells nothing of prime jobs' waits).
"""

from __future__ import annotations

from typing import Any

import msgspec

from harvester.simulator.inputs.trace_file import Skipped
from harvester.simulator.measures import Series


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Pilots that were ready together."""

    ready_at: float
    ends_at: float
    count: int = 1
    is_evicted: bool = False  # they had to leave; otherwise their walltime, or our word, ended them


class History(msgspec.Struct, frozen=True, kw_only=True):
    """How it went over time, for plots and workloads. Not part of the JSON."""

    idle: Series
    ready: Series
    intervals: tuple[Interval, ...] = ()
    gap_lengths: tuple[tuple[float, int], ...] = ()  # seconds, and how many gaps lasted so long
    block: int = 1  # pilots and nodes that each interval stands for


class FunctionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a workload's invocations, of one function or of all."""

    invocations: int
    succeeded: int
    expired: int = 0  # waited for longer than they may
    unfinished: int = 0  # the simulated time was over first
    success_share: float = 0.0
    restarts: int = 0  # activations that an eviction or a walltime ended, each followed by another
    resumed: int = 0  # restarts that began from a checkpoint
    lost_work_s: float = 0.0  # run again, because no checkpoint held it
    lost_work_share: float = 0.0  # of all the time that slots worked
    latency_mean_s: float | None = None  # from the invocation to its result
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    wait_p99_s: float | None = None  # from the invocation to its first activation


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy made of one trace. Shares are of idle node-time unless said otherwise."""

    source: str
    model: str  # "published", "daemon", "cluster"
    policy: str
    mode: str
    from_at: float
    to_at: float
    nodes: int
    idle_share: float  # of all node-time: no prime job used it
    mean_free_nodes: float
    ready_bound: float  # one pilot a gap from the first scheduler cycle until it ends, less one boot
    ready_share: float
    warming_share: float
    covered_share: float  # ready or warming
    pilots: int  # started
    evictions: int
    starts_a_day: float
    gaps: int
    gap_length_s: dict[str, float]
    harvested_node_h: float  # ready node-hours in all
    harvested_node_h_a_week: float = 0.0
    prime_jobs: int = 0
    prime_delayed: int = 0  # start later than without harvest
    prime_delayed_over_grace: int = 0  # … by more than the grace time
    prime_wait_mean_s: float | None = None
    prime_wait_p99_s: float | None = None
    prime_wait_mean_off_s: float | None = None  # without harvest
    prime_wait_p99_off_s: float | None = None
    prime_delay_max_s: float | None = None
    prime_delay_mean_s: float | None = None  # of those that start later
    seed: int | None = None
    parameters: dict[str, Any] = {}
    skipped: Skipped = Skipped()
    functions: dict[str, FunctionFigures] | None = None  # by name, and "all"
    history: History | None = None

    def __post_init__(self) -> None:
        days = max(self.to_at - self.from_at, 1.0) / 86_400
        msgspec.structs.force_setattr(self, "harvested_node_h_a_week", self.harvested_node_h / days * 7)

    def document(self) -> dict[str, Any]:
        """Return the report as plain data, without its history."""
        made: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(self, history=None))
        del made["history"]
        if self.functions is None:
            del made["functions"]
        return made
