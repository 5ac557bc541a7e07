"""The daemon where nobody evicts pilots: it makes way by itself, watches its harm, and gives up a mode that harms."""

from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.harvest.planning import HarvestMode
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import control
from harvester.domain.supervision.looks import LookSettings


def note(site) -> dict:
    return msgspec.json.decode(site.store.note("daemon") or b"{}")


def prime(site, nodes: int = 1, **changes) -> BatchJob:
    plain = {
        "batch_job_id": "prime", "name": "x", "user": "u", "partition": "harvest", "state": BatchState.PENDING,
        "each": Resources(cpus=2), "requested": Resources(cpus=2 * nodes), "is_exclusive": True, "node_count": nodes,
        "priority": 10, "submitted_at": site.scheduler.now,
    }  # fmt: skip
    return BatchJob(**(plain | changes))


@pytest.fixture
def full(site):
    """Eight nodes, all with pilots, and two pilots that wait; mode = yielding, with a look at each tick."""
    shape = replace(site.settings.harvest.shapes[0], ready=8)
    bound = timedelta(seconds=9)
    changed = {"shapes": (shape,), "mode": HarvestMode.YIELDING, "is_unbounded": True, "max_delay": bound}
    harvest = replace(site.settings.harvest, **changed)
    site.restart(policy="gap", harvest=harvest)
    site.pass_time()
    waiting = [pilot for pilot in site.store.pilots() if pilot.state is PilotState.QUEUED]
    for number, pilot in enumerate(waiting[:8]):
        site.scheduler.turn(pilot.batch_job_id, BatchState.RUNNING, nodes=(f"n{number}",), requested=Resources(cpus=2))
        site.scheduler.busy.add(f"n{number}")
        site.register(pilot, f"n{number}")
    site.pass_time(1)
    assert [pilot.state for pilot in site.store.pilots()].count(PilotState.READY) == 8
    return site


def ready(site) -> int:
    return [pilot.state for pilot in site.store.pilots()].count(PilotState.READY)


def test_pilots_in_the_way_of_a_prime_job_leave_together_and_those_that_wait_are_held(full):
    full.scheduler.batch_jobs["prime"] = prime(full, 3)
    full.pass_time(1)
    assert ready(full) == 5
    assert len(full.scheduler.cancelled) == 3
    waiting = [batch for batch in full.scheduler.batch_jobs.values() if batch.state is BatchState.PENDING]
    assert all(batch.is_held for batch in waiting if batch.batch_job_id != "prime")
    (why,) = {pilot.reason for pilot in full.all() if pilot.state is PilotState.CANCELLED}
    assert "batch job prime would start on it" in why


def test_they_are_released_and_come_back_when_the_prime_job_runs(full):
    full.scheduler.batch_jobs["prime"] = prime(full, 1)
    full.pass_time(1)
    full.scheduler.turn("prime", BatchState.RUNNING, nodes=("n0",), start_at=full.scheduler.now, end_at=2_000_000.0)
    full.pass_time(1)
    assert not any(batch.is_held for batch in full.scheduler.batch_jobs.values())
    assert note(full)["delayed"] == 1
    assert 0 < note(full)["worst_delay_s"] <= 2


def test_a_delay_past_the_bound_ends_yielding_also_over_a_restart_until_an_admin_resumes(full):
    full.scheduler.cancel = lambda *ids: None  # nobody goes
    full.scheduler.batch_jobs["prime"] = prime(full, 1)
    full.pass_time(3, ticks=4)
    assert note(full)["mode"] == "strict"
    assert any("mode = yielding fell back to strict" in words and "prime" in words for words in note(full)["notes"])
    full.restart()
    full.pass_time(1)
    assert note(full)["mode"] == "strict"
    del full.scheduler.batch_jobs["prime"]
    said = control.resume(control.decode(full.store.note(control.CONTROL_NOTE)), full.scheduler.now)
    full.store.put_note(control.CONTROL_NOTE, control.encode(said))
    full.pass_time(1)
    assert note(full)["mode"] == "yielding"


def test_glances_find_what_a_look_is_needed_for(full):
    full.restart(
        looks=LookSettings(rest=timedelta(seconds=60), busy=timedelta(seconds=20), glance=timedelta(seconds=3))
    )
    full.pass_time(1)
    looks, glances = full.scheduler.looks, full.scheduler.glances
    full.pass_time(1, ticks=9)
    assert (full.scheduler.looks - looks, full.scheduler.glances - glances) == (0, 3)
    full.scheduler.batch_jobs["prime"] = prime(full, 1)
    full.pass_time(1, ticks=3)
    assert full.scheduler.looks - looks == 1
    assert ready(full) == 7


def test_pilots_leave_nodes_that_an_admin_drains_and_resuming_keeps_them_drained(full):
    said = control.drain(control.Control(), ["n3"], full.scheduler.now)
    full.store.put_note(control.CONTROL_NOTE, control.encode(said))
    full.pass_time(1)
    assert {pilot.node for pilot in full.all() if pilot.state is PilotState.CANCELLED} == {"n3"}
    full.daemon.resume()
    full.pass_time(1)
    assert any("keep off node n3" in words for words in note(full)["notes"])


def test_a_cancellation_that_did_not_get_through_is_repeated_within_a_second_and_glances_go_on(full):
    minute, third, blink = (timedelta(seconds=seconds) for seconds in (60, 20, 3))
    full.restart(looks=LookSettings(rest=minute, busy=third, glance=blink))
    full.pass_time(1)
    cancel, full.scheduler.cancel = full.scheduler.cancel, _out_of_reach
    full.scheduler.batch_jobs["prime"] = prime(full, 8)
    full.pass_time(1, ticks=5)
    assert ready(full) == 0
    assert full.scheduler.cancelled == []
    asked = full.scheduler.glances + full.scheduler.looks
    full.pass_time(1, ticks=6)
    assert full.scheduler.glances + full.scheduler.looks > asked, "pilots that have not heard are still in the way"
    full.scheduler.cancel = cancel
    full.pass_time(1)
    assert len(full.scheduler.cancelled) == 8
    full.pass_time(1, ticks=5)
    assert len(full.scheduler.cancelled) == 8


def _out_of_reach(*batch_job_ids):
    raise SchedulerUnavailable("scancel: no answer")


def test_a_daemon_that_cannot_look_does_not_count_as_alive_so_that_pilots_leave_by_themselves(full):
    minute, third, blink = (timedelta(seconds=seconds) for seconds in (60, 20, 3))
    full.restart(looks=LookSettings(rest=minute, busy=third, glance=blink))
    full.pass_time(1, ticks=10)
    assert full.scheduler.now - note(full)["alive_at"] <= 3
    full.scheduler.is_down = True
    full.pass_time(1, ticks=40)
    assert note(full)["last_tick_at"] == full.scheduler.now
    assert full.scheduler.now - note(full)["alive_at"] >= 40
    looks = full.scheduler.looks + full.scheduler.glances
    full.pass_time(1, ticks=20)
    assert full.scheduler.looks + full.scheduler.glances - looks >= 3, "it tries again every few seconds"
    full.scheduler.is_down = False
    full.pass_time(1, ticks=6)
    assert full.scheduler.now - note(full)["alive_at"] <= 3


def test_a_prime_job_has_waited_since_the_last_glance_at_most_not_since_the_last_look(full):
    minute, third, blink = (timedelta(seconds=seconds) for seconds in (60, 20, 3))
    full.restart(looks=LookSettings(rest=minute, busy=third, glance=blink))
    full.pass_time(1, ticks=16)
    full.scheduler.batch_jobs["prime"] = prime(
        full, 1, submitted_at=full.scheduler.now - 500
    )  # its dependency ended now
    full.pass_time(1, ticks=3)
    assert ready(full) == 7
    assert note(full)["mode"] == "yielding"
    assert note(full)["worst_delay_s"] <= 3
