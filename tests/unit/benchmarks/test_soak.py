"""The soak's script of faults, its count of commands, and its judgement of nodes that complete and of ends."""

import pytest
from benchmarks.hostile import schedule
from benchmarks.hostile.load import wrong_ends
from benchmarks.hostile.schedule import Kind
from benchmarks.site.command_count import counted
from benchmarks.site.completing import Completing, Streak, is_excused
from hypothesis import given
from hypothesis import strategies as st

NEEDS_CONTROLLER = {Kind.DRAIN, Kind.RESERVATION, Kind.PRIME, Kind.SLURMCTLD}


@given(st.integers(0, 10_000))
def test_nothing_that_needs_the_controller_happens_while_it_is_stopped(seed):
    faults = schedule.draw(seed, 10.0, 8, 8.0)
    assert faults == schedule.draw(seed, 10.0, 8, 8.0)
    assert {fault.kind for fault in faults} == set(Kind)
    for stop in (fault for fault in faults if fault.kind is Kind.SLURMCTLD):
        during = [fault for fault in faults if stop.at_s < fault.at_s < stop.at_s + stop.lasts_s]
        assert not NEEDS_CONTROLLER & {fault.kind for fault in during}
    assert all(2 <= fault.nodes <= 6 for fault in faults if fault.kind is Kind.PRIME)


def test_commands_are_counted_in_their_time_and_by_what_was_asked():
    lines = ["1.0 squeue -h", "2.0 scontrol --oneliner show node", "3.5 scontrol update job 5", "9.0 squeue -h"]
    assert counted(lines, 1.5, 9.0) == {"scontrol show node": 1, "scontrol update job": 1}


def test_samples_of_a_node_that_completes_make_streaks():
    seen = Completing()
    seen.sample(0.0, [("7", "n1"), ("7", "n2")])
    seen.sample(1.0, [("7", "n1")])
    seen.sample(2.0, [("7", "n1")])
    seen.sample(20.0, [("7", "n1")])
    assert sorted((each.node, each.length_s) for each in seen.all()) == [("n1", 0.0), ("n1", 2.0), ("n2", 0.0)]
    assert seen.all()[0].length_s == 2.0


@pytest.mark.parametrize(
    ("outages", "expected"),
    [
        ({}, False),
        ({"n1": [(12.0, 14.0)]}, True),
        ({"n2": [(12.0, 14.0)]}, False),
        ({"": [(5.0, 11.0)]}, True),
        ({"": [(5.0, 9.0)]}, False),
    ],
)
def test_only_a_missing_daemon_of_slurm_excuses_a_streak(outages, expected):
    assert is_excused(Streak(batch_job_id="7", node="n1", begin=10.0, end=22.0), outages) is expected


def test_one_successful_activation_is_right_and_anything_else_is_not():
    once = {"state": "succeeded", "activations": [{"end": "evicted"}, {"end": "succeeded"}]}
    assert wrong_ends(once) == []
    assert len(wrong_ends(once | {"activations": [{"end": "succeeded"}] * 2})) == 1
    assert len(wrong_ends({"state": "running", "activations": []})) == 2
