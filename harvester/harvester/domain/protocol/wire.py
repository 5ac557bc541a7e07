"""The wire between a pilot and the gateway: messages, and frames of many messages in MessagePack.

Gateway and worker share nothing but this. Payloads are opaque bytes that only a slot decodes. Both sides coalesce
what one turn of their event loop produced into one frame; order is kept.

A pilot opens a WebSocket to `LINK_PATH` with its own bearer token and says `Hello`. What it has sent and what was not
acknowledged (`Ack`) it sends again after a reconnect, so the gateway must recognize a repeated message.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.model.invocations import ActivationEnd, Failure
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources
from harvester.domain.model.told import Seconds, Serial, Word
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.payload.decoding import UNREADABLE

PROTOCOL_VERSION = 6
LINK_PATH = "/v1/link"
MESSAGE_BYTES = 128  # of a message beside its payload, about: what is put into one frame counts them


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True, gc=False):
    """A message; its class name is its tag. It is in no cycle, so the garbage collector need not look at it."""


class Held(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A lease that a pilot holds: which invocation, under which fencing token, and whether it has begun."""

    invocation_id: str
    fence: Serial
    is_started: bool = False


# ---- pilot to gateway ----------------------------------------------------------------------------------------------


class Hello(_Message, frozen=True):
    """First message on every connection."""

    protocol: int
    pilot_id: str
    python: Word  # "3.11"
    node: Word  # host name
    batch_job_id: Word  # the scheduler's id, empty where it told none
    capacity: Resources  # in all, also when part of it is in use
    time_left_s: Seconds  # until the pilot will leave by itself
    held: tuple[Held, ...] = ()  # after a reconnect: what it still runs or has not yet reported
    drain: DrainReason | None = None  # it is leaving already


class Heartbeat(_Message, frozen=True):
    """Renews every lease of the pilot. Answered by `Heard`."""

    time_left_s: Seconds


class Started(_Message, frozen=True):
    """A slot began an activation."""

    invocation_id: str
    fence: Serial


class Waits(_Message, frozen=True):
    """An activation waits for others that it has submitted. Sent again after each `Welcome`."""

    invocation_id: str
    fence: Serial
    is_lent: bool  # its CPUs are free meanwhile; not where too many wait on the pilot already


class GoesOn(_Message, frozen=True):
    """It has what it waited for, and uses its CPUs again."""

    invocation_id: str
    fence: Serial


class Checkpoint(_Message, frozen=True):
    """Saved progress of an activation. Acknowledged when it is on disk."""

    invocation_id: str
    fence: Serial
    seq: Serial  # grows by one within an activation
    state: bytes


class Finished(_Message, frozen=True):
    """An activation ended by itself: with a value, or with a failure. Acknowledged when it is on disk."""

    invocation_id: str
    fence: Serial
    value: bytes | BlobRef = b""
    failure: Failure | None = None
    duration_s: Seconds = 0.0  # of the run; one that is over before its `Started` was sent is told of by this alone


class GivenBack(_Message, frozen=True):
    """A lease returned without a result. Acknowledged when it is on disk. Its checkpoints were sent before."""

    invocation_id: str
    fence: Serial
    end: ActivationEnd  # EVICTED, UNSTARTED, SLOT_DIED or CANCELLED


class Draining(_Message, frozen=True):
    """The pilot takes no more leases."""

    reason: DrainReason


class Goodbye(_Message, frozen=True):
    """Last message: nothing is left to hand over, and the pilot exits."""

    reason: DrainReason


class SharesBlobs(_Message, frozen=True):
    """The pilot sees the directory that `Welcome` names: large payloads may travel by reference from now on."""


ToGateway = (
    Hello | Heartbeat | Started | Waits | GoesOn | Checkpoint | Finished | GivenBack | Draining | Goodbye | SharesBlobs
)


# ---- gateway to pilot ----------------------------------------------------------------------------------------------


class Welcome(_Message, frozen=True):
    """Answer to `Hello`."""

    heartbeat_s: float  # send one this often
    lease_s: float  # without a heartbeat for this long the pilot is LOST and its work is leased elsewhere
    abandon: tuple[Held, ...] = ()  # of `Hello.held`: no longer the pilot's, stop them and do not report
    blobs: str = ""  # directory of large payloads, as the gateway sees it; empty: there is none
    blobs_mark: str = ""  # what the file `MARK` in it holds, if it is the same directory
    blob_bytes: int = 0  # results from this size on are written there by a pilot that shares it


class Heard(_Message, frozen=True):
    """Answer to `Heartbeat`: the connection carries both ways. A pilot that misses it opens another connection."""

    daemon_age_s: float | None = None  # since the daemon last reported that it lives; None where it never has


class Function(_Message, frozen=True):
    """Code, sent before the first lease on a connection that needs it, and again if it was forgotten since."""

    function: FunctionVersion


class Forget(_Message, frozen=True):
    """Code that no lease to come names, unless it is sent again: the gateway decides, so that both sides agree."""

    function_id: str


class OwnerKey(_Message, frozen=True):
    """What signs the tokens of an owner's runs on this pilot (`run_tokens`), sent once a connection before a lease."""

    owner: str
    key: bytes


class Lease(_Message, frozen=True):
    """The right to run one invocation, as long as heartbeats renew it."""

    invocation_id: str
    fence: Serial
    attempt: int  # 1, 2, 3 …
    function_id: str
    resources: Resources
    encoding: Encoding
    arguments: bytes | BlobRef
    checkpoint: bytes | None = None
    owner: str = ""  # whose invocation it is: no process runs one owner's functions after another's


class Cancel(_Message, frozen=True):
    """Stop an activation; answer with GivenBack(CANCELLED)."""

    invocation_id: str
    fence: Serial


class Recall(_Message, frozen=True):
    """Give a lease back unless it has begun; one that has begun runs on, and nothing is answered."""

    invocation_id: str
    fence: Serial


class AckKind(StrEnum):
    """What an `Ack` answers."""

    CHECKPOINT = "checkpoint"
    FINISHED = "finished"
    GIVEN_BACK = "given back"


class Ack(_Message, frozen=True):
    """It is on disk, or it was stale and need not be sent again."""

    kind: AckKind
    invocation_id: str
    fence: Serial
    seq: Serial = 0  # CHECKPOINT: this one and all before it


class Drain(_Message, frozen=True):
    """Finish or hand over, then leave."""

    reason: DrainReason


ToPilot = Welcome | Heard | Function | Forget | OwnerKey | Lease | Cancel | Recall | Ack | Drain

_encoder = msgspec.msgpack.Encoder()
_to_gateway = msgspec.msgpack.Decoder(list[ToGateway])
_to_pilot = msgspec.msgpack.Decoder(list[ToPilot])


class WireError(Exception):
    """A frame that is not a list of known messages: the other side has another version, or is not ours."""


def encode(messages: Iterable[ToGateway | ToPilot]) -> bytes:
    """Return one frame that holds `messages` in order."""
    return _encoder.encode(list(messages))


def decode_to_gateway(frame: bytes) -> list[ToGateway]:
    """Return the messages of a pilot's frame. Raises `WireError`."""
    try:
        return _to_gateway.decode(frame)
    except UNREADABLE as error:
        raise WireError(f"not a frame of pilot messages: {error}") from error


def decode_to_pilot(frame: bytes) -> list[ToPilot]:
    """Return the messages of a gateway's frame. Raises `WireError`."""
    try:
        return _to_pilot.decode(frame)
    except UNREADABLE as error:
        raise WireError(f"not a frame of gateway messages: {error}") from error
