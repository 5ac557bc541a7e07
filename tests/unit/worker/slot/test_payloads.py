"""Which pickler writes what, and what stays out of band."""

import pickle

import cloudpickle
import pytest

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import Failure, FailureKind
from harvester.domain.payload import buffers
from harvester.domain.payload.calls import count_calls, decode_outcomes, encode_calls, encode_outcomes
from harvester.domain.payload.pickles import OUT_OF_BAND_BYTES
from harvester.domain.payload.plain import MAX_ITEMS
from harvester_worker.slot import loaded_function, payloads, runner
from harvester_worker.slot.checkpointing import Evicted, SlotContext


class Array:
    """What an array of a library is to a pickler: a buffer and how to make it again."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Array, (pickle.PickleBuffer(self.data),)


def pieces_of(value, limit=10**9):
    return payloads.encode_result(Encoding.PICKLE, value, limit)


@pytest.mark.parametrize(
    "value",
    [None, 1, "text", (1, [2.0, {"a": b"b"}], {3}), list(range(MAX_ITEMS + 1)), [[[[[[1]]]]]], {1: {2: {3: 4}}}],
)
def test_plain_results_come_back_as_they_were(value):
    (piece,) = pieces_of(value)
    assert pickle.loads(piece) == value  # noqa: S301


def test_plain_data_needs_no_pickler_in_python(monkeypatch):
    monkeypatch.setattr(cloudpickle, "dumps", None)
    assert pieces_of({"a": [1, (2, 3)]})


def test_what_only_looks_plain_is_written_by_value():
    class Mine(int):
        pass

    (piece,) = pieces_of([Mine(3)])
    assert b"harvester_worker" not in piece
    assert pickle.loads(piece) == [3]  # noqa: S301


def test_a_list_within_itself_comes_back():
    value: list[object] = []
    value.append(value)
    (piece,) = pieces_of(value)
    again = pickle.loads(piece)  # noqa: S301
    assert again[0] is again


def test_large_buffers_stay_out_of_band_and_small_ones_do_not():
    large, small = bytearray(OUT_OF_BAND_BYTES), bytearray(b"abc")
    payload = b"".join(pieces_of([Array(large), Array(small)]))
    pickled, *apart = buffers.split(bytearray(payload))
    assert [len(each) for each in apart] == [OUT_OF_BAND_BYTES]
    first, second = pickle.loads(pickled, buffers=apart)  # noqa: S301
    assert bytes(first.data) == bytes(large)
    assert bytes(second.data) == b"abc"


def test_the_pieces_of_a_large_result_are_not_copied():
    data = bytearray(OUT_OF_BAND_BYTES)
    (_, _, _, _, piece, _) = pieces_of([Array(data)])
    data[0] = 7
    assert piece[0] == 7


def test_arrays_of_arguments_can_be_written_to_wherever_the_bytes_came_from():
    fixed = b"".join(pieces_of(((Array(bytearray(b"x" * OUT_OF_BAND_BYTES)),), {})))
    writable = bytearray(fixed)
    for payload in (fixed, writable):
        (array,), _ = payloads.decode_arguments(Encoding.PICKLE, payload)
        array.data[:2] = b"ok"
    assert b"okx" not in fixed
    assert b"okx" in writable, "it lies there, and was not copied"


def context(restored=None, sent=None):
    return SlotContext(
        invocation_id="i",
        attempt=1,
        restored=restored,
        send=lambda saved: sent.append(saved.state) if sent is not None else None,
        interval_s=5.0,
        limit_bytes=1000,
        leave_in_s=60.0,
    )


def run_calls(function, calls, given, *, interval_s=5.0, limit_bytes=10**6):
    arguments = encode_calls([pickle.dumps((args, {})) for args in calls])
    loaded = loaded_function.Loaded(function)
    (piece,) = runner.run(loaded, Encoding.CALLS, arguments, given, limit_bytes=limit_bytes, interval_s=interval_s)
    return decode_outcomes(piece)


def test_calls_go_on_behind_the_outcomes_that_were_saved():
    made = []
    done = [pickle.dumps("earlier"), Failure(kind=FailureKind.EXCEPTION, message="no")]
    outcomes = run_calls(made.append, [(0,), (1,), (2,)], context(pickle.dumps(done)))
    assert made == [2]
    assert outcomes == [*done, pickle.dumps(None, protocol=5)]


def test_calls_that_have_to_leave_hand_over_what_they_have_at_once_and_stop_behind_the_present_one():
    sent: list[bytes] = []
    here = context(sent=sent)

    def leave_in_the_second(number):
        if number == 1:
            here.hand_over(1.0)
            assert len(pickle.loads(sent[-1])) == 1, "before this call is over"  # noqa: S301
        return number

    with pytest.raises(Evicted):
        run_calls(leave_in_the_second, [(0,), (1,), (2,)], here)
    assert len(pickle.loads(sent[-1])) == 2  # noqa: S301


def test_calls_are_saved_at_the_interval_and_short_ones_not_at_all():
    sent: list[bytes] = []
    run_calls(abs, [(1,)] * 3, context(sent=sent))
    assert sent == []
    run_calls(abs, [(1,)] * 3, context(sent=sent), interval_s=0.0)
    assert sent


def test_generators_among_many_calls_run_to_their_end_and_save_nothing():
    sent: list[bytes] = []

    def count(to, state=None):
        yield from range(state or 0, to)
        return to

    assert run_calls(count, [(3,)], context(sent=sent)) == [pickle.dumps(3, protocol=5)]
    assert sent == []


def test_what_is_too_large_is_told_for_one_call_or_for_all_together():
    (outcome,) = run_calls(lambda: "x" * 2000, [()], context(), limit_bytes=1000)
    assert outcome.kind is FailureKind.RESULT
    with pytest.raises(runner.RunFailed, match=r"the array of 2 results takes \d+ bytes"):
        run_calls(lambda: "x" * 60, [(), ()], context(), limit_bytes=100)


def test_calls_are_counted_by_their_first_bytes():
    for count in (0, 1, 15, 16, 65_535, 65_536):
        assert count_calls(encode_calls([b""] * count)) == count
    assert encode_outcomes([]) == encode_calls([])
