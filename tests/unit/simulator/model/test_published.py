"""HPC-Whisk's published model, on a log that is small enough to count by hand."""

from datetime import timedelta

import pytest

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.idle_log import IdleLog
from harvester.simulator.model.published import fill, simulate_published

LENGTHS = (timedelta(minutes=2), timedelta(minutes=4))


def log(runs: dict[str, list[tuple[int, int]]], samples: int, node_count: int = 10) -> IdleLog:
    """Make a log with a sample every 10 s; `runs` has the first and the last sample of each node's gaps."""
    idle = [
        frozenset(node for node, spans in runs.items() if any(low <= index <= high for low, high in spans))
        for index in range(samples)
    ]
    return IdleLog(
        source="made up", times=tuple(1000.0 + 10 * n for n in range(samples)), idle=tuple(idle), node_count=node_count
    )


def test_a_gap_is_filled_with_the_longest_that_fits_until_the_rest_is_too_short():
    assert fill(12 + 24 + 24 + 11, [24, 12]) == [24, 24, 12]
    assert fill(11, [24, 12]) == []


def test_shares_are_those_that_one_counts_by_hand():
    # a: 40 samples, filled with 24 + 12; b: 13 samples, filled with 12; c: 1 sample, nothing.
    report = simulate_published(log({"a": [(0, 39)], "b": [(10, 22)], "c": [(5, 5)]}, samples=50), LENGTHS)
    idle = 40 + 13 + 1
    assert report.pilots == 3
    assert report.ready_share == pytest.approx((22 + 10 + 10) / idle)
    assert report.warming_share == pytest.approx(6 / idle)
    assert report.ready_bound == pytest.approx((38 + 11) / idle)
    assert report.mean_free_nodes == pytest.approx(idle / 50)
    assert report.idle_share == pytest.approx(idle / 50 / 10)


def test_the_size_of_the_cluster_may_be_said():
    made = log({"a": [(0, 39)]}, samples=40)
    assert simulate_published(made, LENGTHS, nodes=100).idle_share == pytest.approx(0.01)


@pytest.mark.parametrize("minutes", [0, -2, 0.25, 1 / 3])
def test_a_length_that_the_model_cannot_count_is_refused(minutes):
    with pytest.raises(SimulationError, match=r"impossible"):
        simulate_published(log({"a": [(0, 9)]}, samples=10), [timedelta(minutes=minutes)])


def test_a_log_in_which_nobody_was_idle_is_refused():
    with pytest.raises(SimulationError, match="no idle node"):
        simulate_published(log({}, samples=5), LENGTHS)
