"""The daemon with another policy, in strict mode, with brakes, and with a bad node."""

from datetime import timedelta

import msgspec
from msgspec.structs import replace

from harvester.cli.up.logs import OnceInAWhile
from harvester.daemon.daemon import Daemon
from harvester.domain.cluster import survival
from harvester.domain.cluster.snapshot import BatchJob, BatchState, WaitsFor
from harvester.domain.harvest.planning import HarvestMode, Plan, SubmitPilot
from harvester.domain.harvest.quiet_hours import QuietHours
from harvester_api.schemas import daemon_status


def note(site, key: str) -> dict:
    return msgspec.json.decode(site.store.note(key) or b"{}")


def with_harvest(site, policy: str = "demand", **changes) -> None:
    site.restart(policy=policy, harvest=replace(site.settings.harvest, **changes))


def prime(at: float, *nodes: str) -> BatchJob:
    return BatchJob(
        batch_job_id="prime", name="prime", user="u", partition="harvest", state=BatchState.PENDING,
        reason="BeginTime", waits_for=WaitsFor.OTHER, nodes=nodes, start_at=at,
    )  # fmt: skip


def fail_on(site, node: str) -> None:
    """The pilot that waits is started on `node` and ends before it calls."""
    (pilot,) = (each for each in site.store.pilots() if each.registered_at is None)
    site.scheduler.turn(pilot.batch_job_id, BatchState.RUNNING, nodes=(node,))
    site.pass_time(1)
    site.scheduler.turn(pilot.batch_job_id, BatchState.FAILED, nodes=(node,))
    site.pass_time(1)
    site.pass_time(1, ticks=30)


def test_a_bad_node_is_excluded_and_the_queue_goes_on_elsewhere(site):
    site.pass_time()
    (works,) = site.store.pilots()
    site.scheduler.turn(works.batch_job_id, BatchState.RUNNING, nodes=("n2",))
    site.pass_time()
    site.register(works)
    with_harvest(site, shapes=tuple(replace(shape, ready=2) for shape in site.settings.harvest.shapes))
    site.pass_time()
    for _ in range(3):
        fail_on(site, "n1")
    newest = site.scheduler.orders[max(site.scheduler.orders, key=int)]
    assert newest.exclude == ("n1",)
    said = note(site, "daemon")
    assert not said["paused"]
    assert any("n1" in words and "3 pilots in a row failed on it" in words for words in said["notes"])
    site.daemon.resume()
    site.pass_time(ticks=2)
    assert not any("n1" in words for words in note(site, "daemon")["notes"])


def test_failures_on_different_nodes_still_pause_the_shape(site):
    site.pass_time()
    for number in range(5):
        fail_on(site, f"n{number}")
        for _ in range(320 if number < 4 else 1):  # the longest step of the back-off
            if not site.store.pilots():
                site.pass_time(1)
    assert "paused after 5 failures" in note(site, "daemon")["reason"]


def test_the_gap_policy_harvests_every_idle_node(site):
    with_harvest(site, "gap", is_unbounded=True, reserve=0)
    site.pass_time()
    assert len(site.scheduler.orders) == 8
    assert {order.walltime for order in site.scheduler.orders.values()} == {timedelta(hours=4)}


def test_windows_are_in_the_daemons_note(site):
    site.scheduler.batch_jobs["prime"] = prime(site.scheduler.now + 600, "n3")
    site.pass_time()
    groups = note(site, "daemon")["windows"]
    assert [(len(group["nodes"]), group["until_at"]) for group in groups] == [(7, None), (1, site.scheduler.now + 598)]


def test_in_strict_mode_an_order_is_bound_to_its_node_and_to_its_end(site):
    with_harvest(site, mode=HarvestMode.STRICT)
    site.pass_time()
    assert site.scheduler.orders == {}
    assert "no window with a known end" in " ".join(note(site, "daemon")["notes"])
    site.scheduler.batch_jobs["prime"] = prime(site.scheduler.now + 3600, "n3")
    site.pass_time()
    (order,) = site.scheduler.orders.values()
    assert order.node == "n3"
    assert order.end_by == site.scheduler.batch_jobs["prime"].start_at - 60
    site.pass_time(3600)
    assert site.scheduler.cancelled, "it waited until it could no longer end in time"


def test_after_a_restart_a_pilot_of_strict_mode_that_still_waits_is_taken_out_of_the_queue(site):
    with_harvest(site, mode=HarvestMode.STRICT)
    site.scheduler.batch_jobs["prime"] = prime(site.scheduler.now + 9000, "n3")
    site.pass_time()
    assert len(site.scheduler.orders) == 1
    site.restart()
    site.pass_time()
    assert site.scheduler.cancelled == ["1"]


def test_nothing_is_submitted_in_quiet_hours_and_it_is_said(site):
    with_harvest(site, quiet_hours=(QuietHours(begin_min=0, end_min=24 * 60, zone="UTC"),))
    site.pass_time()
    assert site.scheduler.orders == {}
    assert "quiet hours (00:00-24:00 UTC)" in " ".join(note(site, "daemon")["notes"])


def test_what_was_learned_of_gaps_survives_a_restart(site):
    site.pass_time()
    for _ in range(3):
        taken = {f"n{number}" for number in range(4)}
        site.scheduler.batch_jobs["p"] = replace(prime(0.0, *taken), batch_job_id="p", state=BatchState.RUNNING)
        site.scheduler.busy = taken
        site.pass_time(30)
        site.scheduler.busy = set()
        del site.scheduler.batch_jobs["p"]
        site.pass_time(300)
    site.pass_time(120)
    known = survival.decode(site.store.note("survival"))
    assert sum(known.ended) > 7
    assert known.burst > 3
    site.restart()
    site.pass_time()
    assert survival.decode(site.store.note("survival")) == known


class Broken:
    """A policy of another package that fails until it is told not to."""

    error: Exception | None = ValueError("on purpose")

    def plan(self, situation):
        if self.error is not None:
            raise self.error
        walltime = max(situation.settings.lengths)
        return Plan(effects=(SubmitPilot(shape="cpus", walltime=walltime, why="test"),))


def test_a_policy_that_fails_is_told_in_the_note_and_with_one_traceback_a_minute(site, caplog):
    policy = Broken()
    site.daemon = Daemon(replace(site.settings, policy="broken"), site.store, site.scheduler, policy=policy,
                         clock=lambda: site.scheduler.now)  # fmt: skip
    site.pass_time(ticks=3)
    (error,) = note(site, "daemon")["errors"]
    assert error.startswith('the policy "broken" failed (ValueError: on purpose); it is tried again')
    once = OnceInAWhile()
    assert len([record for record in caplog.records if record.exc_info and once.filter(record)]) == 1
    policy.error = None
    site.pass_time()
    said = note(site, "daemon")["errors"]
    assert said == [
        "the policy \"broken\" is wrong: it asks for pilots of the shape 'cpus', which is not there; there are cpu"
    ]
    told = " ".join(daemon_status.words(daemon_status.read(site.store, site.scheduler.now)))
    assert f"The daemon met an error: {said[0]}" in told
