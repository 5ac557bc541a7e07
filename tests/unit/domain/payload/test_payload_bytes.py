"""The payload formats as any bytes, and with any values: the documented error, or what was meant."""

import contextlib
import pickle

import cloudpickle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.mutations import garbage, mutated, peak_bytes

from harvester.domain.model.invocations import Failure, FailureKind
from harvester.domain.payload import buffers, calls
from harvester.domain.payload.buffers import ALIGNMENT, MAGIC, BuffersError
from harvester.domain.payload.calls import CallsError
from harvester.domain.payload.exceptions import LIMIT_BYTES, pickled_exception, unpickled_exception
from harvester.domain.payload.plain import is_plain

# ---- buffers ---------------------------------------------------------------------------------------------------------

PARTS = st.lists(st.binary(max_size=300), min_size=2, max_size=6)
JOINED = [b"".join(buffers.join([b"\x80pickle", *others])) for others in ([b""], [b"x" * 70], [b"a", b"b" * 64, b"c"])]


@given(PARTS)
def test_what_was_joined_is_split_into_the_same_parts_each_where_vectors_may_begin(parts):
    payload = b"".join(buffers.join(parts))
    found = buffers.split(payload)
    assert [bytes(part) for part in found] == parts
    assert len(payload) % ALIGNMENT == 0


@given(st.binary(max_size=200).map(lambda body: MAGIC + body) | garbage(JOINED))
@example(MAGIC + b"\xff" * 4)
@example(MAGIC + b"\x01\x00\x00\x00" + b"\xff" * 8)
@example(MAGIC + (100_000).to_bytes(4, "little"))
def test_any_payload_is_split_within_its_bounds_or_told_by_the_documented_error(payload):
    def split():
        with contextlib.suppress(BuffersError):
            assert sum(part.nbytes for part in buffers.split(payload)) <= len(payload)

    split()
    assert peak_bytes(split) < 64 * 1024 + 200 * len(payload)


def test_every_prefix_of_a_table_of_buffers_is_told_by_the_documented_error():
    for payload in JOINED:
        last = len(payload.rstrip(b"\x00"))
        for end in range(len(MAGIC), last):
            with pytest.raises(BuffersError):
                buffers.split(payload[:end])


# ---- calls -----------------------------------------------------------------------------------------------------------

FAILED = Failure(kind=FailureKind.EXCEPTION, message="no", exception=b"\x80")
CALLS = [calls.encode_calls(each) for each in ([], [b"a"], [b"", b"b" * 300, b"c"], [b"x"] * 20)]
OUTCOMES = [calls.encode_outcomes(each) for each in ([], [b"a", FAILED], [FAILED] * 3)]


@given(garbage(CALLS))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x91\xc6\xff\xff\xff\xff")
@example(b"\xdc\x00\x01\xc4\x01a")
def test_the_two_ways_to_read_calls_agree_on_any_bytes(body):
    try:
        decoded = calls.decode_calls(body)
    except CallsError:
        decoded = None
    try:
        spans = [body[begin:end] for begin, end in calls.spans_of_calls(body)]
    except CallsError:
        spans = None
    assert decoded == spans
    if decoded is not None:
        assert calls.count_calls(body) == len(decoded)


@given(garbage([*CALLS, *OUTCOMES]))
def test_no_array_makes_a_reader_allocate_much_more_than_its_own_size(body):
    def read():
        for reader in (
            calls.decode_calls,
            calls.count_calls,
            calls.decode_outcomes,
            lambda b: [*calls.spans_of_calls(b)],
        ):
            with contextlib.suppress(CallsError):
                reader(body)

    read()
    assert peak_bytes(read) < 64 * 1024 + 200 * len(body)


def test_every_prefix_of_an_array_is_told_by_the_documented_error():
    for body, decode in [
        *((body, calls.decode_calls) for body in CALLS),
        *((b, calls.decode_outcomes) for b in OUTCOMES),
    ]:
        for end in range(len(body)):
            with pytest.raises(CallsError):
                decode(body[:end])


@pytest.mark.parametrize("spoilt", [b"\xff", b"\xed\xa0\x80"])
def test_an_outcome_whose_text_is_not_utf_8_is_told_by_the_documented_error(spoilt):
    body = calls.encode_outcomes([FAILED]).replace(b"\xa2no", bytes([0xA0 + len(spoilt)]) + spoilt)
    with pytest.raises(CallsError):
        calls.decode_outcomes(body)


# ---- plain values ----------------------------------------------------------------------------------------------------

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(ATOMS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_a_plain_value_is_the_same_from_any_pickler(value):
    assert is_plain(value)
    for body in (pickle.dumps(value, 5), cloudpickle.dumps(value, protocol=5)):
        assert pickle.loads(body) == value  # noqa: S301 - written a line above


class _Odd(list):
    def __len__(self):
        raise RuntimeError("do not ask")


@given(st.recursive(ATOMS | st.sampled_from([_Odd(), object(), len, _Odd, 1j]), st.lists, max_leaves=9))
def test_no_value_makes_the_test_for_plain_ones_raise(value):
    assert is_plain(value) in {True, False}


# ---- exceptions ------------------------------------------------------------------------------------------------------


@given(st.lists(VALUES, max_size=3), st.sampled_from([ValueError, KeyError, OSError, RuntimeError]))
def test_an_exception_with_any_values_in_it_is_small_and_comes_back_as_one_of_its_class(arguments, kind):
    error = kind(*arguments)
    body = pickled_exception(error, cloudpickle.Pickler)
    assert len(body) <= LIMIT_BYTES
    if body:
        assert type(unpickled_exception(body)) is type(error)


# Two opcodes name a place in a table by number, which Python makes as large as the number says: no test can bear that,
# and who may send a pickle may run code anyway.
_PUTS = (b"r", b"p")
PICKLES = [
    pickled_exception(error, cloudpickle.Pickler) for error in (ValueError("x"), KeyError(1, [2.0], {"a": b"b"}))
]


@given(st.binary(max_size=100) | mutated(PICKLES))
def test_bytes_that_are_no_pickle_of_an_exception_are_none_and_raise_nothing(body):
    if not any(put in body for put in _PUTS):
        assert unpickled_exception(body) is None or isinstance(unpickled_exception(body), Exception)


def test_every_prefix_of_a_pickled_exception_is_none():
    for body in PICKLES:
        assert body
        for end in range(len(body)):
            assert unpickled_exception(body[:end]) is None
