"""The machine's clock is set while the daemon runs: it goes on, and tells."""

import threading
import time
from datetime import timedelta

import msgspec
import pytest

from harvester.daemon.daemon import Daemon
from harvester.daemon.ticking import Ticking
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


def test_ticks_come_at_their_interval_when_the_clock_is_set_back(monkeypatch):
    ticks, is_enough = [], threading.Event()

    def tick() -> None:
        ticks.append(time.monotonic())
        monkeypatch.setattr(time, "time", lambda: 1_000_000.0 - 3600 * len(ticks))
        if len(ticks) == 5:
            is_enough.set()

    ticking = Ticking(tick, timedelta(seconds=0.01))
    assert is_enough.wait(5)
    ticking.stop()
    assert 4 * 0.009 <= ticks[4] - ticks[0] < 2
