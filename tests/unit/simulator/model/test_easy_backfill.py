"""Prime jobs under EASY backfill, and pilots that nobody among them notices."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import HarvestMode
from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.jobs import JobTrace, PrimeJob
from harvester.simulator.model.cluster_model import block_for, simulate_jobs
from harvester.simulator.model.easy_backfill import Prime
from harvester.simulator.parameters import Parameters

NODES = 8


def job(number, submit_at, nodes, limit_s, run_s=None):
    return PrimeJob(job_id=str(number), submit_at=submit_at, run_s=run_s or limit_s, limit_s=limit_s, nodes=nodes)


def run(*jobs, delay_s=0.0):
    return Prime(jobs, [f"n{n}" for n in range(NODES)], 1, delay_s, "prime").run()


def trace(jobs):
    return JobTrace(source="made up", jobs=tuple(sorted(jobs, key=lambda job: job.submit_at)))


def test_first_come_is_first_served_and_a_short_one_behind_it_fills_the_hole():
    schedule = run(
        job(1, 0.0, 6, 1000.0),
        job(2, 1.0, 8, 1000.0),  # waits for the first
        job(3, 2.0, 2, 500.0),  # ends before the second may begin: backfilled
        job(4, 3.0, 2, 5000.0),  # would delay the second: waits
    )
    assert schedule.starts == (0.0, 1000.0, 2.0, 2000.0)


def test_who_takes_only_nodes_that_the_reservation_leaves_over_may_run_for_longer():
    schedule = run(job(1, 0.0, 6, 1000.0), job(2, 1.0, 7, 1000.0), job(3, 2.0, 1, 9000.0), job(4, 3.0, 1, 9000.0))
    assert schedule.starts[:3] == (0.0, 1000.0, 2.0)
    assert schedule.starts[3] >= 1000.0


def test_an_end_before_the_limit_starts_the_next_one_early():
    assert run(job(1, 0.0, 8, 1000.0, run_s=100.0), job(2, 1.0, 8, 100.0)).starts == (0.0, 100.0)


def test_the_plan_shows_the_reservation_and_limits_not_ends():
    schedule = run(job(1, 0.0, 6, 1000.0, run_s=100.0), job(2, 1.0, 8, 100.0))
    shown = next(change for change in schedule.plans if change.at == 1.0)
    waiting = next(batch for batch in shown.primes if batch.batch_job_id == "2")
    running = next(batch for batch in shown.primes if batch.batch_job_id == "1")
    assert waiting.start_at == running.end_at == 1000.0
    assert len(waiting.nodes) == 8


def test_a_decision_takes_effect_after_the_schedulers_delay():
    assert run(job(1, 0.0, 8, 10.0), delay_s=3.0).starts == (3.0,)


JOBS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(1, NODES), st.integers(30, 4000), st.floats(0.05, 1.0)),
    min_size=2,
    max_size=25,
).map(lambda rows: [job(n, float(at), nodes, float(limit), max(1.0, limit * part))
                    for n, (at, nodes, limit, part) in enumerate(rows)])  # fmt: skip


@given(JOBS)
@settings(max_examples=examples(60), deadline=None)
def test_no_node_is_given_twice_and_idle_and_busy_time_are_all_there_is(jobs):
    made = trace(jobs)
    schedule = run(*made.jobs)
    begin, end = schedule.from_at, schedule.to_at
    busy = sum(each.nodes * (schedule.ends[n] - schedule.starts[n]) for n, each in enumerate(made.jobs))
    idle = sum(gap.length_s for gap in schedule.gaps)
    assert busy + idle == pytest.approx((end - begin) * NODES)
    assert all(start >= each.submit_at for start, each in zip(schedule.starts, made.jobs, strict=True))
    by_node = sorted((gap.node, gap.opens_at, gap.closes_at) for gap in schedule.gaps)
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(by_node))


@pytest.mark.parametrize("mode", [HarvestMode.STRICT, HarvestMode.YIELDING])
@given(JOBS, st.sampled_from(sorted(policies.POLICIES)))
@settings(max_examples=examples(25), deadline=None)
def test_strict_and_yielding_delay_no_prime_job_where_looks_are_as_quick_as_the_scheduler(mode, jobs, name):
    report = simulate_jobs(trace(jobs), policies.by_name(name), Parameters(nodes=NODES, mode=mode))
    assert (report.prime_delayed, report.prime_delay_max_s, report.evictions) == (0, 0.0, 0)
    assert report.prime_wait_mean_s == report.prime_wait_mean_off_s


@pytest.mark.parametrize("tick_s", [2.0, 5.0])
@given(JOBS)
@settings(max_examples=examples(25), deadline=None)
def test_yielding_delays_no_prime_job_by_more_than_a_look_and_the_leave_less_the_schedulers_own_delay(tick_s, jobs):
    parameters = Parameters(nodes=NODES, mode=HarvestMode.YIELDING, tick_s=tick_s, leave_s=4.0)
    report = simulate_jobs(trace(jobs), policies.by_name("gap"), parameters)
    assert report.prime_delay_max_s <= tick_s + 4.0 - 3.0 + 1e-6


def test_yielding_harvests_gaps_that_strict_leaves_alone():
    jobs = [job(n, n * 900.0, 1 + n % 4, 2000.0, run_s=300.0 + 90 * (n % 5)) for n in range(40)]
    found = {
        mode: simulate_jobs(trace(jobs), policies.by_name("gap"), Parameters(nodes=NODES, mode=mode))
        for mode in (HarvestMode.STRICT, HarvestMode.YIELDING)
    }
    assert found[HarvestMode.YIELDING].ready_share > 0.95 * found[HarvestMode.YIELDING].ready_bound
    assert found[HarvestMode.STRICT].ready_share < 0.1


@pytest.mark.parametrize("orphan_s", [0.0, 30.0, None])
def test_when_the_daemon_dies_its_pilots_are_in_the_way_until_they_notice(orphan_s):
    """The daemon dies at 5,000; at 5,003 all nodes are wanted."""
    jobs = [job(1, 0.0, 1, 100.0), job(2, 5000.0, NODES, 1000.0), job(3, 9000.0, NODES, 997.0)]
    parameters = Parameters(
        nodes=NODES, mode=HarvestMode.YIELDING, daemon_dies_at=0.5, orphan_s=orphan_s, lengths=(timedelta(minutes=20),)
    )
    report = simulate_jobs(trace(jobs), policies.by_name("gap"), parameters)
    assert report.to_at - report.from_at == 10_000.0
    if orphan_s is None:
        assert report.prime_delay_max_s > 300
    else:
        assert report.prime_delay_max_s == max(0.0, orphan_s + parameters.leave_s - 3.0)


def test_strict_pilots_do_harvest_and_a_scheduler_that_acts_at_once_would_notice_them():
    # The second waits for the whole machine until 3,000; the first ends long before its limit, so it may begin at 900.
    jobs = [job(1, 0.0, 6, 3000.0, run_s=901.0), job(2, 1.0, 8, 1000.0)]
    found = {
        delay_s: simulate_jobs(
            trace(jobs),
            policies.by_name("gap"),
            Parameters(nodes=NODES, mode=HarvestMode.STRICT, sched_delay_s=delay_s),
        )
        for delay_s in (0.0, 3.0)
    }
    assert found[3.0].pilots >= 2
    assert found[3.0].prime_delayed == 0
    assert found[0.0].prime_delayed == 1


@given(JOBS, st.sampled_from(sorted(policies.POLICIES)), st.floats(0.0, 30.0), st.floats(0.0, 60.0))
@settings(max_examples=examples(40), deadline=None)
def test_preemptible_delays_no_prime_job_by_more_than_the_grace_time(jobs, name, grace_s, leave_s):
    parameters = Parameters(nodes=NODES, grace_s=grace_s, leave_s=leave_s)
    report = simulate_jobs(trace(jobs), policies.by_name(name), parameters)
    assert report.prime_delay_max_s <= grace_s
    assert report.prime_delayed_over_grace == 0
    assert report.ready_share <= report.ready_bound + 1e-9


def test_off_harvests_nothing_and_delays_nobody():
    report = simulate_jobs(trace([job(1, 0.0, 2, 100.0)]), None, Parameters(nodes=NODES))
    assert (report.mode, report.pilots, report.prime_delayed, report.ready_share) == ("off", 0, 0, 0.0)


def test_a_batch_job_larger_than_the_cluster_is_left_out_and_named():
    made = trace([job(1, 0.0, 2, 100.0), job(2, 1.0, NODES + 1, 100.0)])
    report = simulate_jobs(made, None, Parameters(nodes=NODES))
    assert report.prime_jobs == 1
    assert report.skipped.count == 1
    with pytest.raises(SimulationError, match="wants 9 of 8 nodes"):
        made.on(NODES, strict=True)


def test_a_trace_of_a_larger_machine_is_refused():
    with pytest.raises(SimulationError, match="more than --nodes 8"):
        JobTrace(source="big", jobs=(job(1, 0.0, 1, 10.0),), machine=9).on(NODES)


def test_small_clusters_are_counted_node_by_node_and_large_ones_in_blocks_that_divide_them():
    assert block_for(600) == 1
    assert block_for(4360) == 8
