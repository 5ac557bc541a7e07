"""Large bodies: one caller's do not keep another's from being read."""

import asyncio
import threading

import pytest

from harvester_api.http.body_spool import Spool
from harvester_api.validation import large_bodies
from harvester_api.validation.large_bodies import LargeBodies


@pytest.fixture
def large(monkeypatch):
    """Readers that read until they are told to end."""
    readers = LargeBodies()
    readers.may_end, readers.begun = threading.Event(), []
    lock = threading.Lock()

    def read(file, asked, take):
        large_bodies.os.close(file)
        with lock:
            readers.begun.append(asked.size)
        if asked.size > 10:
            readers.may_end.wait(10)

    monkeypatch.setattr(large_bodies, "_read", read)
    yield readers
    readers.may_end.set()
    readers.close()


async def read(bodies, size):
    with Spool.of(b"x" * size) as spool:
        await bodies.check_one(spool)


async def until(question):
    async with asyncio.timeout(5):
        while not question():  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.001)


async def test_who_sends_many_that_take_long_does_not_keep_others_waiting(large):
    mine, theirs = large.of_one(), large.of_one()
    reading = [asyncio.create_task(read(theirs, 100)) for _ in range(8)]
    await until(lambda: len(large.begun) >= 2)
    async with asyncio.timeout(5):
        await read(mine, 1)
    assert large.begun == [100, 100, 1]
    large.may_end.set()
    await asyncio.gather(*reading)
    assert large.begun.count(100) == 8


async def test_who_goes_away_and_comes_again_has_no_more_of_them(large):
    mine, theirs = large.of_one(), large.of_one()
    for _ in range(4):
        reading = [asyncio.create_task(read(theirs, 100)) for _ in range(2)]
        await asyncio.sleep(0.05)
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    async with asyncio.timeout(5):
        await read(mine, 1)
    assert large.begun == [100, 100, 1]
