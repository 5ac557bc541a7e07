"""What learned durations mean for the pilots that a function may go to, and when they are doubted."""

from support.dispatching import work

from harvester.domain.dispatch.leasing.fitting import doubtful, learn
from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.dispatch.queueing.queues import Queues
from harvester.domain.model.resources import Resources

MARGIN_S = 5.0


def pilot(*, ends_at, free=1, is_connected=True):
    room = Resources(cpus=1)
    return PilotEntry(
        f"p{ends_at}", room, Resources(cpus=free), "3.11", ends_at, 0, 10_000, is_connected=is_connected
    )  # fmt: skip


class Site:
    """Queues in which one invocation of a function waits whose runs take about 100 s."""

    def __init__(self, **wanted):
        self.queues = Queues()
        self.ledger = Ledger(1, self.queues, 0.02)
        self.entry = self.ledger.open(work("i", **wanted))
        self.queues.append(self.entry)
        self.function = self.entry.lane.function
        for _ in range(5):
            learn(self.queues, self.function, 100.0)

    def doubted(self, now, *pilots):
        return list(doubtful(self.queues, pilots, MARGIN_S, now))


def test_what_a_run_takes_becomes_what_its_function_needs():
    site = Site()
    needs_s = site.function.shape.needs_s
    assert 100 < needs_s < 400
    assert list(site.queues.active) == [site.function.shape], "it waits under its new shape"


def test_a_function_that_declares_its_walltime_or_checkpoints_keeps_its_shape():
    assert Site(walltime_s=30.0).function.shape.needs_s == 30.0
    assert Site(checkpoints=True).function.shape.needs_s == 0.0


def test_a_shape_is_made_anew_only_where_the_need_is_another():
    site = Site()
    before = site.function.shape
    learn(site.queues, site.function, 100.0)
    changed = site.function.duration.needs_s != before.needs_s
    assert (site.function.shape is before) is not changed


def test_a_need_is_halved_when_nothing_ran_for_as_long_as_it_is_and_every_pilot_has_less():
    site = Site()
    needs_s = site.function.duration.needs_s
    short = pilot(ends_at=needs_s + 60)
    assert site.doubted(needs_s, short) == [], "it may still be right"
    assert site.doubted(needs_s + 61, short) == [site.function]
    assert site.function.duration.needs_s == needs_s / 2
    assert site.function.quiet_since == needs_s + 61


def test_the_time_in_which_nothing_ran_counts_from_the_acceptance():
    site = Site(at=100.0)
    now = site.function.duration.needs_s + 99
    assert site.doubted(now, pilot(ends_at=now + 1)) == []
    assert site.doubted(now + 2, pilot(ends_at=now + 3)) == [site.function]


def test_a_pilot_that_has_the_time_is_waited_for():
    site = Site()
    now = site.function.duration.needs_s + 1
    assert site.doubted(now, pilot(ends_at=now + 1), pilot(ends_at=1e6)) == []


def test_a_pilot_that_is_busy_counts_by_the_time_that_it_has():
    site = Site()
    now = site.function.duration.needs_s + 1
    assert site.doubted(now, pilot(ends_at=1e6, free=0)) == [], "it has the time, once it has room"
    assert site.doubted(now, pilot(ends_at=now + 1, free=0)) == [site.function]


def test_what_no_pilot_can_run_for_another_reason_is_not_doubted():
    site = Site()
    now = site.function.duration.needs_s + 1
    assert site.doubted(now, pilot(ends_at=now + 1, is_connected=False)) == []
    assert site.doubted(now) == []
    assert site.doubted(now, pilot(ends_at=now + 1, is_connected=False), pilot(ends_at=now + 1)) == [site.function]


def test_a_function_that_runs_somewhere_is_not_doubted():
    site = Site()
    now = site.function.duration.needs_s + 1
    site.function.leases = 1
    assert site.doubted(now, pilot(ends_at=now + 1)) == []


def test_a_declared_walltime_is_not_doubted():
    site = Site(walltime_s=30.0)
    assert site.doubted(1000, pilot(ends_at=1001)) == []


def test_only_functions_that_wait_under_the_shape_are_doubted():
    site = Site()
    other = site.ledger.open(work("j", "g@1"))  # open, and of no need that was learned
    site.queues.append(other)
    now = site.function.duration.needs_s + 1
    assert site.doubted(now, pilot(ends_at=now + 1)) == [site.function]


def test_one_that_is_not_doubted_hides_no_other():
    site = Site()
    entry = site.ledger.open(work("j", "g@1"))
    site.queues.append(entry)
    second = entry.lane.function
    for _ in range(5):
        learn(site.queues, second, 100.0)
    assert second.shape == site.function.shape
    site.function.leases = 1  # the first one runs somewhere
    now = second.duration.needs_s + 1
    assert site.doubted(now, pilot(ends_at=now + 1)) == [second]
