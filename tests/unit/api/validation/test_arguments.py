"""Arguments at the door: every encoding passes as it came, and what is broken is refused saying where."""

import pickle

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.resources import Resources
from harvester.domain.payload.buffers import join
from harvester.domain.payload.calls import encode_calls
from harvester_api.media_types import CALLS_BATCH_TYPE, CALLS_TYPE, LINES_TYPE, MSGPACK_TYPE, PICKLE_TYPE
from harvester_api.problems import Refusal
from harvester_api.settings import Offer
from harvester_api.validation import arguments

OFFERS = (Offer(name="cpu", resources=Resources(cpus=8), python="3.11"),)
FUNCTION = FunctionVersion(function_id="f@1", name="f", version=1, kind=FunctionKind.MODULE, body=b"m:f")
PICKLED = pickle.dumps(((1,), {}))


def refused(call, *args, **more):
    with pytest.raises(Refusal) as raised:
        call(*args, **more)
    return raised.value.problem


def joined(size):
    buffers = []
    head = pickle.dumps(((pickle.PickleBuffer(bytearray(size)),), {}), protocol=5, buffer_callback=buffers.append)
    return b"".join(join([head, *(buffer.raw() for buffer in buffers)]))


@pytest.mark.parametrize(
    ("content_type", "is_batch", "encoding"),
    [
        ("", False, Encoding.JSON),
        ("Application/JSON; charset=utf-8", False, Encoding.JSON),
        (PICKLE_TYPE, False, Encoding.PICKLE),
        (CALLS_TYPE, False, Encoding.CALLS),
        ("", True, Encoding.JSON),
        (LINES_TYPE, True, Encoding.JSON),
        (MSGPACK_TYPE, True, Encoding.PICKLE),
        (CALLS_BATCH_TYPE, True, Encoding.CALLS),
    ],
)
def test_the_content_type_tells_the_encoding(content_type, is_batch, encoding):
    headers = {"content-type": content_type, "harvester-python": "3.11"}
    assert arguments.encoding_of(headers, FUNCTION, OFFERS, is_batch=is_batch) is encoding


@pytest.mark.parametrize("is_batch", [False, True])
def test_a_content_type_that_is_not_understood_is_refused_with_those_that_are(is_batch):
    problem = refused(arguments.encoding_of, {"content-type": "text/html"}, FUNCTION, OFFERS, is_batch=is_batch)
    assert problem.status == 415
    assert (CALLS_BATCH_TYPE if is_batch else CALLS_TYPE) in problem.remedy


@pytest.mark.parametrize("content_type", [PICKLE_TYPE, CALLS_TYPE])
def test_pickles_name_a_python_that_a_pilot_runs(content_type):
    headers = {"content-type": content_type}
    assert refused(arguments.encoding_of, headers, FUNCTION, OFFERS).field == "Harvester-Python"
    headers["harvester-python"] = "3.13"
    assert refused(arguments.encoding_of, headers, FUNCTION, OFFERS).field == "Harvester-Python"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (Encoding.JSON, b'{"args": [1, 1.50], "kwargs": {"x": null}}'),
        (Encoding.PICKLE, PICKLED),
        (Encoding.PICKLE, joined(1000)),
        (Encoding.CALLS, encode_calls([PICKLED, joined(10)])),
    ],
)
def test_whole_arguments_pass(encoding, body):
    arguments.check_payload(encoding, body)
    arguments.check_payload(encoding, memoryview(body))


@pytest.mark.parametrize(
    ("encoding", "body", "status", "named"),
    [
        (Encoding.JSON, b'{"args": [1', 400, "truncated"),
        (Encoding.JSON, b'{"args": [NaN]}', 400, "byte"),
        (Encoding.JSON, b'{"args": ' + b"[" * 30_000, 400, "nested too deeply"),
        (Encoding.JSON, b'["args"]', 422, "object"),
        (Encoding.JSON, b'{"kwargs": {"a": 1}, "more": 1}', 422, "more"),
        (Encoding.PICKLE, b"", 400, "it is empty"),
        (Encoding.PICKLE, PICKLED[:-1], 400, "do not begin and end"),
        (Encoding.PICKLE, joined(1000)[:900], 400, "its buffers are broken"),
        (Encoding.PICKLE, b"HVB1" + bytes(4), 400, "has no pickle"),
        (Encoding.CALLS, encode_calls([]), 400, "it makes no call"),
        (Encoding.CALLS, PICKLED, 400, "arguments: not an array of pickled calls"),
        (Encoding.CALLS, encode_calls([PICKLED, b"x"]), 400, "arguments[1]"),
    ],
)
def test_arguments_that_are_broken_are_refused_saying_where(encoding, body, status, named):
    problem = refused(arguments.check_payload, encoding, body)
    assert problem.status == status
    assert named in problem.detail


def test_each_item_of_a_json_batch_keeps_its_own_text():
    body = b'[ {"args": [1]} , {} ]'
    assert arguments.json_items(body) == [b'{"args": [1]}', b"{}"]


def test_a_batch_of_pickles_or_of_calls_is_looked_at_item_by_item():
    calls = encode_calls([PICKLED])
    for encoding, items in ((Encoding.PICKLE, [PICKLED, PICKLED]), (Encoding.CALLS, [calls])):
        body = encode_calls(items)
        assert [body[begin:end] for begin, end in arguments.packed_spans(encoding, body, 2)] == items
    body = encode_calls([calls, encode_calls([b"x"])])
    problem = refused(list, arguments.packed_spans(Encoding.CALLS, body, 2))
    assert "batch[1][0]" in problem.detail


def heard(function, *arguments):
    """Return what comes of it, or of which status and with which words it is refused."""
    try:
        return list(function(*arguments))
    except Refusal as refusal:
        return refusal.problem.status, refusal.problem.detail


BINS = st.lists(st.sampled_from([PICKLED, b"x", b"", joined(10), encode_calls([PICKLED])]), max_size=7)
BATCHES = st.one_of(
    BINS.map(encode_calls),
    st.builds(lambda items, end: encode_calls(items)[:end], BINS, st.integers(0, 200)),
    BINS.map(lambda items: encode_calls(items) + b"\0"),
    st.lists(st.integers() | st.text() | st.none(), max_size=3).map(msgspec.msgpack.encode),
    st.binary(max_size=20),
)


@given(st.sampled_from([Encoding.PICKLE, Encoding.CALLS]), BATCHES, st.integers(1, 3))
@example(Encoding.PICKLE, b"\xdd\xff\xff\xff\xff", 1)
def test_a_small_batch_is_read_at_once_and_refused_as_a_large_one_is(encoding, body, piece):
    def spans():
        return [body[begin:end] for begin, end in arguments.packed_spans(encoding, body, 5)]

    def items():
        return [item for found in arguments.packed_items(encoding, body, 5, piece) for item in found]

    assert heard(items) == heard(spans)


def test_a_broken_line_is_named_by_its_number():
    assert refused(arguments.check_line, b"{", 17).field == "batch line 17"
    problem = refused(arguments.check_line, b'{"args": 3}', 4)
    assert (problem.status, problem.field) == (422, "batch line 4: args")
