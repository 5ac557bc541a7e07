"""The wire, the stream and the pilot file as any bytes: one documented error, and no memory without bound.

A pilot's token lies where users' functions can read it, so the gateway may be sent anything.
"""

import contextlib

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.mutations import garbage, peak_bytes

from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind, InvocationState
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.payload.decoding import UNREADABLE
from harvester.domain.protocol import pilot_file, stream, wire

FAILURE = Failure(kind=FailureKind.EXCEPTION, message="no", traceback="…", exception=b"\x80")
FROM_PILOT = [
    wire.Hello(
        protocol=wire.PROTOCOL_VERSION,
        pilot_id="p",
        python="3.11",
        node="n",
        batch_job_id="7",
        capacity=Resources(cpus=2),
        time_left_s=60.0,
        held=(wire.Held(invocation_id="i", fence=1), wire.Held(invocation_id="j", fence=2, is_started=True)),
        drain=DrainReason.ASKED,
    ),
    wire.Heartbeat(time_left_s=1.0),
    wire.Started(invocation_id="i", fence=1),
    wire.Waits(invocation_id="i", fence=1, is_lent=True),
    wire.GoesOn(invocation_id="i", fence=1),
    wire.Checkpoint(invocation_id="i", fence=1, seq=1, state=b"state"),
    wire.Finished(invocation_id="i", fence=1, value=b"1", duration_s=1.0),
    wire.Finished(invocation_id="i", fence=1, value=BlobRef(name="ab/0123-r1", size=9), failure=FAILURE),
    wire.GivenBack(invocation_id="i", fence=1, end=ActivationEnd.EVICTED),
    wire.Draining(reason=DrainReason.EVICTED),
    wire.Goodbye(reason=DrainReason.EVICTED),
    wire.SharesBlobs(),
]
TO_PILOT = [
    wire.Welcome(heartbeat_s=1.0, lease_s=5.0, abandon=(wire.Held(invocation_id="i", fence=1),), blobs="/b"),
    wire.Heard(daemon_age_s=1.0),
    wire.Function(
        function=FunctionVersion(function_id="f@1", name="f", version=1, kind=FunctionKind.SOURCE, body=b"def f(): 1")
    ),
    wire.Forget(function_id="f@1"),
    wire.OwnerKey(owner="ann", key=b"k"),
    wire.Lease(
        invocation_id="i",
        fence=1,
        attempt=1,
        function_id="f@1",
        resources=Resources(cpus=1),
        encoding=Encoding.JSON,
        arguments=b"{}",
    ),
    wire.Cancel(invocation_id="i", fence=1),
    wire.Recall(invocation_id="i", fence=1),
    wire.Ack(kind=wire.AckKind.FINISHED, invocation_id="i", fence=1),
    wire.Drain(reason=DrainReason.ASKED),
]
ENDED = stream.Ended(
    invocation_id="i", state=InvocationState.FAILED, encoding=Encoding.JSON, value=b"1", failure=FAILURE
)
PILOT = pilot_file.PilotFile(
    pilot_id="p", token="t", gateways=("http://g",), capacity=Resources(cpus=2), walltime_s=9.0, grace_s=3.0
)
DECODERS = {
    "from a pilot": (wire.decode_to_gateway, [wire.encode([each]) for each in FROM_PILOT], wire.WireError),
    "to a pilot": (wire.decode_to_pilot, [wire.encode([each]) for each in TO_PILOT], wire.WireError),
    "stream": (stream.decode, [stream.encode([ENDED])[stream.HEADER_BYTES :]], stream.StreamError),
    "pilot file": (pilot_file.decode, [pilot_file.encode(PILOT)], UNREADABLE),
}
DECODER = pytest.mark.parametrize("decoder", DECODERS)
NESTED = {"array": b"\x91" * 100_000, "map": b"\x81\x01" * 100_000}


@DECODER
@given(st.data())
def test_garbage_is_read_or_told_by_the_documented_error(decoder, data):
    decode, valid, error = DECODERS[decoder]
    with contextlib.suppress(error):
        decode(data.draw(garbage(valid)))


@DECODER
def test_every_prefix_of_what_is_valid_is_told_by_the_documented_error(decoder):
    decode, valid, error = DECODERS[decoder]
    for body in valid:
        for end in range(len(body)):
            with pytest.raises(error):
                decode(body[:end])


@pytest.mark.parametrize("nested", NESTED)
@pytest.mark.parametrize("decoder", ["from a pilot", "to a pilot", "stream"])
def test_a_field_too_many_that_is_nested_too_deep_is_told_by_the_documented_error(decoder, nested):
    decode, valid, error = DECODERS[decoder]
    for body in valid:
        first = body[1]  # of the only message: an array of fewer than 16 fields
        assert first & 0xF0 == 0x90
        for count in range(first + 1, 0xA0):
            with pytest.raises(error):
                decode(b"\x91" + bytes([count]) + body[2:] + NESTED[nested])


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"\xc3"], ids=["no byte of any", "a surrogate", "half"])
@pytest.mark.parametrize("decoder", ["from a pilot", "to a pilot"])
def test_text_that_is_not_utf_8_is_told_by_the_documented_error(decoder, text):
    decode, valid, error = DECODERS[decoder]
    name = bytes([0xA0 + len(text)]) + text
    spoilt = [body.replace(b"\xa1i", name) for body in valid if b"\xa1i" in body]
    assert len(spoilt) >= 4
    for body in spoilt:
        with pytest.raises(error):
            decode(body)


@given(garbage([*DECODERS["from a pilot"][1], *DECODERS["to a pilot"][1]]))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x91\xdd\xff\xff\xff\xff")
@example(b"\x91\xc6\xff\xff\xff\xff")
def test_no_frame_makes_a_decoder_allocate_much_more_than_its_own_size(frame):
    for decode in (wire.decode_to_gateway, wire.decode_to_pilot, stream.decode):

        def tried(decode=decode):
            with contextlib.suppress(wire.WireError, stream.StreamError):
                decode(frame)

        assert peak_bytes(tried) < 64 * 1024 + 200 * len(frame)


NUMBERED = [(decode, each, name) for decode, messages in ((wire.decode_to_gateway, FROM_PILOT),
            (wire.decode_to_pilot, TO_PILOT)) for each in messages
            for name in ("fence", "seq") if name in each.__struct_fields__]  # fmt: skip


@pytest.mark.parametrize(("decode", "message", "name"), NUMBERED)
def test_a_number_that_the_store_cannot_hold_is_refused_on_the_wire(decode, message, name):
    most = msgspec.structs.replace(message, **{name: 2**63 - 1})
    assert decode(wire.encode([most])) == [most]
    for wrong in (2**63, 2**64 - 1, -1):
        with pytest.raises(wire.WireError, match="Expected `int`"):
            decode(wire.encode([msgspec.structs.replace(message, **{name: wrong})]))


def test_a_held_lease_has_no_number_that_the_store_cannot_hold():
    for wrong in (2**63, -1):
        hello = msgspec.structs.replace(FROM_PILOT[0], held=(wire.Held(invocation_id="i", fence=wrong),))
        frame = wire.encode([hello])
        with pytest.raises(wire.WireError, match="Expected `int`"):
            wire.decode_to_gateway(frame)


@given(st.lists(st.sampled_from(FROM_PILOT), max_size=5), st.lists(st.sampled_from(TO_PILOT), max_size=5))
def test_what_is_said_arrives_in_order(said, answered):
    assert wire.decode_to_gateway(wire.encode(said)) == said
    assert wire.decode_to_pilot(wire.encode(answered)) == answered


def test_these_are_all_the_messages_that_there_are():
    for known, union in ((FROM_PILOT, wire.ToGateway), (TO_PILOT, wire.ToPilot)):
        assert {type(each) for each in known} == set(union.__args__)
    assert msgspec.DecodeError in UNREADABLE
