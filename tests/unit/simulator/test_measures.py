"""Quantiles, series and parameters: the small arithmetic."""

from datetime import timedelta

import pytest

from harvester.simulator.errors import SimulationError
from harvester.simulator.measures import Series, quantile, weighted
from harvester.simulator.parameters import Parameters


def test_a_quantile_is_a_value_that_was_there():
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1, 1, 2, 3, 4]
    assert quantile([], 0.5) == 0.0


def test_values_that_stand_for_several_weigh_so_much():
    assert weighted([(5.0, 1), (1.0, 9)], (0.5, 0.9, 0.99)) == {"p50": 1.0, "p90": 1.0, "p99": 5.0}


def test_a_series_is_the_running_sum():
    made = Series.of([(0.0, 1), (5.0, 1), (5.0, -1), (7.0, -1)])
    assert (made.at, made.value) == ((0.0, 7.0), (1, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"cycle_s": 0.0},
        {"boot_s": -1.0},
        {"tick_s": float("nan")},
        {"foresight": 1.5},
        {"foresight": float("nan")},
        {"nodes": 0},
        {"lengths": ()},
        {"lengths": (timedelta(0),)},
        {"max_pending": 0},
        {"grace_s": float("inf")},
        {"block": 0},
    ],
)
def test_impossible_parameters_are_named(wrong):
    with pytest.raises(SimulationError, match=r"impossible|empty"):
        Parameters(**wrong)
