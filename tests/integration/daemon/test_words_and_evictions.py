"""What the daemon does when pilots say through the gateway that they are being evicted, or fall silent."""

from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.model.pilots import PilotState
from harvester.domain.protocol import word
from harvester.domain.supervision.looks import LookSettings

RARELY = LookSettings(rest=timedelta(seconds=60), busy=timedelta(seconds=20), per_minute=8.0)


@pytest.fixture
def busy(site):
    """One pilot runs on n0 and two wait; the daemon looks rarely."""
    site.restart(harvest=replace(site.settings.harvest, shapes=(replace(site.settings.harvest.shapes[0], ready=3),)))
    site.pass_time()
    site.scheduler.turn("1", BatchState.RUNNING, nodes=("n0",))
    site.register(site.store.pilots()[0], "n0")
    site.restart(looks=RARELY)
    site.pass_time()
    assert [pilot.state for pilot in site.store.pilots()] == [PilotState.READY, PilotState.QUEUED, PilotState.QUEUED]
    return site


def evicted(site, *pilot_ids):
    now = site.scheduler.now
    site.store.put_note(word.WORD_NOTE, word.encode(word.GatewayWord(evicted_at=now, evicted=pilot_ids)))


def prime(state: BatchState, *nodes: str) -> BatchJob:
    return BatchJob(
        batch_job_id="prime", name="x", user="u", partition="harvest", state=state, nodes=nodes, start_at=0.0
    )


def held(site):
    return [key for key, batch in site.scheduler.batch_jobs.items() if batch.is_held]


def test_pilots_that_wait_are_held_at_the_first_word_of_an_eviction_without_a_look(busy):
    looks = busy.scheduler.looks
    evicted(busy, busy.store.pilots()[0].pilot_id)
    busy.pass_time(0.2)
    assert held(busy) == ["2", "3"]
    assert busy.scheduler.looks == looks


def test_they_are_released_when_the_prime_job_has_what_it_wants_and_nothing_is_submitted_before(busy):
    evicted(busy, busy.store.pilots()[0].pilot_id)
    busy.pass_time(0.2)
    busy.scheduler.batch_jobs["prime"] = prime(BatchState.PENDING, "n0", "n1")
    busy.scheduler.turn("1", BatchState.PREEMPTED, preempt_at=busy.scheduler.now)
    busy.pass_time(0.5, ticks=20)
    assert held(busy) == ["2", "3"]
    assert len(busy.scheduler.orders) == 3
    busy.scheduler.batch_jobs["prime"] = prime(BatchState.RUNNING, "n0", "n1")
    busy.pass_time(0.5, ticks=20)
    assert held(busy) == []
    busy.pass_time(5, ticks=6)
    assert len(busy.scheduler.orders) == 4, "the evicted pilot has a successor"


def test_a_pilot_that_we_cancelled_ourselves_is_no_eviction(busy):
    running = busy.store.pilots()[0]
    busy.daemon.send_home(timedelta(0))
    for pilot in busy.store.pilots():
        assert pilot.state is not PilotState.QUEUED
    evicted(busy, "somebody-unknown")
    busy.pass_time(0.2)
    assert held(busy) == []
    assert running.state is PilotState.READY


def test_words_from_before_the_start_are_old(busy):
    evicted(busy, busy.store.pilots()[0].pilot_id)
    busy.restart(looks=RARELY)
    busy.pass_time(0.2)
    assert held(busy) == []


def test_what_an_earlier_daemon_held_is_released(busy):
    busy.scheduler.hold("2", "3")
    busy.restart(looks=RARELY)
    busy.pass_time(0.2)
    assert held(busy) == []


def test_the_end_of_a_pilot_whose_connection_broke_is_asked_for_at_once(busy):
    looks = busy.scheduler.looks
    pilot = busy.store.pilots()[0]
    busy.scheduler.turn("1", BatchState.FAILED, nodes=("n0",))
    said = word.GatewayWord(broken_at=busy.scheduler.now, broken=(pilot.pilot_id,))
    busy.store.put_note(word.WORD_NOTE, word.encode(said))
    busy.pass_time(0.2)
    assert busy.store.pilot(pilot.pilot_id).state is PilotState.FAILED
    assert busy.scheduler.looks == looks


def test_a_broken_connection_alone_ends_nobody(busy):
    pilot = busy.store.pilots()[0]
    said = word.GatewayWord(broken_at=busy.scheduler.now, broken=(pilot.pilot_id,))
    busy.store.put_note(word.WORD_NOTE, word.encode(said))
    busy.pass_time(0.2)
    assert busy.store.pilot(pilot.pilot_id).state is PilotState.READY


def test_between_looks_the_daemon_says_that_it_lives(busy):
    looks = busy.scheduler.looks
    busy.pass_time(1.5, ticks=3)
    assert busy.scheduler.looks == looks
    assert f'"last_tick_at":{busy.scheduler.now}'.encode() in busy.store.note("daemon")


def test_a_pilot_that_has_not_heard_of_its_eviction_is_ended(busy):
    busy.scheduler.turn("1", BatchState.RUNNING, nodes=("n0",), preempt_at=busy.scheduler.now)
    busy.pass_time(1)
    assert busy.scheduler.cancelled == []
    busy.pass_time(5, ticks=5)
    assert set(busy.scheduler.cancelled) == {"1"}


def test_a_defect_does_not_make_the_daemon_look_at_every_tick(site):
    site.restart(looks=RARELY)
    looks = []
    snapshot = site.scheduler.snapshot

    def broken():
        looks.append(site.scheduler.now)
        return 1 / 0

    site.scheduler.snapshot = broken
    site.pass_time(0.1, ticks=300)
    assert len(looks) <= 2
    said = msgspec.json.decode(site.store.note("daemon"))
    assert len([words for words in said["errors"] if "ZeroDivisionError" in words]) == 1
    site.scheduler.snapshot = snapshot
    site.pass_time(20, ticks=4)
    assert len(site.store.pilots()) == 1
