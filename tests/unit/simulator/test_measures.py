"""Quantiles, series, node lists and parameters: the small arithmetic."""

from datetime import timedelta

import pytest

from harvester.simulator import nodelist
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
    ("text", "names"),
    [
        ("p0016", ("p0016",)),
        ("p[0001-0003,0007],q1", ("p0001", "p0002", "p0003", "p0007", "q1")),
        ("a1,a2", ("a1", "a2")),
        ("", ()),
    ],
)
def test_node_lists_are_read_as_slurm_writes_them(text, names):
    assert nodelist.expand(text) == names


@pytest.mark.parametrize("text", ["p[", "p[3-1]", "p[a]", "p[1-99999999]", ",", "p]["])
def test_what_is_no_node_list_is_refused(text):
    with pytest.raises(ValueError, match=r"no (list|range) of nodes"):
        nodelist.expand(text)


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
