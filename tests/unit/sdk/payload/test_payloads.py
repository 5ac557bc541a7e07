import asyncio
import functools
import pickle
import signal
import threading
from concurrent.futures import CancelledError
from decimal import Decimal

import cloudpickle
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import Failure, FailureKind, InvocationState
from harvester.domain.payload import buffers
from harvester.domain.payload.exceptions import pickled_exception
from harvester.domain.payload.pickles import OUT_OF_BAND_BYTES
from harvester.domain.payload.plain import MAX_ITEMS, is_plain
from harvester.sdk.errors import HarvesterError, InvocationFailed
from harvester.sdk.payload.payloads import decode_result, encode_arguments, error_of

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_plain_values_are_told_and_come_back_as_they_were(value):
    assert is_plain(value)
    body = encode_arguments([value], {"x": value}, Encoding.PICKLE)
    assert decode_result("i", Encoding.PICKLE, body) == ((value,), {"x": value})


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [Text("x"), [Text("x")], {"a": (object(),)}, {Text("k"): 1}, {len}, print])
def test_what_has_a_class_or_code_of_its_own_is_not_plain(value):
    assert not is_plain(value)


def test_the_test_for_plain_values_ends_with_large_ones_and_with_rings():
    ring = []
    ring.append(ring)
    deep = []
    for _ in range(100):
        deep = [deep, deep]
    assert not is_plain(ring)
    assert not is_plain(deep)
    assert is_plain([0] * MAX_ITEMS)
    assert not is_plain([0] * (MAX_ITEMS + 1))


class Grid:
    def __init__(self, memory):
        self.memory = memory

    def __reduce_ex__(self, protocol):
        return Grid, (pickle.PickleBuffer(self.memory),)


def test_only_large_buffers_travel_beside_the_pickle_and_what_is_loaded_can_be_written_to():
    small, large = (bytearray(b"a" * size) for size in (OUT_OF_BAND_BYTES - 1, OUT_OF_BAND_BYTES))
    assert not buffers.is_joined(encode_arguments([Grid(small)], {}, Encoding.PICKLE))
    body = encode_arguments([Grid(small), Grid(large)], {}, Encoding.PICKLE)
    assert [len(part) for part in buffers.split(body)][1:] == [OUT_OF_BAND_BYTES]
    (first, second), _ = decode_result("i", Encoding.PICKLE, body)
    assert (bytes(first.memory), bytes(second.memory)) == (small, large)
    second.memory[0] = 0


def test_an_array_in_fortran_order_or_with_gaps_arrives_too():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(200_000.0).reshape(400, 500)
    for sent in (array, array.T, array[::2, ::3]):
        ((back,), _) = decode_result("i", Encoding.PICKLE, encode_arguments([sent], {}, Encoding.PICKLE))
        assert (back == sent).all()
        back[0, 0] = -1.0


def test_functions_among_the_arguments_travel_by_value():
    offset = 3
    (function,), _ = decode_result("i", Encoding.PICKLE, encode_arguments([lambda x: x + offset], {}, Encoding.PICKLE))
    assert function(4) == 7


def test_what_cannot_be_written_or_read_is_told_as_such():
    with pytest.raises(HarvesterError, match=r"cannot be sent as json.*pass encoding='pickle'"):
        encode_arguments([object()], {}, Encoding.JSON)
    cut = b"".join(buffers.join([b"\x80", bytes(100)]))[:-50]
    for encoding, body in ((Encoding.PICKLE, cut), (Encoding.CALLS, b"\xc1"), (Encoding.JSON, b"{")):
        with pytest.raises(InvocationFailed, match="cannot be decoded on this machine"):
            decode_result("i", encoding, body)


def test_an_end_without_a_result_is_told_in_the_gateways_words_where_it_has_some():
    why = Failure(kind=FailureKind.EXPIRED, message="it had not begun by 12:00")
    assert error_of("i", InvocationState.SUCCEEDED, None) is None
    assert "12:00" in str(error_of("i", InvocationState.EXPIRED, why))
    assert "expired" in str(error_of("i", InvocationState.EXPIRED, None))


def test_a_plain_pickle_is_what_cloudpickle_would_load():
    assert cloudpickle.loads(encode_arguments([1], {"a": [2]}, Encoding.PICKLE)) == ((1,), {"a": [2]})


class Mine(Exception):
    """Raised by nobody; of a module that can be imported here."""


def lock():
    return threading.Lock()


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [([1, lock()], {}, "argument 2, a _thread.lock,"), ([1], {"key": [lock()]}, "argument 'key', a list,")],
)
def test_an_argument_that_cannot_be_pickled_raises_what_pickling_raises_and_is_named(args, kwargs, named):
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        encode_arguments(args, kwargs, Encoding.PICKLE)
    assert caught.value.__notes__[-1] == f"harvester: {named} cannot be pickled"  # Python 3.14 has notes of its own


@pytest.mark.parametrize("value", [float("nan"), [float("-inf")], {1}, b"x", Decimal(1), {"a": {1: 2}}])
def test_what_json_would_change_is_not_sent_as_json(value):
    with pytest.raises(HarvesterError, match=r"args\[0\].*pass encoding='pickle'"):
        encode_arguments([value], {}, Encoding.JSON)
    with pytest.raises(HarvesterError, match=r"kwargs\['x'\]"):
        encode_arguments([], {"x": value}, Encoding.JSON)


def test_arguments_as_json():
    assert msgspec.json.decode(encode_arguments([1, (2.5,)], {"a": None}, Encoding.JSON)) == {
        "args": [1, [2.5]],
        "kwargs": {"a": None},
    }


def failure(error, **more):
    body = pickled_exception(error, cloudpickle.Pickler)
    return Failure(
        kind=FailureKind.EXCEPTION,
        message="m",
        error_type=type(error).__name__,
        traceback="in f",
        node="n1",
        attempt=2,
        exception=body,
        **more,
    )


def test_the_exception_of_a_function_is_made_again_with_its_failure_as_the_cause():
    error = error_of("i-1", InvocationState.FAILED, failure(Mine("no", 7)))
    assert type(error) is Mine
    assert error.args == ("no", 7)
    cause = error.__cause__
    assert isinstance(cause, InvocationFailed)
    assert (cause.invocation_id, cause.node, cause.attempt, cause.error_type) == ("i-1", "n1", 2, "Mine")
    assert "On node n1, attempt 2:\nin f" in str(cause)


class Leaves:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return _raise, (self.error,)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80rubbish",
        pickle.dumps(Leaves(SystemExit(1))),
        pickle.dumps(Leaves(KeyboardInterrupt())),
        pickle.dumps(KeyboardInterrupt()),
        pickle.dumps(GeneratorExit()),
        pickle.dumps("no exception"),
        pickle.dumps(CancelledError()),
        b"cnot_here\nNope\n.",
    ],
)
def test_an_exception_that_cannot_be_made_here_or_must_not_be_raised_stays_a_failure(body):
    why = Failure(kind=FailureKind.EXCEPTION, message="m", exception=body)
    error = error_of("i-1", InvocationState.FAILED, why)
    assert type(error) is InvocationFailed


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
def test_a_result_that_exits_when_it_is_opened_is_a_failure(error):
    with pytest.raises(InvocationFailed, match="cannot be decoded on this machine"):
        decode_result("i", Encoding.PICKLE, pickle.dumps(Leaves(error)))


def test_a_result_that_is_none_here_says_why_and_blames_no_node():
    with pytest.raises(InvocationFailed) as caught:
        decode_result("i", Encoding.PICKLE, pickle.dumps(Leaves(ValueError("no such shape"))))
    assert "on this machine (ValueError: no such shape)" in str(caught.value)
    assert "compute node" not in str(caught.value)
    assert (caught.value.error_type, caught.value.traceback) == ("", "")


class Signals:
    """Raises a signal while it is opened."""

    def __reduce__(self):
        return _signal, ()


def _signal():
    signal.raise_signal(signal.SIGALRM)


class TooLong(Exception):
    pass


def _too_long():
    raise TooLong("after 5 s")


class Watch:
    def on_alarm(self, _number, _frame):
        _too_long()

    def __call__(self, number, frame):
        self.on_alarm(number, frame)


@pytest.mark.parametrize(
    "handler",
    [lambda _number, _frame: _too_long(), Watch().on_alarm, Watch(), functools.partial(Watch().on_alarm)],
    ids=["function", "method", "object", "partial"],
)
def test_what_a_signal_handler_raises_while_a_result_is_opened_is_raised_as_it_is(handler):
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(TooLong, match="after 5 s"):
            decode_result("i", Encoding.PICKLE, pickle.dumps(Signals()))
        with pytest.raises(InvocationFailed, match="cannot be decoded"):
            decode_result("i", Encoding.PICKLE, pickle.dumps(Leaves(TooLong("of the result's own"))))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_while_a_result_is_opened_is_the_users():
    with pytest.raises(KeyboardInterrupt):
        decode_result("i", Encoding.PICKLE, pickle.dumps(Leaves(KeyboardInterrupt())))
