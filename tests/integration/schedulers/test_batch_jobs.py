"""What becomes of a pilot's batch job, as each scheduler's adapter tells it."""

import dataclasses
from datetime import timedelta

import pytest
from msgspec.structs import replace
from support.fake_cluster.kinds import PBS, SLURM
from support.fake_cluster.model import rules
from support.fake_cluster.model.records import Amount, FakeReservation, Manners, Wish
from support.fake_cluster.model.rules import Eviction
from support.fake_cluster.site import nodes
from support.fake_cluster.slurm.commands import FakeSlurm

from harvester.domain.cluster import windows
from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState, WaitsFor
from harvester.domain.model.resources import Resources

S = BatchState


@pytest.fixture
def site(kind, make_site):
    return make_site(kind, nodes=nodes(2))


@pytest.fixture
def order(tmp_path):
    return PilotOrder(
        pilot_id="p1",
        name="hv-test-1",
        partition="harvest",
        resources=Resources(cpus=4, gpus=1, memory_mb=500),
        walltime=timedelta(minutes=14),
        command=("/usr/bin/python3", "-m", "harvester_worker"),
        output=tmp_path / "output.txt",
    )


def submitted(site, order, *, after_s=1.0):
    batch_job_id = site.adapter.submit(order)
    site.server.advance(after_s)
    return batch_job_id


def prime(site, count=2, *, lasts_s=100.0, **wish):
    return site.cluster.submit(Wish(queue="prime", nodes=count, each=Amount(4), **wish), Manners(lasts_s=lasts_s))


def test_a_pilot_is_submitted_and_runs_with_what_it_asked_for(site, order):
    started_at = site.cluster.now
    batch = site.answer(submitted(site, order))
    assert (batch.state, batch.name, batch.partition) == (S.RUNNING, order.name, "harvest")
    assert batch.nodes == ("n1",)
    assert batch.requested == order.resources
    assert batch.start_at == started_at
    assert batch.end_at == started_at + 14 * 60
    first, second = site.adapter.snapshot().nodes
    assert (first.free.cpus, second.free) == (0, second.total)
    assert first.state in {NodeState.ALLOCATED, NodeState.MIXED}


def test_a_pilot_waits_behind_prime_batch_jobs_and_is_told_why(site, order):
    prime(site)
    batch = site.answer(submitted(site, order))
    assert (batch.state, batch.waits_for, batch.is_held) == (S.PENDING, WaitsFor.NODES, False)
    assert (batch.limit, batch.nodes[:1]) == (order.walltime, ("n1",))
    site.server.advance(200)
    assert site.answer(batch.batch_job_id).state is S.RUNNING


def test_a_preempted_pilot_is_told_as_that_while_it_leaves_and_when_it_has_left(site, order):
    site.cluster.manners = Manners(leaves_s=20.0)
    batch_job_id = submitted(site, order)
    wanted = prime(site)
    site.server.advance(1)
    batch = site.answer(batch_job_id)
    assert batch.state in {S.RUNNING, S.COMPLETING}
    assert batch.preempt_at is not None
    site.server.advance(30)
    batch = site.answer(batch_job_id)
    assert (batch.state, wanted.started_at is not None) == (S.PREEMPTED, True)


@pytest.mark.parametrize("version", ["22.05.8", "24.11.5", "26.05.5"])
def test_each_version_of_slurm_tells_of_evictions_and_of_excluded_nodes(make_site, order, version):
    site = make_site(dataclasses.replace(SLURM, flavour=FakeSlurm(version)), nodes=nodes(2))
    site.cluster.manners = Manners(leaves_s=5.0)
    evicted = submitted(site, order)
    prime(site)
    waits = submitted(site, replace(order, name="hv-test-2", exclude=("n1",)), after_s=2.0)
    assert site.answer(evicted).preempt_at is not None
    assert site.answer(waits).excluded_nodes == ("n1",)
    site.server.advance(10)
    assert site.answer(evicted).state is S.PREEMPTED
    assert site.adapter.snapshot().scheduler == f"slurm {version}"


def test_a_pilot_that_ignores_its_eviction_is_killed_when_its_grace_time_is_over(site, order):
    site.cluster.manners = Manners(leaves_s=None)
    batch_job_id = submitted(site, order)
    wanted = prime(site)
    site.server.advance(50)
    assert wanted.started_at is None
    site.server.advance(20)
    assert wanted.started_at is not None
    assert site.answer(batch_job_id).state is S.PREEMPTED


def test_a_cancelled_pilot_is_cancelled_whether_it_ran_or_waited(site, order):
    ran = submitted(site, order)
    prime(site, 1)
    waited = submitted(site, replace(order, name="hv-test-2"))
    assert site.answer(waited).state is S.PENDING
    site.adapter.cancel(ran, waited)
    assert site.answer(ran).state in {S.COMPLETING, S.RUNNING}
    site.server.advance(5)
    assert [site.answer(each).state for each in (ran, waited)] == [S.CANCELLED, S.CANCELLED]
    site.adapter.cancel(ran, waited)  # those that are over are no error


def test_a_pilot_at_the_end_of_its_walltime_has_timed_out(site, order):
    batch_job_id = submitted(site, order)
    site.server.advance(14 * 60 + 30)
    assert site.answer(batch_job_id).state is S.TIMEOUT


@pytest.mark.parametrize(("exit_code", "state"), [(0, S.COMPLETED), (3, S.FAILED)])
def test_a_pilot_that_ends_by_itself_has_completed_or_failed_by_its_exit_code(site, order, exit_code, state):
    site.cluster.manners = Manners(lasts_s=60.0, exit_code=exit_code)
    batch_job_id = submitted(site, order)
    site.server.advance(90)
    assert site.answer(batch_job_id).state is state


def test_a_node_that_dies_takes_its_pilot_with_it(site, order):
    batch_job_id = submitted(site, order)
    site.cluster.fail_node("n1")
    assert [node.state for node in site.adapter.snapshot().nodes] == [NodeState.DOWN, NodeState.IDLE]
    assert not site.answer(batch_job_id).state.is_ended
    site.server.advance(site.cluster.rules.node_fail_s + 5)
    assert site.answer(batch_job_id).state is S.NODE_FAIL


def test_a_drained_node_is_left_alone_and_what_runs_there_goes_on(site, order):
    batch_job_id = submitted(site, order)
    site.cluster.drain_node("n1", "bad disk")
    site.cluster.drain_node("n2", "bad fan")
    assert [node.state for node in site.adapter.snapshot().nodes] == [NodeState.DRAINED, NodeState.DRAINED]
    assert all(node.leaving for node in site.adapter.snapshot().nodes)
    other = submitted(site, replace(order, name="hv-test-2"))
    assert (site.answer(batch_job_id).state, site.answer(other).state) == (S.RUNNING, S.PENDING)


def test_a_pilot_that_is_held_waits_until_it_is_released(site, order):
    prime(site)
    batch_job_id = submitted(site, order)
    site.adapter.hold(batch_job_id)
    batch = site.answer(batch_job_id)
    assert (batch.is_held, batch.waits_for) == (True, WaitsFor.OTHER)
    site.server.advance(200)
    assert site.answer(batch_job_id).state is S.PENDING
    site.adapter.release(batch_job_id)
    site.server.advance(5)
    assert site.answer(batch_job_id).state is S.RUNNING
    site.adapter.hold(batch_job_id)  # it runs: no error


def test_an_end_is_told_until_the_scheduler_has_forgotten_it(site, order):
    site.cluster.manners = Manners(lasts_s=10.0)
    batch_job_id = submitted(site, order)
    site.server.advance(60)
    assert site.adapter.snapshot().batch_jobs == ()
    assert [batch.state for batch in site.adapter.ended([batch_job_id, "4711"])] == [S.COMPLETED]
    site.server.advance(site.cluster.rules.forgets_after_s)
    assert site.adapter.ended([batch_job_id]) == ()


def test_a_planned_prime_batch_job_ends_the_window_of_its_nodes(site):
    prime(site, 1, limit_s=600.0, lasts_s=600.0)
    wanted = prime(site, 2, limit_s=1800.0)
    site.server.advance(1)
    snapshot = site.adapter.snapshot()
    planned = next(batch for batch in snapshot.batch_jobs if batch.batch_job_id == str(wanted.number))
    assert (planned.state, set(planned.nodes), planned.start_at) == (S.PENDING, {"n1", "n2"}, wanted.plan_at)
    (window,) = windows.compute(snapshot, site.cluster.now, ours=set(), horizon=timedelta(seconds=30))
    assert (window.node, window.until_at) == ("n2", wanted.plan_at)


def test_a_reservation_is_known_before_it_begins(site, order):
    begins_at = site.cluster.now + 600.0
    site.cluster.reserve(FakeReservation("course", ("n1", "n2"), begins_at, begins_at + 3600.0))
    (reserved,) = site.adapter.snapshot().reservations
    assert (reserved.nodes, reserved.start_at) == (("n1", "n2"), begins_at)
    assert site.answer(submitted(site, order)).state is S.PENDING  # its 14 minutes would reach into it


def test_what_the_scheduler_refuses_is_told_as_that(site, order):
    with pytest.raises(SubmissionRejected):
        site.adapter.submit(replace(order, partition="nosuch"))
    with pytest.raises(SubmissionRejected):
        site.adapter.submit(replace(order, walltime=timedelta(days=3)))
    assert site.alive() == []


def test_a_glance_shows_the_states_that_a_look_shows(site, order):
    submitted(site, order)
    prime(site)
    site.server.advance(1)
    look = {batch.batch_job_id: (batch.name, batch.state) for batch in site.adapter.snapshot().batch_jobs}
    assert {batch.batch_job_id: (batch.name, batch.state) for batch in site.adapter.glance()} == look


def test_only_a_partition_from_which_others_evict_is_preemptible(site):
    parts = {part.name: part.is_preemptible for part in site.adapter.snapshot().partitions}
    assert parts == {"prime": False, "harvest": True}


def test_without_a_controller_nothing_is_known(site, order, tmp_path):
    batch_job_id = submitted(site, order)
    site.server.stop()
    for ask in (site.adapter.snapshot, site.adapter.glance, lambda: site.adapter.ended([batch_job_id])):
        with pytest.raises(SchedulerUnavailable):
            ask()


@pytest.mark.parametrize("kind", [SLURM, PBS], ids=lambda kind: kind.name)
def test_a_suspended_pilot_is_suspended_and_its_walltime_waits(make_site, kind, order):
    site = make_site(kind, nodes=nodes(2))
    site.cluster.rules = rules.with_eviction(kind.rules, Eviction.SUSPEND)
    batch_job_id = submitted(site, order)
    prime(site)
    site.server.advance(10)
    assert site.answer(batch_job_id).state is S.SUSPENDED
    site.server.advance(120)
    batch = site.answer(batch_job_id)
    assert batch.state is S.RUNNING


def test_a_pilot_of_pbs_that_is_put_back_into_the_queue_is_evicted_and_runs_again(make_site, order):
    site = make_site(PBS, nodes=nodes(2))
    site.cluster.rules = rules.with_eviction(PBS.rules, Eviction.REQUEUE)
    site.adapter.snapshot()
    batch_job_id = submitted(site, order)
    prime(site)
    site.server.advance(10)
    batch = site.answer(batch_job_id)
    assert (batch.state, batch.preempt_at is not None) == (S.PENDING, True)
    site.server.advance(200)
    assert site.answer(batch_job_id).state is S.RUNNING
