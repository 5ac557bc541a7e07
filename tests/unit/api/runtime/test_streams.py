"""Listeners: what a turn tells is one piece, and who reads too slowly is cut off instead of waited for."""

import asyncio

import pytest

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import InvocationState
from harvester.domain.protocol import stream
from harvester.store.records import InvocationRecord
from harvester_api.outcome import Outcome
from harvester_api.problems import Refusal
from harvester_api.runtime.journal import Acceptance
from harvester_api.runtime.open_invocations import OpenInvocation
from harvester_api.runtime.streams import Frames, Streams, event_of


def outcome(name: str, value: bytes = b"1", owner: str = "ada") -> Outcome:
    record = InvocationRecord(
        invocation_id=name,
        function_id="f@1",
        owner=owner,
        state=InvocationState.SUCCEEDED,
        encoding=Encoding.JSON,
        accepted_at=1.0,
        ended_at=2.0,
    )
    return Outcome(record=record, value=value)


def told(piece: bytes | None) -> list[str]:
    assert piece is not None
    return [ended.invocation_id for ended in stream.decode(piece[stream.HEADER_BYTES :])]


async def test_what_came_before_the_reader_looks_is_one_piece():
    listener = Frames("ada", "stream-1")
    for name in "abc":
        listener.tell_end(outcome(name))
    assert told(await listener.piece(60)) == ["a", "b", "c"]


async def test_a_piece_is_bounded_and_nothing_is_left_out(monkeypatch):
    monkeypatch.setattr("harvester_api.runtime.streams.PIECE_BYTES", 1000)
    listener = Frames("ada", "stream-1")
    for name in "abc":
        listener.tell_end(outcome(name, b"x" * 900))
    assert [told(await listener.piece(60)) for _ in range(3)] == [["a"], ["b"], ["c"]]


async def test_news_wake_a_reader_that_waits():
    listener = Frames("ada", "stream-1")
    reading = asyncio.create_task(listener.piece(60))
    await asyncio.sleep(0)
    listener.tell_end(outcome("a"))
    assert told(await asyncio.wait_for(reading, 1)) == ["a"]


async def test_a_reader_that_is_too_slow_is_cut_off_and_holds_nothing(monkeypatch):
    monkeypatch.setattr("harvester_api.runtime.streams.QUEUE_BYTES", 5000)
    streams = Streams()
    listener = streams.open("ada", "stream-1", as_events=False)
    for number in range(100):
        streams.push("ada", "stream-1", outcome(str(number), b"x" * 900))
    assert listener.is_over
    assert await listener.piece(60) is None


async def test_what_was_told_before_the_end_is_still_read():
    streams = Streams()
    listener = streams.open("ada", "stream-1", as_events=False)
    streams.push("ada", "stream-1", outcome("a"))
    streams.release()
    assert told(await listener.piece(60)) == ["a"]
    assert await listener.piece(60) is None
    with pytest.raises(Refusal):
        streams.open("ada", "stream-2", as_events=False)


def test_a_stream_that_is_closed_late_does_not_take_its_successor_along():
    streams = Streams()
    first = streams.open("ada", "stream-1", as_events=False)
    second = streams.open("ada", "stream-1", as_events=True)
    streams.close(first)
    assert first.is_over
    assert not second.is_over
    assert streams.count == 1


async def test_of_all_readers_together_the_slowest_is_cut_off(monkeypatch):
    monkeypatch.setattr("harvester_api.runtime.streams.ALL_BYTES", 5000)
    streams = Streams()
    slow, slower = (streams.open("ada", f"stream-{number}", as_events=False) for number in (1, 2))
    streams.push("ada", "stream-1", outcome("a", b"x" * 900))
    for number in range(4):
        streams.push("ada", "stream-2", outcome(str(number), b"x" * 900))
    assert (slow.is_over, slower.is_over) == (False, True)
    for number in range(4):  # what was cut off is not counted any more
        streams.push("ada", "stream-1", outcome(str(number), b"x" * 500))
    assert told(await slow.piece(60)) == ["a", "0", "1", "2", "3"]


async def test_what_a_reader_that_has_gone_left_does_not_count(monkeypatch):
    monkeypatch.setattr("harvester_api.runtime.streams.ALL_BYTES", 5000)
    streams = Streams()
    for _ in range(10):
        first = streams.open("ada", "stream-1", as_events=False)
        streams.push("ada", "stream-1", outcome("a", b"x" * 900))
        second = streams.open("ada", "stream-1", as_events=False)
        streams.push("ada", "stream-1", outcome("b", b"x" * 900))
        assert await first.piece(60) is None
        assert not second.is_over
        streams.close(second)


async def test_a_state_is_told_once_it_is_on_disk_and_once_only():
    streams = Streams()
    watcher = streams.watch("ada", sees_all=False)
    entry = OpenInvocation(
        invocation_id="0198-1",
        function=FunctionVersion(function_id="f@1", name="f", version=1, kind=FunctionKind.SOURCE, entry="f", body=b""),
        owner="ada",
        encoding=Encoding.JSON,
        accepted_at=1.0,
        arguments=b"{}",
        acceptance=unwritten(),
        state=InvocationState.LEASED,
    )
    streams.state(entry)
    entry.acceptance = None
    streams.state(entry)
    piece = await watcher.piece(60)
    assert piece is not None
    assert piece.count(b"event: state") == 1


def unwritten() -> Acceptance:
    future = asyncio.get_running_loop().create_future()
    return Acceptance(writes=(), future=future, on_commit=lambda: None, on_failure=lambda error: error)


@pytest.mark.parametrize(
    ("value", "is_shown"), [(b'{"a":\n1}', True), (b'1}\n\nevent: result\ndata: {"owner": "bob"}', False)]
)
def test_a_result_with_lines_of_its_own_makes_no_event_of_its_own(value, is_shown):
    event = event_of("result", outcome("a", value))
    assert event.count(b"\n") == 4
    assert (b'"result":{"a":1}' in event) == is_shown
