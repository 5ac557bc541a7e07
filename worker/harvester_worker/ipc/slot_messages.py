"""Slot messages: what the agent and a slot process send to each other.

There are two lines between them. Orders to run, and all that the slot sends, go over the main line in frames of many
messages (`frames`); what has to reach a slot in the middle of a run goes over the other one, one message a packet.
Both ends are forks of one program, so there is no version to negotiate.
"""

import msgspec

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.model.invocations import Failure
from harvester.domain.model.told import Seconds
from harvester.domain.payload.blobs import BlobRef

LARGEST_ORDER = 4096
"""Bytes of a message of the other line."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True, gc=False):
    """A message; its class name is its tag."""


class Beside(msgspec.Struct, frozen=True, array_like=True, tag="beside"):
    """In place of a payload: its bytes follow the frame's messages, so that they are not copied."""

    size: int


Payload = bytes | Beside | BlobRef


# ---- agent to slot -------------------------------------------------------------------------------------------------


class Load(_Message, frozen=True):
    """The code of all runs of this slot, before the first of them."""

    function: FunctionVersion


class ShareDirectory(_Message, frozen=True):
    """The directory of large payloads, which this pilot shares with the gateway; empty: it shares none."""

    directory: str
    mark: str  # what its file MARK holds
    blob_bytes: int  # results from this size on are written there


class Home(_Message, frozen=True):
    """Address and key with which the following runs, all of one owner, call the gateway back."""

    url: str  # as the pilot knows it
    pilot_id: str
    key: bytes  # signs the tokens of the owner's runs on this pilot
    tls_ca: str = ""  # the pilot's


class Run(_Message, frozen=True):
    """Run one activation, after all that were sent before it."""

    number: int  # grows by one within a slot, so that a late message about another run is not taken for this one's
    invocation_id: str
    fence: int
    attempt: int
    encoding: Encoding
    arguments: Payload
    checkpoint: bytes | None
    leave_in_s: float
    checkpoint_interval_s: float
    payload_limit_bytes: int  # for the result, and for each checkpoint


ToSlot = Load | ShareDirectory | Home | Run


class HandOver(_Message, frozen=True):
    """Other line. Send the newest state, and stop at the next checkpoint."""

    number: int
    within_s: float  # then the process is killed
    is_signalled: bool = False  # a run that has had processes ends at once: nothing that it still does counts


class Stop(_Message, frozen=True):
    """Other line. Interrupt the run softly: it was cancelled."""

    number: int


Order = HandOver | Stop


# ---- slot to agent -------------------------------------------------------------------------------------------------


class Progress(_Message, frozen=True):
    """A checkpoint."""

    number: int
    state: bytes
    taken_at: float = 0.0  # on the node's monotonic clock; it may have been kept for a while
    had_descendants: bool = False  # the run had started processes by then
    is_signalled: bool = False  # the scheduler's signal had reached the slot by then


class Counted(_Message, frozen=True):
    """The number of calls in the file of arguments of a run, which has a walltime for each of them."""

    number: int
    calls: int


class Waits(_Message, frozen=True):
    """A run waits for others that it has submitted, and uses no CPU; or it did, and goes on."""

    number: int
    is_over: bool = False


class RunEnded(_Message, frozen=True):
    """A run is over."""

    number: int = 0
    value: Payload = b""
    failure: Failure | None = None
    duration_s: Seconds = 0.0
    is_evicted: bool = False  # it handed its state over, as it was asked to
    is_signalled: bool = False  # the scheduler's signal reached the slot during the run
    had_descendants: bool = False  # it has started processes
    is_unshared: bool = False  # it has not begun: the directory of large payloads is gone from this node
    is_last: bool = False  # this slot ends: something goes on that the run has started, or a module is half imported


ToAgent = Progress | Counted | Waits | RunEnded


_encoder = msgspec.msgpack.Encoder()
_order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)


def encode_order(order: Order) -> bytes:
    """Return a packet of the other line."""
    return _encoder.encode(order)


def decode_order(packet: bytes) -> Order:
    """Return the order in a packet of the other line."""
    return _order.decode(packet)
