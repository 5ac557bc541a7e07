"""Stretches of time on nodes: the arithmetic behind every ready share."""

from itertools import pairwise

import pytest
from benchmarks.site import node_time
from hypothesis import given
from hypothesis import strategies as st

MOMENTS = st.integers(0, 60)
STRETCHES = st.lists(st.tuples(MOMENTS, MOMENTS), max_size=8)


def seconds(stretches):
    """The whole seconds that are covered, counted one by one."""
    return {second for begin, end in stretches for second in range(begin, end)}


@given(STRETCHES)
def test_a_union_covers_the_same_seconds_in_stretches_that_do_not_touch(stretches):
    found = node_time.union(stretches)
    assert seconds(found) == seconds(stretches)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    assert node_time.length_s(stretches) == len(seconds(stretches))


@given(STRETCHES, STRETCHES)
def test_what_is_taken_away_and_what_is_common_add_up(one, other):
    assert seconds(node_time.without(one, other)) == seconds(one) - seconds(other)
    assert seconds(node_time.common(one, other)) == seconds(one) & seconds(other)


def test_a_share_counts_only_what_lies_inside():
    idle = {"n1": [(0.0, 10.0)], "n2": [(0.0, 30.0)]}
    ready = {"n1": [(5.0, 50.0)], "n2": [(0.0, 10.0), (5.0, 15.0)], "n3": [(0.0, 100.0)]}
    assert node_time.share(idle, ready) == pytest.approx(20 / 40)
    assert node_time.share({}, ready) == 0.0


def test_ready_time_begins_with_the_registration_and_ends_with_the_pilot():
    pilots = [
        {"node": "n1", "registered_at": 3.0, "ended_at": 8.0},
        {"node": "n1", "registered_at": 9.0, "ended_at": None},
        {"node": "", "registered_at": None, "ended_at": 4.0},
        {"node": "n2", "registered_at": 15.0, "ended_at": 30.0},
    ]
    assert node_time.ready(pilots, 20.0) == {"n1": [(3.0, 8.0), (9.0, 20.0)], "n2": [(15.0, 20.0)]}
