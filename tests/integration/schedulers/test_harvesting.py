"""The daemon over the real adapters: pilots come, are evicted, end, and come again, on Slurm and on PBS."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.fake_cluster.kinds import PBS
from support.fake_cluster.model import rules
from support.fake_cluster.model.records import Amount, Manners, Wish
from support.fake_cluster.model.rules import Eviction
from support.fake_cluster.site import QUEUES, nodes

from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, Shape
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources

P = PilotState


@pytest.fixture
def site(kind, make_site):
    return make_site(kind, nodes=nodes(2), ready=3)


def states(site):
    return sorted(str(pilot.state) for pilot in site.pilots())


def ends(site, state):
    return [pilot for pilot in site.all_pilots() if pilot.state is state]


def prime(site, count=2, *, lasts_s=100.0, **wish):
    return site.cluster.submit(Wish(queue="prime", nodes=count, each=Amount(4), **wish), Manners(lasts_s=lasts_s))


def test_pilots_are_kept_ready(site):
    site.pass_time(ticks=10)
    assert states(site) == ["ready"] * 3
    site.assert_nothing_is_lost(3)


def test_evicted_pilots_are_told_as_evicted_and_come_again_when_the_prime_batch_job_has_ended(site):
    site.pass_time(ticks=10)
    wanted = prime(site)
    site.pass_time(ticks=10)
    assert wanted.started_at is not None
    assert len(ends(site, P.EVICTED)) == 3
    assert not site.running_pilots()
    site.pass_time(ticks=40)
    assert states(site) == ["ready"] * 3
    site.assert_nothing_is_lost(3)


def test_pilots_that_wait_are_held_while_others_are_evicted_and_released_afterwards(site):
    site.cluster.manners = Manners(leaves_s=20.0)
    site.pass_time(ticks=6)
    prime(site, 1, lasts_s=60.0)  # those that it evicts are submitted again, and wait
    site.pass_time(ticks=10)
    prime(site, 1, lasts_s=60.0)
    held = set()
    for _ in range(40):
        site.pass_time()
        held |= {batch.number for batch in site.alive() if batch.is_held}
    assert held
    assert not any(batch.is_held for batch in site.alive())
    assert states(site) == ["ready"] * 3
    site.assert_nothing_is_lost(3)


def test_pilots_at_the_end_of_their_walltime_are_finished_and_have_successors(site):
    site.pass_time(10.0, ticks=200)  # more than twice the longest walltime
    assert len(ends(site, P.FINISHED)) >= 3
    assert {pilot.state for pilot in site.all_pilots()} <= {P.FINISHED, P.READY, P.QUEUED, P.BOOTING}
    site.assert_nothing_is_lost(3)


def test_pilots_of_a_node_that_dies_are_failed_and_replaced_elsewhere(make_site, kind):
    site = make_site(kind, nodes=nodes(3), ready=2)
    site.pass_time(ticks=6)
    node = site.running_pilots()[0].nodes[0]
    site.cluster.fail_node(node)
    site.pass_time(ticks=100)
    assert {pilot.state for pilot in site.all_pilots() if pilot.node == node} <= {P.FAILED, P.CANCELLED}
    assert all(batch.nodes[0] != node for batch in site.running_pilots())
    site.assert_nothing_is_lost(2)


def test_a_restarted_daemon_takes_up_the_pilots_and_doubles_none(site):
    site.pass_time(ticks=6)
    submitted = site.calls(site.kind.submits)
    site.restart()
    site.pass_time(ticks=6)
    assert site.calls(site.kind.submits) == submitted
    site.assert_nothing_is_lost(3)


def test_pilots_leave_a_node_that_an_admin_drains(make_site, kind):
    site = make_site(kind, nodes=nodes(2), ready=2)
    site.pass_time(ticks=6)
    node = site.running_pilots()[0].nodes[0]
    site.drain(node)
    site.pass_time(ticks=30)
    assert {batch.nodes[0] for batch in site.running_pilots()} == {"n1", "n2"} - {node}
    site.assert_nothing_is_lost(2)


def test_a_drain_that_leaves_no_room_for_all_pilots_pauses_nothing(make_site, kind):
    site = make_site(kind, nodes=nodes(2), ready=4)
    site.pass_time(ticks=6)
    site.drain("n1")
    site.pass_time(ticks=120)
    assert [batch.nodes for batch in site.running_pilots()] == [("n2",)] * 2
    assert site.daemon._pauses.reason == ""
    site.drain()
    site.pass_time(ticks=200)
    assert len(site.running_pilots()) >= 4
    site.assert_nothing_is_lost(4)


def test_pilots_that_pbs_puts_back_into_the_queue_are_evicted_and_leave_it(make_site):
    site = make_site(PBS, nodes=nodes(2), ready=3)
    site.cluster.rules = rules.with_eviction(PBS.rules, Eviction.REQUEUE)
    site.pass_time(ticks=6)
    prime(site)
    site.pass_time(ticks=60)
    assert len(ends(site, P.EVICTED)) == 3
    assert all(batch.runs <= 1 for batch in site.alive())
    site.assert_nothing_is_lost(3)


def test_in_strict_mode_a_pilot_ends_before_the_planned_start_of_a_prime_batch_job(make_site, kind):
    shape = Shape(name="cpu", partition="harvest", resources=Resources(cpus=2), ready=2)
    lengths = tuple(timedelta(minutes=minutes) for minutes in (30, 8, 4))
    site = make_site(
        kind,
        nodes=nodes(2),
        queues=[replace(queue, is_preemptible=False) for queue in QUEUES],
        harvest=HarvestSettings(shapes=(shape,), lengths=lengths, mode=HarvestMode.STRICT),
    )
    prime(site, 1, lasts_s=900.0, limit_s=900.0)
    wanted = prime(site, 2, lasts_s=60.0)
    site.pass_time(ticks=6)
    (pilot, *_) = site.running_pilots()
    assert wanted.plan_at is not None
    assert pilot.end_at is not None
    assert pilot.end_at <= wanted.plan_at - 60.0
    site.pass_time(ticks=200)
    assert wanted.started_at == pytest.approx(wanted.submitted_at + 900.0, abs=20.0)
