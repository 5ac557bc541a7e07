"""A stretch of an idle log and its complement, and when the controller started what."""

from datetime import datetime
from itertools import pairwise

import pytest
from benchmarks.replay import lost
from benchmarks.site import controller_log, idle_stretch
from benchmarks.site.idle_stretch import Busy
from hypothesis import given
from hypothesis import strategies as st

from harvester.simulator.inputs.idle_log import IdleLog

NODES = tuple(f"p{number:02}" for number in range(12))


def made(samples):
    """A log with a sample every 10 s; each bit of a number is a node that was idle, and at least four always were."""
    idle = [frozenset(node for bit, node in enumerate(NODES) if (bits | 0b1111) >> bit & 1) for bits in samples]
    times = tuple(1000.0 + 10.0 * step for step in range(len(samples)))
    return IdleLog(source="made up", times=times, idle=tuple(idle), node_count=len(NODES))


LOGS = st.lists(st.integers(0, 2 ** len(NODES) - 1), min_size=8, max_size=30).map(made)


@given(LOGS, st.integers(0, 100))
def test_gaps_and_busy_times_fill_the_stretch_and_do_not_overlap(log, seed):
    stretch = idle_stretch.pick(log, seconds=60.0, nodes=4, seed=seed, lead_s=25.0)
    gaps = stretch.log.gaps()
    busy = idle_stretch.busy(stretch.log)
    assert {gap.node for gap in gaps} == {"n1", "n2", "n3", "n4"}
    assert all(gap.opens_at >= 25.0 for gap in gaps)
    for node in ("n1", "n2", "n3", "n4"):
        parts = [(gap.opens_at, gap.closes_at) for gap in gaps if gap.node == node]
        parts += [(job.begin_s, job.end_s) for job in busy if node in job.nodes]
        parts.sort()
        assert parts[0][0] == 0.0
        assert parts[-1][1] == stretch.log.ends_at
        assert all(one[1] == pytest.approx(other[0]) for one, other in pairwise(parts))


def test_the_same_seed_picks_the_same_stretch_and_nodes_that_are_too_many_are_refused():
    log = IdleLog(source="x", times=(0.0, 10.0, 20.0), idle=(frozenset({"a", "b"}),) * 3, node_count=2)
    one, other = (idle_stretch.pick(log, seconds=20.0, nodes=2, seed=5, lead_s=10.0) for _ in range(2))
    assert one == other
    with pytest.raises(ValueError, match="no stretch"):
        idle_stretch.pick(log, seconds=20.0, nodes=3, seed=5, lead_s=10.0)


def test_nodes_that_are_busy_together_are_one_prime_job():
    log = IdleLog(
        source="x",
        times=(0.0, 10.0, 20.0),
        idle=(frozenset(), frozenset({"n1", "n2"}), frozenset()),
        node_count=3,
    )
    assert idle_stretch.busy(log) == [
        Busy(begin_s=0.0, end_s=10.0, nodes=("n1", "n2")),
        Busy(begin_s=0.0, end_s=30.0, nodes=("n3",)),
        Busy(begin_s=20.0, end_s=30.0, nodes=("n1", "n2")),
    ]


def test_the_distance_of_two_distributions():
    assert idle_stretch.kolmogorov([1, 2, 3], [1, 2, 3]) == 0.0
    assert idle_stretch.kolmogorov([1, 1], [2, 2]) == 1.0
    assert idle_stretch.kolmogorov([1, 2], [2, 3]) == 0.5
    assert idle_stretch.kolmogorov([], [2, 3]) == 1.0


def test_what_a_gap_loses_is_told_by_when():
    gaps = {"n1": [(0.0, 100.0)], "n2": [(0.0, 50.0)]}
    ready = {"n1": [(4.0, 40.0), (45.0, 200.0)]}
    assert lost(gaps, ready) == {"first": [4.0, 50.0], "later": [5.0, 0.0]}


def test_the_controllers_log_tells_starts_to_the_millisecond():
    lines = [
        "[2026-11-25T18:46:37.447] sched: Allocate JobId=1 NodeList=n[1-2] #CPUs=4 Partition=prime",
        "[2026-11-25T18:46:39.456] sched: Allocate JobId=2_0(5) NodeList=n3 #CPUs=1 Partition=prime",
        "[2026-11-25T18:46:40.406] sched/backfill: _start_job: Started JobId=6 in prime on n[7-8]",
        "[2026-11-25T18:46:41.406] _job_complete: JobId=6 WEXITSTATUS 0",
    ]
    found = controller_log.starts(lines)
    assert set(found) == {"1", "5", "6"}
    assert found["6"] == datetime.fromisoformat("2026-11-25T18:46:40.406").timestamp()
