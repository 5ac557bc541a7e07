"""The gateway's memory: who waits is woken, and what has ended is remembered within bounds."""

import asyncio

import pytest

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import InvocationState
from harvester.store.store import StoreError
from harvester.store.writes.changes import Concluded
from harvester_api.runtime.open_invocations import Book, OpenInvocation

FUNCTION = FunctionVersion(function_id="f@1", name="f", version=1, kind=FunctionKind.MODULE, body=b"m:f")


def opened(book: Book, name: str, key: str | None = None) -> OpenInvocation:
    entry = OpenInvocation(
        invocation_id=name,
        function=FUNCTION,
        owner="ada",
        encoding=Encoding.JSON,
        accepted_at=1.0,
        arguments=b"{}",
        key=key,
    )
    book.add(entry)
    return entry


def end(name: str, value: bytes = b"1") -> Concluded:
    return Concluded(invocation_id=name, fence=1, state=InvocationState.SUCCEEDED, at=2.0, value=value)


async def test_one_end_wakes_who_waits_for_many_and_leaves_nothing_behind():
    book = Book()
    entries = [opened(book, name) for name in "abc"]
    waiting = asyncio.create_task(book.wait(entries, 60))
    await asyncio.sleep(0)
    book.conclude(entries[1], end("b"))
    await asyncio.wait_for(waiting, 1)
    assert [entry.waiters for entry in entries if entry.invocation_id in book.open] == [[], []]
    assert book.find("b").value == b"1"
    assert not book.find("a").is_ended


async def test_a_wait_that_is_over_leaves_no_waiter():
    book = Book()
    entry = opened(book, "a")
    await book.wait([entry], 0.001)
    assert entry.waiters == []


async def test_an_invocation_that_could_not_be_written_tells_who_waits():
    book = Book()
    entry = opened(book, "a", key="k")
    waiting = asyncio.create_task(book.wait([entry], 60))
    await asyncio.sleep(0)
    book.refuse(entry, StoreError("no disk"))
    with pytest.raises(StoreError, match="no disk"):
        await waiting
    assert book.find("a") is None
    assert book.by_key("ada", "k") is None


async def test_when_the_gateway_stops_nobody_waits_any_more():
    book = Book()
    entry = opened(book, "a")
    waiting = asyncio.create_task(book.wait([entry], 60))
    await asyncio.sleep(0)
    book.release()
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(book.wait([entry], 60), 1)


def test_a_key_belongs_to_its_owner():
    book = Book()
    entry = opened(book, "a", key="k")
    assert book.by_key("ada", "k") is entry
    assert book.by_key("bob", "k") is None


def test_what_has_ended_is_remembered_within_bounds():
    book = Book(keep=2, keep_bytes=160)
    for name in "abc":
        book.conclude(opened(book, name), end(name, b"x" * 10))
    assert [book.find(name) is not None for name in "abc"] == [False, True, True]
    book.conclude(opened(book, "large"), end("large", b"x" * 11))
    assert book.find("large") is None
