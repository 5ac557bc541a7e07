import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.sdk.submit.chunking import FIRST, MAX_BYTES, MAX_CALLS, PROBES, SHARE, UNKNOWN_S, Chunking


def run(chunking, costs, *, slots=2, overhead_s=0.002, pilots_after_s=0.0):
    """Drive a map on a simulated pool; return its chunks and the seconds it took."""
    now, number = 0.0, itertools.count()
    free = [pilots_after_s] * slots
    ending, chunks = [], []
    while True:
        for chunk in chunking.due(now):
            chunks.append(chunk)
            begin = max(now, heapq.heappop(free))
            end = begin + overhead_s + sum(costs[call] for call in chunk)
            heapq.heappush(free, end)
            heapq.heappush(ending, (end, next(number), chunk))
        at = chunking.next_at()
        if ending and (at is None or ending[0][0] <= max(at, now + 0.001)):
            now, _, chunk = heapq.heappop(ending)
            chunking.ended(chunk.start, now)
        elif at is not None:
            now = max(at, now + 0.001)
        else:
            return chunks, now


@given(
    st.lists(st.sampled_from([0.0, 0.0001, 0.01, 0.2, 3.0]), max_size=400),
    st.one_of(st.none(), st.integers(1, 50)),
    st.integers(1, 8),
    st.sampled_from([0.0, 2.0, 100.0]),
)
def test_every_call_goes_out_exactly_once_and_in_order(costs, chunksize, slots, pilots_after_s):
    chunks, _ = run(Chunking([10] * len(costs), chunksize), costs, slots=slots, pilots_after_s=pilots_after_s)
    assert [call for chunk in chunks for call in chunk] == list(range(len(costs)))
    if chunksize is not None:
        assert all(len(chunk) == chunksize for chunk in chunks[:-1])


def test_ten_thousand_no_ops_are_a_few_hundred_chunks_after_two_waves():
    chunks, took_s = run(Chunking([10] * 10_000), [0.0] * 10_000)
    assert len(chunks) < 300
    assert took_s < 0.5
    assert [len(chunk) for chunk in chunks[:FIRST]] == [1] * FIRST


def test_long_calls_go_alone_and_soon():
    chunks, took_s = run(Chunking([10] * 200), [10.0] * 200, slots=200)
    assert all(len(chunk) == 1 for chunk in chunks)
    assert took_s < 12.0


def test_chunks_of_known_calls_take_about_the_time_they_are_meant_to():
    chunks, _ = run(Chunking([10] * 20_000), [0.005] * 20_000, slots=16)
    lengths = sorted(len(chunk) for chunk in chunks)
    assert 8 <= lengths[len(lengths) // 2] <= 20
    assert max(lengths) <= 20


def test_the_first_load_of_a_function_does_not_count_for_long():
    costs = [1.0] * FIRST + [0.0] * 9_996
    chunks, _ = run(Chunking([10] * len(costs)), costs, slots=FIRST)
    assert len(chunks) < 700


def test_while_no_pilot_is_there_the_demand_is_seen_and_the_rest_is_kept_for_chunks():
    chunking = Chunking([10] * 5000)
    sent, now = 0, 0.0
    while now < 10.0:
        sent += sum(len(chunk) for chunk in chunking.due(now))
        now += 0.05
    assert sent == PROBES
    assert sum(len(chunk) for chunk in chunking.due(UNKNOWN_S + 1)) == 5000 - PROBES


@pytest.mark.parametrize("chunksize", [None, 500])
def test_chunks_keep_the_limits_on_calls_and_bytes(chunksize):
    chunks, _ = run(Chunking([MAX_BYTES // 3] * 1000, chunksize), [0.0] * 1000)
    most = 3 if chunksize is None else 96
    assert max(len(chunk) for chunk in chunks) == most
    chunks, _ = run(Chunking([1] * 100_000), [0.0] * 100_000)
    assert max(len(chunk) for chunk in chunks) == MAX_CALLS


def test_chunks_shrink_towards_the_end_so_that_no_slot_waits_for_the_last():
    chunks, _ = run(Chunking([1] * 3200), [0.0] * 3200)
    for chunk in chunks:
        assert len(chunk) <= -(-(3200 - chunk.start) // SHARE)


def test_after_a_chunk_that_was_too_much_the_others_are_smaller():
    chunking = Chunking([1] * 10_000)
    first = chunking.due(0.0)
    chunking.ended(first[0].start, 0.001)
    second = chunking.due(0.3)
    size = len(second[0])
    assert size > 4
    chunking.failed(second[0].start, 0.4)
    chunking.hurry()
    assert max(len(chunk) for chunk in chunking.due(0.5)) == size // 2


def test_large_results_make_small_chunks():
    chunking = Chunking([1] * 10_000, None)
    first = chunking.due(0.0)
    chunking.ended(first[0].start, 0.001, result_bytes=MAX_BYTES // 4)
    assert {len(chunk) for chunk in chunking.due(0.3)} == {4}
