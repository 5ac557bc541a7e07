import os

import pytest

from harvester_worker.ipc.run_claims import Claims, RunClaim


@pytest.fixture
def both():
    """The agent's and the slot's claims; in one process, so the lock between them does nothing here."""
    agent = Claims.create()
    slot = Claims(os.dup(agent.fileno()))
    yield agent, slot
    slot.close()
    agent.close()


def test_a_slot_claims_its_runs_one_after_another(both):
    agent, slot = both
    assert [slot.begin(number) for number in (1, 2)] == [True, True]
    slot.end(1)
    assert agent.look() == RunClaim(begun=2, ended=1)


def test_nobody_can_make_the_memory_shorter_under_the_agent(both):
    agent, _ = both
    with pytest.raises(PermissionError):
        os.ftruncate(agent.fileno(), 0)
    assert agent.look() == RunClaim(begun=0, ended=0)


def test_a_death_is_blamed_on_the_run_that_the_slot_was_at():
    assert RunClaim(begun=5, ended=4).blamed(3, 9) == 5
    assert RunClaim(begun=5, ended=5).blamed(3, 9) is None
    assert RunClaim(begun=0, ended=0).blamed(1, 9) == 1, "it did not even start, and would not the next time"
    assert RunClaim(begun=99, ended=99).blamed(3, 9) == 3, "its function has written there"
    assert RunClaim(begun=5, ended=6).blamed(3, 9) == 3


def test_what_is_taken_back_is_not_begun_and_what_is_sent_later_is(both):
    agent, slot = both
    assert slot.begin(1)
    assert agent.take_back(keep=1, last=4) == 1
    assert [slot.begin(number) for number in (2, 3, 4, 5)] == [False, False, False, True]


def test_the_next_run_of_a_slot_is_kept_though_it_has_not_begun(both):
    agent, slot = both
    assert agent.take_back(keep=1, last=3) == 1
    assert [slot.begin(number) for number in (1, 2, 3)] == [True, False, False]


def test_what_the_slot_began_meanwhile_is_kept_too(both):
    agent, slot = both
    for number in (1, 2, 3):
        slot.begin(number)
    assert agent.take_back(keep=1, last=5) == 3
    assert [slot.begin(number) for number in (4, 5)] == [False, False]


def test_what_was_taken_back_long_ago_stays_so(both):
    agent, slot = both
    assert slot.begin(1)
    agent.take_back(keep=1, last=3)
    agent.take_back(keep=4, last=6)
    assert [number for number in range(2, 8) if slot.begin(number)] == [4, 7]
