"""Pilots over what a cluster offers: nobody sees the future, and nobody gets more than the bound."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import Plan, SubmitPilot
from harvester.simulator.inputs.gaps import ClusterOffer, Gap, PlanChange
from harvester.simulator.model.overlay import Overlay
from harvester.simulator.parameters import Parameters, TimeMin

POLICIES = sorted(policies.POLICIES)
PLAIN = Parameters(cycle_s=10.0, boot_s=5.0, nodes=4)


class Standing:
    """Keeps some pilots of one length pending."""

    def __init__(self, minutes, count=5, time_min=None):
        self.walltime = timedelta(minutes=minutes)
        self.count = count
        self.time_min = time_min

    def plan(self, situation):
        pending = sum(pilot.is_pending for pilot in situation.pilots)
        order = SubmitPilot(shape="node", walltime=self.walltime, why="test", time_min=self.time_min)
        return Plan(effects=(order,) * (self.count - pending))


class Spy(Standing):
    """Notes what it was shown."""

    def __init__(self):
        super().__init__(60)
        self.seen = []

    def plan(self, situation):
        self.seen.append(situation)
        return super().plan(situation)


def offer(*spans, planned=(), until=10_000.0):
    """Make gaps of one node each; `planned` are indices of those whose end the plan knows from the opening on."""
    gaps = tuple(Gap(node=f"n{n}", opens_at=low, closes_at=high) for n, (low, high) in enumerate(spans))
    batches = {
        n: BatchJob(
            batch_job_id=str(n),
            name="prime",
            user="x",
            partition="prime",
            state=BatchState.PENDING,
            nodes=(f"n{n}",),
            start_at=gaps[n].closes_at,
        )
        for n in planned
    }
    plans = tuple(
        PlanChange(at=at, primes=tuple(b for n, b in batches.items() if gaps[n].opens_at <= at < gaps[n].closes_at))
        for at in sorted({moment for n in planned for moment in (gaps[n].opens_at, gaps[n].closes_at)})
    )
    names = tuple(gap.node for gap in gaps)
    return ClusterOffer(nodes=(*names, "busy"), gaps=gaps, plans=plans, from_at=0.0, to_at=until)


def account(made, policy, parameters=PLAIN):
    overlay = Overlay(made, policy, parameters)
    overlay.run()
    return overlay.fleet.account


def test_a_standing_pilot_that_outlasts_the_gap_has_all_but_a_cycle_and_a_boot_and_is_evicted():
    made = account(offer((102.0, 1000.0)), Standing(60))
    assert (made.started, made.evicted) == (1, 1)
    assert made.ready_s == pytest.approx(1000 - 110 - 5)
    assert made.ready_s == pytest.approx(offer((102.0, 1000.0)).bound_s(PLAIN))


def test_where_the_plan_knows_the_end_a_pilot_that_is_too_long_is_not_started():
    made = account(offer((102.0, 1000.0), planned=(0,)), Standing(60))
    assert made.started == 0


def test_where_the_plan_knows_the_end_pilots_that_fit_follow_each_other_and_nobody_is_evicted():
    made = account(offer((102.0, 1000.0), planned=(0,)), Standing(4))
    assert (made.started, made.evicted) == (3, 0)
    assert made.ready_s == pytest.approx(3 * 235)


@pytest.mark.parametrize(("time_min", "started"), [(TimeMin.MINIMUM, 7), (TimeMin.LARGEST, 1)])
def test_time_min_gives_the_minimum_before_slurm_25_05_5_and_the_largest_fit_from_there_on(time_min, started):
    parameters = Parameters(cycle_s=10.0, boot_s=5.0, time_min=time_min)
    policy = Standing(120, time_min=timedelta(minutes=2))
    made = account(offer((102.0, 1000.0), planned=(0,)), policy, parameters)
    assert (made.started, made.evicted) == (started, 0)


def test_the_scheduler_rounds_walltimes_up_to_its_grain():
    made = account(offer((0.0, 200.0), planned=(0,)), Standing(2.5), Parameters(granularity_s=60.0))
    assert made.intervals[0].ends_at - made.intervals[0].ready_at == pytest.approx(180 - 12.5)


def test_a_daemon_is_shown_no_end_that_nobody_has_planned_and_no_gap_before_it_opens():
    spy = Spy()
    Overlay(offer((102.0, 1000.0), (300.0, 600.0), planned=(1,)), spy, PLAIN).run()
    for situation in spy.seen:
        free = {node.name for node in situation.snapshot.nodes if node.free.cpus}
        free |= {pilot.node for pilot in situation.pilots if pilot.node}
        assert ("n0" in free) == (102.0 <= situation.now < 1000.0)
        assert ("n1" in free) == (300.0 <= situation.now < 600.0)
        claims = {name for batch in situation.snapshot.batch_jobs if batch.start_at for name in batch.nodes}
        assert claims == ({"n1"} if 300.0 <= situation.now < 600.0 else set())


def test_the_same_run_twice_is_the_same():
    spans = [(10.0 * n, 10.0 * n + 100.0 * (n % 7 + 1)) for n in range(30)]
    made = offer(*spans, planned=range(0, 30, 2))
    for name in POLICIES:
        assert account(made, policies.by_name(name)) == account(made, policies.by_name(name))


@given(
    spans=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 3000)), min_size=1, max_size=12),
    known=st.sets(st.integers(0, 11)),
    name=st.sampled_from(POLICIES),
)
@settings(max_examples=examples(40), deadline=None)
def test_no_policy_has_more_than_the_bound_or_outlives_a_gap(spans, known, name):
    made = offer(*((float(low), float(low + length)) for low, length in spans),
                 planned=[n for n in known if n < len(spans)], until=4000.0)  # fmt: skip
    found = account(made, policies.by_name(name))
    assert found.ready_s <= made.bound_s(PLAIN) + 1e-6
    assert found.ready_s + found.warming_s <= made.idle_s + 1e-6
    assert found.evicted <= sum(n not in known for n in range(len(spans)))
    moments = Counter()
    for interval in found.intervals:
        moments[interval.ready_at] += 1
        moments[interval.ends_at] -= 1
    assert sum(moments.values()) == 0
