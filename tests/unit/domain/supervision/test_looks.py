"""When the daemon looks: every look has a cause, and all commands share a budget."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.cluster.snapshot import BatchJob, BatchState, WaitsFor
from harvester.domain.supervision.looks import (
    Bucket,
    Cause,
    Facts,
    Look,
    LookKind,
    LookSettings,
    LookState,
    Sight,
    sight,
    wanted,
)

SLURM = LookSettings(rest=timedelta(seconds=60), busy=timedelta(seconds=20), per_minute=8.0)
STRICT = LookSettings(rest=timedelta(seconds=60), busy=timedelta(seconds=20), glance=timedelta(seconds=1))
A_LOOK = 2  # commands


class Watcher:
    """A daemon that does nothing but look."""

    def __init__(self, settings: LookSettings) -> None:
        self.settings = settings
        self.pace = LookState()
        self.sent: list[tuple[float, int, Look]] = []

    def tick(self, now: float, facts: Facts, *, due_at: float | None = None) -> Look | None:
        look = wanted(self.pace, facts, self.settings, now)
        if look is None:
            self.pace = self.pace.spent(0, now, self.settings)
            return None
        cost = A_LOOK if look.kind is LookKind.FULL else 1
        self.pace = self.pace.spent(cost, now, self.settings)
        if look.kind is LookKind.FULL:
            self.pace = self.pace.looked(facts, now, due_at=due_at)
        else:
            self.pace = self.pace.glanced(now)
        self.sent.append((now, cost, look))
        return look

    def run(self, facts: Facts, *, from_at: float = 0.0, minutes: float = 10.0, every: float = 0.2) -> None:
        for number in range(int(minutes * 60 / every)):
            self.tick(from_at + number * every, facts)

    def busiest_minute(self) -> int:
        return max(sum(cost for at, cost, _ in self.sent if 0 <= at - begin < 60) for begin, _, _ in self.sent)


def test_at_rest_at_most_four_commands_a_minute_are_sent():
    watcher = Watcher(SLURM)
    watcher.run(Facts(pilots=0, waiting=0))
    assert 9 <= len(watcher.sent) <= 11, "but it looks"
    assert watcher.busiest_minute() <= 4


def test_with_pilots_at_most_twelve_commands_a_minute_are_sent_even_while_work_grows():
    watcher = Watcher(SLURM)
    for number in range(3000):
        watcher.tick(number * 0.2, Facts(pilots=5, waiting=number, oldest_s=30.0))
    assert watcher.busiest_minute() <= 12


def test_work_that_comes_to_a_resting_system_is_looked_after_at_once():
    watcher = Watcher(SLURM)
    watcher.run(Facts(pilots=0, waiting=0), minutes=3.5)
    look = watcher.tick(211.0, Facts(pilots=0, waiting=1))
    assert look == Look(kind=LookKind.FULL, cause=Cause.WORK)


def test_work_that_pilots_take_within_a_second_causes_no_look():
    watcher = Watcher(SLURM)
    watcher.tick(0.0, Facts(pilots=2, waiting=0))
    assert watcher.tick(5.0, Facts(pilots=2, waiting=60, oldest_s=0.05)) is None
    assert watcher.tick(6.0, Facts(pilots=2, waiting=60, oldest_s=1.5)) is not None


def test_what_was_waiting_at_the_last_look_causes_no_other_one():
    watcher = Watcher(SLURM)
    watcher.tick(0.0, Facts(pilots=0, waiting=10))
    assert watcher.tick(5.0, Facts(pilots=3, waiting=10, oldest_s=9.0)) is None
    assert watcher.tick(6.0, Facts(pilots=3, waiting=11, oldest_s=9.0)) is not None


def test_the_plan_says_when_it_wants_a_look():
    watcher = Watcher(SLURM)
    watcher.tick(0.0, Facts(pilots=1, waiting=0), due_at=8.0)
    assert watcher.tick(7.9, Facts(pilots=1, waiting=0)) is None
    look = watcher.tick(8.0, Facts(pilots=1, waiting=0))
    assert look is not None
    assert look.cause is Cause.DUE
    assert watcher.tick(8.2, Facts(pilots=1, waiting=0)) is None


def test_an_admins_word_is_heard_whatever_the_budget():
    watcher = Watcher(SLURM)
    watcher.pace = LookState(looked_at=0.0, bucket=Bucket(tokens=0.0, at=0.0))
    assert watcher.tick(0.2, Facts(pilots=1, waiting=9, oldest_s=5.0)) is None
    look = watcher.tick(0.4, Facts(pilots=1, waiting=0, said_at=0.3))
    assert look is not None
    assert look.cause is Cause.ADMIN


def test_submissions_take_from_the_budget_and_many_at_once_leave_no_debt():
    watcher = Watcher(SLURM)
    watcher.pace = LookState(looked_at=0.0, due_at=8.0).spent(64, 0.0, SLURM)
    watcher.run(Facts(pilots=64, waiting=0), minutes=2)
    assert 14 < next(at for at, _, _ in watcher.sent) < 16


def test_how_an_eviction_goes_is_looked_at_when_the_last_pilot_has_left_whatever_the_budget():
    watcher = Watcher(SLURM)
    watcher.pace = LookState(looked_at=0.0, bucket=Bucket(tokens=0.0, at=0.0))
    facts = Facts(pilots=3, waiting=0, eviction_at=3.0)
    assert watcher.tick(2.9, facts) is None
    look = watcher.tick(3.0, facts)
    assert look is not None
    assert look.cause is Cause.EVICTION
    assert watcher.tick(3.2, facts) is None, "once"


def test_where_pilots_depend_on_it_there_is_one_cheap_glance_a_second_between_full_looks():
    watcher = Watcher(STRICT)
    watcher.run(Facts(pilots=1, waiting=0), minutes=1)
    kinds = [look.kind for _, _, look in watcher.sent]
    assert kinds.count(LookKind.FULL) == 3
    assert 50 <= kinds.count(LookKind.GLANCE) <= 60


def test_without_pilots_nobody_glances():
    watcher = Watcher(STRICT)
    watcher.run(Facts(pilots=0, waiting=0), minutes=2)
    assert {look.kind for _, _, look in watcher.sent} == {LookKind.FULL}


@given(
    steps=st.lists(st.tuples(st.floats(0.05, 30), st.integers(0, 100), st.integers(0, 3)), min_size=1, max_size=200),
)
def test_the_budget_holds_whatever_happens(steps):
    watcher, now = Watcher(SLURM), 0.0
    for passed, waiting, pilots in steps:
        now += passed
        watcher.tick(now, Facts(pilots=pilots, waiting=waiting, oldest_s=5.0), due_at=now + 0.1)
    cost = sum(cost for _, cost, _ in watcher.sent)
    assert cost <= SLURM.burst + A_LOOK + now * (SLURM.per_minute or 0) / 60 + A_LOOK


# ---- glances


def batch(batch_job_id: str, **changes) -> BatchJob:
    plain = {"name": "x", "user": "u", "partition": "prime", "state": BatchState.PENDING}
    return BatchJob(batch_job_id=batch_job_id, **(plain | changes))


def test_a_new_prime_job_asks_for_a_look_and_one_that_waits_for_something_else_does_not():
    before = sight([batch("1")], ours={"hv"})
    assert not sight([batch("1"), batch("9", name="hv")], ours={"hv"}).asks_for_a_look(before)
    assert not sight([batch("1"), batch("2", waits_for=WaitsFor.OTHER)], ours={"hv"}).asks_for_a_look(before)
    assert sight([batch("1"), batch("2")], ours={"hv"}).asks_for_a_look(before)
    assert sight([batch("1"), batch("2", waits_for=WaitsFor.UNKNOWN)], ours={"hv"}).asks_for_a_look(before)


def test_a_prime_job_that_has_begun_asks_for_a_look_because_pilots_may_come_back():
    waiting = sight([batch("1"), batch("2")], ours=())
    assert sight([batch("1", state=BatchState.RUNNING), batch("2")], ours=()).asks_for_a_look(waiting)
    assert not sight([batch("2"), batch("1")], ours=()).asks_for_a_look(waiting)


def test_the_end_of_a_prime_job_asks_for_a_look_only_while_another_one_waits():
    running = batch("7", state=BatchState.RUNNING)
    assert sight([batch("1")], ours=()).asks_for_a_look(sight([batch("1"), running], ours=()))
    assert not sight([], ours=()).asks_for_a_look(sight([running], ours=()))
    assert not sight([batch("1"), running], ours=()).asks_for_a_look(Sight(waiting=frozenset("1")))
