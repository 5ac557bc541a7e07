"""The journal: nothing is told before it is on disk, what fails is refused or kept, the order stays."""

import asyncio
from concurrent.futures import Future
from datetime import timedelta

import msgspec
import pytest

from harvester.domain.model.functions import Encoding
from harvester.store.store import StoreError
from harvester.store.writes.changes import Granted, NewInvocation, PilotSeen, Started
from harvester_api.doubt import InDoubt
from harvester_api.runtime.journal import Journal


def started(number: int, name: str = "i") -> Started:
    return Started(invocation_id=name, fence=number, at=0.0)


def new(name: str) -> NewInvocation:
    return NewInvocation(
        invocation_id=name, function_id="f@1", owner="ada", encoding=Encoding.JSON, arguments=b"", accepted_at=0.0
    )


class Disk:
    """A store whose commits the test lets happen."""

    def __init__(self) -> None:
        self.groups: list[list[object]] = []
        self.futures: list[Future[None]] = []

    def write(self, writes) -> Future[None]:
        self.groups.append(list(writes))
        self.futures.append(Future())
        return self.futures[-1]

    async def flushed(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.groups) < count:  # noqa: ASYNC110 - a timer of the journal
                await asyncio.sleep(0.001)

    async def land(self, error: StoreError | None = None) -> None:
        await turn()
        if error is None:
            self.futures[-1].set_result(None)
        else:
            self.futures[-1].set_exception(error)
        await turn()


async def turn() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def journal(disk) -> Journal:
    return Journal(disk.write, timedelta(milliseconds=5))


async def test_an_action_runs_after_the_commit_of_what_stood_before_it(journal, disk):
    told = []
    journal.put(started(1))
    journal.then(lambda: told.append("one"))
    journal.put(started(2))
    journal.then(lambda: told.append("two"))
    await turn()
    assert disk.groups == [[started(1), started(2)]]
    assert told == []
    await disk.land()
    assert told == ["one", "two"]


async def test_what_comes_while_a_group_is_in_flight_makes_the_next_one(journal, disk):
    told = []
    journal.put(started(1))
    journal.then(lambda: told.append("one"))
    await turn()
    journal.put(started(2))
    journal.then(lambda: told.append("two"))
    await turn()
    assert len(disk.groups) == 1
    await disk.land()
    assert told == ["one"]
    assert disk.groups[1] == [started(2)]
    await disk.land()
    assert told == ["one", "two"]


async def test_a_write_that_nobody_waits_for_leaves_with_the_next_one_that_somebody_does(journal, disk):
    journal.put(started(1))
    await turn()
    assert disk.groups == []
    journal.then(lambda: None)
    await turn()
    assert disk.groups == [[started(1)]]


async def test_a_write_that_nobody_waits_for_leaves_by_itself_a_moment_later(journal, disk):
    journal.put(started(1))
    await disk.flushed(1)
    assert disk.groups == [[started(1)]]


async def test_a_failed_commit_refuses_the_new_and_keeps_the_rest_in_order(journal, disk):
    told, refused = [], []

    def refuse(error):
        refused.append(error)
        return error

    journal.put(started(1, "old"))
    acceptance = journal.accept([new("a"), new("b")], lambda: told.append("a"), refuse, is_urgent=True)
    granted = Granted(invocation_id="a", fence=1, attempt=1, pilot_id="p", resumed=False, at=0.0)
    journal.put(granted)
    journal.then(lambda: told.append("old"))
    await turn()
    seen = PilotSeen(pilot_id="p", at=0.0, ends_at=1.0, activations=1, idle_since=None)
    journal.put(started(1, "a"))
    journal.put(seen)
    error = StoreError("no disk")
    await disk.land(error)
    assert refused == [error]
    assert acceptance.future.exception() is error
    assert told == []
    assert journal.trouble is error
    with pytest.raises(StoreError, match="no disk"):
        journal.accept([new("c")], lambda: None, refuse, is_urgent=True)
    await disk.flushed(2)
    assert disk.groups[1:] == [[started(1, "old")]]  # the heartbeat is old news by now
    await disk.land()
    assert told == ["old"]
    assert journal.trouble is None


async def test_an_acceptance_in_doubt_is_written_again_in_its_place_and_tells_each_try(journal, disk):
    told = []
    error, again = StoreError("no disk"), StoreError("still no disk")
    acceptance = journal.accept(
        [new("a")], lambda: told.append("a"), lambda error: InDoubt(["a"], error), is_urgent=True
    )
    granted = Granted(invocation_id="a", fence=1, attempt=1, pilot_id="p", resumed=False, at=0.0)
    journal.put(granted)
    journal.then(lambda: told.append("end of a"))
    first = acceptance.future
    await disk.land(error)
    assert isinstance(first.exception(), InDoubt)
    assert not acceptance.future.done()
    second = acceptance.future
    await disk.flushed(2)
    replayed = msgspec.structs.replace(new("a"), is_again=True)  # the commit may have come about
    assert disk.groups[1] == [replayed, granted]
    await disk.land(again)
    assert isinstance(second.exception(), InDoubt)
    await disk.flushed(3)
    assert disk.groups[2] == [replayed, granted]
    assert told == []
    await disk.land()
    assert acceptance.future.exception() is None
    assert told == ["a", "end of a"]


async def test_after_a_refusal_an_empty_commit_tells_when_the_store_is_back(journal, disk):
    journal.accept([new("a")], lambda: None, lambda error: error, is_urgent=True)
    await disk.land(StoreError("no disk"))
    await disk.flushed(2)
    assert disk.groups == [[new("a")], []]
    assert journal.trouble is not None
    await disk.land()
    assert journal.trouble is None


async def test_a_defect_in_one_action_does_not_keep_the_others_from_running(journal, disk, caplog):
    told = []
    journal.put(started(1))
    journal.then(lambda: 1 / 0)
    journal.then(lambda: told.append("two"))
    await disk.land()
    assert told == ["two"]
    assert "ZeroDivisionError" in caplog.text


async def test_draining_waits_for_all_that_is_queued(journal, disk):
    assert await journal.drain(timedelta(0))
    journal.put(started(1))
    draining = asyncio.create_task(journal.drain(timedelta(seconds=5)))
    await disk.land()
    assert await draining
    journal.put(started(2))
    assert not await journal.drain(timedelta(0))


async def test_settling_waits_for_what_is_queued_now_and_no_longer(journal, disk):
    journal.put(started(1))
    settling = asyncio.create_task(journal.settle(timedelta(seconds=5)))
    await disk.flushed(1)
    journal.put(started(2))
    await turn()
    assert not settling.done()
    await disk.land()
    await settling
    assert disk.groups[0] == [started(1)]


async def test_settling_gives_up_when_the_store_does_not_answer(journal):
    journal.put(started(1))
    async with asyncio.timeout(2):
        await journal.settle(timedelta(seconds=0.01))
