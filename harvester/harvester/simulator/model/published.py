"""HPC-Whisk's published model of an idle log (SC22 artifact): clairvoyant and greedy.

It knows each gap's length beforehand, counts in samples and not in seconds, and fills a gap with the longest length
that still fits until the rest is shorter than the shortest. No daemon can do that: it is here so that our figures stand
beside theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.idle_log import IdleLog
from harvester.simulator.measures import Tally, gap_quantiles
from harvester.simulator.report.report import Report

_A_MINUTE = 6  # samples; the artifact takes ten seconds for each, whatever the log's own clock says
_WARM_UP = 2  # samples from a pilot's start until it is ready


def simulate_published(log: IdleLog, lengths: Sequence[timedelta], *, nodes: int | None = None) -> Report:
    """Return what pilots of `lengths` would have had of `log`.

    Parameters
    ----------
    lengths: the walltimes of pilots, whole minutes.
    nodes: size of the cluster; by default what the log tells, counted as the artifact does (highest number, from 0).

    Raises `SimulationError` where a length is no whole number of minutes, or nobody was ever idle.
    """
    fits = sorted((_in_samples(length) for length in lengths), reverse=True)
    if not fits:
        raise SimulationError("--lengths is empty: name at least one length in minutes")
    gaps = log.gaps()
    if not gaps:
        raise SimulationError(f"{log.source} shows no idle node in that time")
    tally, pilots = _counted([gap.samples for gap in gaps], fits)
    idle, ready = tally.idle, tally.ready
    count = len(log.times)
    node_count = nodes or log.node_count
    return Report(
        source=log.source,
        model="published",
        policy="fib",
        mode="preemptible",
        from_at=log.times[0],
        to_at=log.ends_at,
        nodes=node_count,
        idle_share=idle / count / node_count,
        mean_free_nodes=idle / count,
        ready_bound=tally.share(tally.bound),
        ready_share=tally.share(ready),
        warming_share=tally.share(tally.warming),
        covered_share=tally.share(ready + tally.warming),
        pilots=pilots,
        evictions=0,
        starts_a_day=pilots / max(log.ends_at - log.times[0], 1.0) * 86_400,
        gaps=len(gaps),
        gap_length_s=gap_quantiles([gap.length_s for gap in gaps]),
        harvested_node_h=ready / count * (log.ends_at - log.times[0]) / 3600,
        parameters={"lengths_min": [length / _A_MINUTE for length in sorted(fits)], "warm_up_samples": _WARM_UP},
        skipped=log.skipped,
    )


def _counted(gaps: Sequence[int], fits: Sequence[int]) -> tuple[Tally, int]:
    """Return the samples of gaps that are filled with pilots, and how many pilots that takes."""
    pilots = warming = ready = 0
    for samples in gaps:
        for length in fill(samples, fits):
            pilots += 1
            warming += _WARM_UP
            ready += length - _WARM_UP
    bound = sum(max(0, samples - _WARM_UP) for samples in gaps)
    return Tally(idle=sum(gaps), ready=ready, warming=warming, bound=bound), pilots


def fill(samples: int, fits: Sequence[int]) -> list[int]:
    """Return the lengths, in samples, that are put into a gap of `samples`; `fits` is sorted, longest first."""
    chosen: list[int] = []
    left = samples
    for length in fits:
        count, left = divmod(left, length)
        chosen += [length] * count
    return chosen


def _in_samples(length: timedelta) -> int:
    minutes = length / timedelta(minutes=1)
    if minutes <= 0 or minutes * _A_MINUTE != int(minutes * _A_MINUTE) or minutes * _A_MINUTE <= _WARM_UP:
        raise SimulationError(
            f"a length of {minutes:g} min is impossible in the published model: it takes multiples of 10 s, "
            f"above {_WARM_UP * 10} s"
        )
    return int(minutes * _A_MINUTE)
