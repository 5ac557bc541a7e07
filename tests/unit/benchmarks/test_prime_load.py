"""The seeded prime load, its batch script's notes, and the delays that come of two plays of it."""

from pathlib import Path

import pytest
from benchmarks import counterfactual
from benchmarks.prime import batch_script, load
from benchmarks.prime.batch_script import PrimeRun
from benchmarks.prime.load import Kind, PrimeJob
from benchmarks.prime.player import Play
from benchmarks.site.delays import Delay, Waits, delays, quantile, summary
from benchmarks.site.room import Room, rooms
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 10_000), st.sampled_from([2, 8, 24]), st.sampled_from([2, 4]))
def test_a_load_can_be_submitted_as_it_stands(seed, nodes, cores):
    jobs = load.draw(seed, 5.0, nodes, cores)
    assert jobs == load.draw(seed, 5.0, nodes, cores)
    assert [job.index for job in jobs] == list(range(len(jobs)))
    assert [job.at_s for job in jobs] == sorted(job.at_s for job in jobs)
    for job in jobs:
        assert 1 <= job.nodes <= nodes
        assert 0 <= job.cores < cores
        assert job.runs_s < 60 * job.limit_min
        assert job.after is None or (job.after < job.index and jobs[job.after].tasks == 1)
        assert job.after is None or jobs[job.after].cancel_s is None


def test_a_load_of_some_minutes_has_every_kind():
    jobs = [job for seed in (1, 2, 3) for job in load.draw(seed, 7.0, 8, 2)]
    assert {job.kind for job in jobs} == set(Kind)
    assert any(job.nodes > 1 for job in jobs)
    assert any(job.limit_min > 2 for job in jobs)


def test_the_command_says_what_the_job_asks_for():
    job = PrimeJob(index=7, kind=Kind.ARRAY, at_s=1.0, runs_s=5.0, limit_min=2, cores=1, tasks=3, after=4)
    command = load.sbatch(job, Path("/x/prime.sh"), Path("/x/stamps"), {4: "104"})
    assert {"--array=0-2", "--dependency=afterany:104", "--cpus-per-task=1", "--time=2"} <= set(command)
    assert command[-3:] == ["/x/prime.sh", "/x/stamps/7", "5"]
    assert job.keys == ["7.0", "7.1", "7.2"]


def test_a_run_is_read_from_its_first_start_to_its_last_end():
    text = "start 10.25 n[1-2,10]\nstart 30.5 n4\nend 40.75\n"
    assert batch_script.parse("3", text) == PrimeRun(
        key="3", started_at=10.25, ended_at=40.75, nodes=("n1", "n2", "n10")
    )
    assert batch_script.parse("3", "") is None


JOBS = [
    PrimeJob(index=0, kind=Kind.NODES, at_s=0.0, runs_s=5.0, limit_min=1),
    PrimeJob(index=1, kind=Kind.DEPENDENT, at_s=1.0, runs_s=5.0, limit_min=1, after=0),
    PrimeJob(index=2, kind=Kind.CANCELLED, at_s=2.0, runs_s=5.0, limit_min=1, cancel_s=3.0),
]


def run(key, started_at, ended_at=None):
    return PrimeRun(key=key, started_at=started_at, ended_at=ended_at, nodes=("n1",))


def test_whoever_depends_on_another_waits_from_its_end_on():
    play = Play(
        begun_at=100.0,
        ended_at=200.0,
        submitted_at={0: 100.0, 1: 101.0, 2: 102.0},
        runs={"0": run("0", 101.5, 107.0), "1": run("1", 108.0)},
    )
    assert play.waits(JOBS) == pytest.approx({"0": 1.5, "1": 1.0})
    assert play.busy(JOBS) == {"n1": [(101.5, 107.0), (108.0, 113.0)]}


def test_room_counts_while_enough_nodes_are_free_of_prime_jobs_and_first_only_where_nobody_waits_before():
    jobs = [
        PrimeJob(index=0, kind=Kind.NODES, at_s=0.0, runs_s=5.0, limit_min=1),
        PrimeJob(index=1, kind=Kind.NODES, at_s=0.0, runs_s=5.0, limit_min=1, nodes=2),
        PrimeJob(index=2, kind=Kind.CORES, at_s=0.0, runs_s=5.0, limit_min=1, cores=1),
        PrimeJob(index=3, kind=Kind.CANCELLED, at_s=0.0, runs_s=5.0, limit_min=1, cancel_s=30.0),
    ]
    play = Play(
        begun_at=0.0,
        ended_at=50.0,
        submitted_at=dict.fromkeys(range(4), 0.0),
        runs={
            "0": PrimeRun(key="0", started_at=1.0, ended_at=6.0, nodes=("n1",)),
            "1": PrimeRun(key="1", started_at=10.0, ended_at=15.0, nodes=("n1", "n2")),
            "2": PrimeRun(key="2", started_at=17.0, ended_at=20.0, nodes=("n2",)),
        },
    )
    assert rooms(jobs, play, ("n1", "n2"), 2) == {
        "0": Room(room_s=1.0, first_s=1.0),
        "1": Room(room_s=1.0 + 4.0, first_s=4.0),  # while the first had not begun, and after its end
        "2": Room(room_s=10.0 + 2.0, first_s=2.0),  # beside the first, and when the second had ended
    }


def test_a_delay_counts_as_ours_only_where_no_control_was_as_late():
    first, second, third = delays(
        JOBS,
        [Waits(waits_s={"0": 1.0, "1": 2.0, "2": 0.5}), Waits(waits_s={"0": 4.0, "1": 2.0, "2": 0.5})],
        Waits(waits_s={"0": 4.5, "1": 7.0}, rooms_s={"1": 3.0}),
    )
    assert second.harm_s == 3.0, "for the rest of the time there was no room for it"
    assert (first.extra_s, first.spread_s, first.unexplained_s) == (3.5, 3.0, 0.5)
    assert (second.extra_s, second.spread_s, second.unexplained_s) == (5.0, 0.0, 5.0)
    assert third.is_missed
    assert third.extra_s is None


def judged(mode, *pairs):
    found = [
        Delay(key=str(number), kind="x", controls_s=(a, a), with_s=b, room_s=b or 0.0, rooms_s=(a, a))
        for number, (a, b) in enumerate(pairs)
    ]
    rows = {"with harvest less control": summary([delay.extra_s for delay in found if delay.extra_s is not None])}
    return counterfactual.violations(mode, "", rows, found, 15.0)


def test_each_mode_is_held_to_its_promise():
    assert judged("strict", (1.0, 2.9)) == []
    assert len(judged("strict", (1.0, 3.1), (0.0, 9.0))) == 2
    assert judged("yielding", (1.0, 15.9)) == []
    assert len(judged("yielding", (1.0, 16.1))) == 1
    assert judged("preemptible", *[(0.0, 1.9)] * 99, (0.0, 30.0)) == []
    assert len(judged("preemptible", *[(0.0, 2.1)] * 90, *[(0.0, 8.5)] * 10)) == 2
    assert len(judged("preemptible", (1.0, None))) == 1


def test_quantiles_are_values_that_were_there():
    values = list(range(1, 101))
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([3.0], 0.99)) == (50, 99, 3.0)
    assert summary([1.0, 2.5, 0.0]).late == 1
    assert summary([]).n == 0
