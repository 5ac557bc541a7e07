"""What the agent and a slot process say to each other over their socket pair: messages and frames.

A frame is eight bytes of length, then one message in MessagePack. Both ends are forks of one program, so there is no
version to negotiate.
"""

import msgspec

from harvester.domain.functions import Encoding, FunctionVersion
from harvester.domain.invocations import Failure

HEADER_BYTES = 8


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """A message; its class name is its tag."""


# ---- agent to slot -------------------------------------------------------------------------------------------------


class Load(_Message, frozen=True):
    """Code that the following runs name. A slot keeps it."""

    function: FunctionVersion


class Run(_Message, frozen=True):
    """Run one activation. The slot is idle when this is sent."""

    number: int  # of the run, so that a late word about the previous one is not taken for this one's
    invocation_id: str
    attempt: int
    function_id: str
    encoding: Encoding
    arguments: bytes
    checkpoint: bytes | None
    leave_in_s: float
    checkpoint_interval_s: float
    payload_limit_bytes: int  # for the result, and for each checkpoint


class HandOver(_Message, frozen=True):
    """Send the newest state, and stop at the next checkpoint."""

    number: int
    within_s: float  # then the process is killed


class Stop(_Message, frozen=True):
    """Interrupt the run softly: it was cancelled."""

    number: int


ToSlot = Load | Run | HandOver | Stop


# ---- slot to agent -------------------------------------------------------------------------------------------------


class Progress(_Message, frozen=True):
    """A checkpoint."""

    state: bytes


class Ended(_Message, frozen=True):
    """The run is over and the slot is idle."""

    value: bytes = b""
    failure: Failure | None = None
    duration_s: float = 0.0
    is_evicted: bool = False  # it handed its state over, as it was asked to
    is_signalled: bool = False  # the scheduler's signal reached the slot during the run


ToAgent = Progress | Ended


_encoder = msgspec.msgpack.Encoder()
_to_slot: msgspec.msgpack.Decoder[ToSlot] = msgspec.msgpack.Decoder(ToSlot)
_to_agent: msgspec.msgpack.Decoder[ToAgent] = msgspec.msgpack.Decoder(ToAgent)


def frame(message: ToSlot | ToAgent) -> bytearray:
    """Return `message` as a frame."""
    buffer = bytearray(HEADER_BYTES)
    _encoder.encode_into(message, buffer, HEADER_BYTES)
    buffer[:HEADER_BYTES] = (len(buffer) - HEADER_BYTES).to_bytes(HEADER_BYTES, "little")
    return buffer


def decode_to_slot(body: bytes | bytearray | memoryview) -> ToSlot:
    """Return the agent's message in the body of a frame."""
    return _to_slot.decode(body)


def decode_to_agent(body: bytes | bytearray | memoryview) -> ToAgent:
    """Return the slot's message in the body of a frame."""
    return _to_agent.decode(body)
