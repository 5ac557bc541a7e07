"""Spare slots: processes that are forked ahead, for tenants that have none."""

from harvester_worker.isolation.slot_environment import Surroundings
from harvester_worker.pool.spare_slots import SpareSlots

ONE, TWO = Surroundings(cpus=1, gpus=None), Surroundings(cpus=2, gpus=None)


class Forks:
    """Spare slots with a clock that the test moves, and the processes that they made and dropped."""

    def __init__(self, count=1):
        self.made, self.dropped, self.waiting = [], [], []
        self.spare = SpareSlots(ONE, count, fork=self.fork, drop=self.dropped.append, later=self.later)

    def later(self, pause_s, call):
        self.waiting.append(call)
        return self

    def cancel(self):
        self.waiting.clear()

    def a_while(self):
        """Let the time pass until nothing waits for it any more."""
        while self.waiting:
            self.waiting.pop(0)()

    def fork(self, surroundings):
        self.made.append(surroundings)
        return len(self.made)


def test_a_process_is_ready_before_anybody_wants_it_and_the_next_one_soon_after():
    forks = Forks()
    assert forks.spare.take(ONE) is None
    forks.a_while()
    assert forks.spare.take(ONE) == 1
    assert forks.spare.take(ONE) is None
    forks.a_while()
    assert forks.spare.take(ONE) == 2


def test_it_is_made_for_the_surroundings_that_were_wanted_last():
    forks = Forks()
    forks.a_while()
    assert forks.spare.take(TWO) is None
    assert forks.dropped == [1]
    forks.a_while()
    assert forks.spare.take(TWO) == 2
    assert forks.made == [ONE, TWO]


def test_who_has_devices_gets_none_and_leaves_it_to_others():
    forks = Forks()
    forks.a_while()
    assert forks.spare.take(Surroundings(cpus=1, gpus=("0",))) is None
    assert forks.spare.take(ONE) == 1


def test_one_that_died_is_made_again_when_it_is_missed_and_none_at_the_end():
    forks = Forks()
    forks.a_while()
    forks.spare.discard(7)
    forks.spare.discard(1)
    forks.a_while()
    assert len(forks.made) == 1
    assert forks.spare.take(ONE) is None
    forks.a_while()
    assert forks.spare.take(ONE) == 2
    forks.spare.close()
    forks.a_while()
    assert len(forks.made) == 2


def test_as_many_are_ready_as_were_asked_for():
    forks = Forks(count=3)
    forks.a_while()
    assert [forks.spare.take(ONE) for _ in range(4)] == [1, 2, 3, None]
    forks.a_while()
    assert len(forks.made) == 6


def test_for_other_surroundings_one_is_replaced_at_a_time():
    forks = Forks(count=2)
    forks.a_while()
    assert forks.spare.take(TWO) is None
    forks.a_while()
    assert forks.dropped == [1]
    assert forks.made == [ONE, ONE, TWO]
    assert [forks.spare.take(TWO), forks.spare.take(ONE)] == [3, 2]
