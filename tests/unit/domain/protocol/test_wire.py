"""The hot line: what a pilot may not say, since its token lies where users' functions can read it."""

import math

import pytest
from msgspec.structs import replace

from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire

HELLO = wire.Hello(
    protocol=wire.PROTOCOL_VERSION,
    pilot_id="p1",
    python="3.11",
    node="n1",
    batch_job_id="7",
    capacity=Resources(cpus=2),
    time_left_s=60.0,
)
FINISHED = wire.Finished(invocation_id="i1", fence=1, value=b"1")


@pytest.mark.parametrize("message", [HELLO, FINISHED, wire.Heartbeat(time_left_s=-3.0)])
def test_what_pilots_say_arrives(message):
    assert wire.decode_to_gateway(wire.encode([message])) == [message]


@pytest.mark.parametrize(
    "message",
    [
        *(replace(HELLO, time_left_s=seconds) for seconds in (math.nan, math.inf, 1e308)),
        *(replace(HELLO, **{name: text}) for name in ("python", "node", "batch_job_id") for text in ("x" * 256, "a\0")),
        *(wire.Heartbeat(time_left_s=seconds) for seconds in (math.nan, -math.inf)),
        *(replace(FINISHED, duration_s=seconds) for seconds in (math.nan, math.inf)),
    ],
)
def test_what_would_spoil_sums_or_lists_is_no_message(message):
    with pytest.raises(wire.WireError):
        wire.decode_to_gateway(wire.encode([message]))
