"""The machine's clock is set while the daemon runs: it goes on, and tells."""

import threading
import time
from datetime import datetime, timedelta

import msgspec
import pytest
from apscheduler.schedulers import base

from harvester.daemon import schedule
from harvester.daemon.daemon import Daemon
from harvester.daemon.schedule import DaemonSchedule
from harvester.domain.steady import Steady


@pytest.mark.parametrize("set_by", [3600.0, -3600.0])
def test_the_daemon_looks_on_and_tells_of_a_jump_in_its_note(site, set_by):
    passed = [0.0]
    clock = Steady(wall=lambda: site.scheduler.now, monotonic=lambda: passed[0])
    daemon = Daemon(site.settings, site.store, site.scheduler, clock=clock)

    def tick() -> dict:
        passed[0] += 5
        site.scheduler.now += 5
        daemon.tick()
        return msgspec.json.decode(site.store.note("daemon"))

    before = tick()
    assert before["errors"] == []
    site.scheduler.now += set_by
    for number in (1, 2, 3):
        note = tick()
        assert note["looked_at"] - before["looked_at"] == pytest.approx(5 * number)
        assert "clock was set" in note["errors"][0]
    assert len(site.store.pilots()) == 1


class SetClock(datetime):
    """The machine's clock, which somebody sets while the scheduler sleeps."""

    set_by = timedelta(0)

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.set_by


@pytest.mark.parametrize("set_by", [timedelta(hours=-1), timedelta(hours=1)])
def test_calls_come_at_their_interval_whenever_the_clock_is_set(monkeypatch, set_by):
    for module in (base, schedule):
        monkeypatch.setattr(module, "datetime", SetClock)
    monkeypatch.setattr(SetClock, "set_by", timedelta(0))
    calls, is_enough = [], threading.Event()

    def call() -> None:
        calls.append(time.monotonic())
        SetClock.set_by += set_by  # and again at each call
        if len(calls) == 5:
            is_enough.set()

    kept = DaemonSchedule()
    kept.every(timedelta(seconds=0.1), call)
    kept.start()
    has_gone_on = is_enough.wait(20)
    kept.stop()
    assert has_gone_on
    assert calls[4] - calls[0] >= 4 * 0.08


def test_a_call_that_takes_longer_than_its_interval_is_followed_by_one_and_a_failing_one_by_the_next():
    calls, is_enough = [], threading.Event()

    def call() -> None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            is_enough.set()
            return
        time.sleep(0.2)
        raise ValueError("a defect")

    kept = DaemonSchedule()
    kept.every(timedelta(seconds=0.01), call)
    kept.start()
    has_gone_on = is_enough.wait(20)
    kept.stop()
    assert has_gone_on
    assert calls[2] - calls[0] >= 0.4  # never two at a time


def test_stopping_waits_for_the_call_that_runs_and_none_follows():
    has_begun, has_ended, calls = threading.Event(), [], []

    def call() -> None:
        calls.append(1)
        has_begun.set()
        time.sleep(0.2)
        has_ended.append(1)

    kept = DaemonSchedule()
    kept.every(timedelta(seconds=0.01), call)
    kept.start()
    assert has_begun.wait(20)
    kept.stop()
    assert len(has_ended) == len(calls)
    made = len(calls)
    time.sleep(0.1)
    assert len(calls) == made
