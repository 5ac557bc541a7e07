"""Spare slots: processes that are forked ahead, for tenants that have none."""

import asyncio

from harvester_worker.isolation.slot_environment import Surroundings
from harvester_worker.pool.spare_slots import PAUSE_S, SpareSlots

ONE, TWO = Surroundings(cpus=1, gpus=None), Surroundings(cpus=2, gpus=None)


class Forks:
    def __init__(self, count=1):
        self.made, self.dropped = [], []
        self.spare = SpareSlots(ONE, count, fork=self.fork, drop=self.dropped.append)

    def fork(self, surroundings):
        self.made.append(surroundings)
        return len(self.made)


async def a_while():
    await asyncio.sleep(6 * PAUSE_S)


async def test_a_process_is_ready_before_anybody_wants_it_and_the_next_one_soon_after():
    forks = Forks()
    assert forks.spare.take(ONE) is None
    await a_while()
    assert forks.spare.take(ONE) == 1
    assert forks.spare.take(ONE) is None
    await a_while()
    assert forks.spare.take(ONE) == 2


async def test_it_is_made_for_the_surroundings_that_were_wanted_last():
    forks = Forks()
    await a_while()
    assert forks.spare.take(TWO) is None
    assert forks.dropped == [1]
    await a_while()
    assert forks.spare.take(TWO) == 2
    assert forks.made == [ONE, TWO]


async def test_who_has_devices_gets_none_and_leaves_it_to_others():
    forks = Forks()
    await a_while()
    assert forks.spare.take(Surroundings(cpus=1, gpus=("0",))) is None
    assert forks.spare.take(ONE) == 1


async def test_one_that_died_is_made_again_when_it_is_missed_and_none_at_the_end():
    forks = Forks()
    await a_while()
    forks.spare.discard(7)
    forks.spare.discard(1)
    await a_while()
    assert len(forks.made) == 1
    assert forks.spare.take(ONE) is None
    await a_while()
    assert forks.spare.take(ONE) == 2
    forks.spare.close()
    await a_while()
    assert len(forks.made) == 2


async def test_as_many_are_ready_as_were_asked_for():
    forks = Forks(count=3)
    await a_while()
    assert [forks.spare.take(ONE) for _ in range(4)] == [1, 2, 3, None]
    await a_while()
    assert len(forks.made) == 6


async def test_for_other_surroundings_one_is_replaced_at_a_time():
    forks = Forks(count=2)
    await a_while()
    assert forks.spare.take(TWO) is None
    await a_while()
    assert forks.dropped == [1]
    assert forks.made == [ONE, ONE, TWO]
    assert [forks.spare.take(TWO), forks.spare.take(ONE)] == [3, 2]
