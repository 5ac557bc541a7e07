"""Effects: what the core wants done. The agent performs them in order, and decides nothing."""

import msgspec

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol.wire import Lease, ToGateway

Key = tuple[str, int]
"""An activation: its invocation's id and its fencing token."""


Tenant = tuple[str, str]
"""The user of a slot process: an owner of invocations, and the id of a function."""

NOBODY: Tenant = ("", "")


def tenant_of(lease: Lease) -> Tenant:
    """Return the tenant whose slot processes may run a lease."""
    return lease.owner, lease.function_id


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send a message to the gateway."""

    message: ToGateway


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Run a lease in a slot that sees exactly these devices."""

    lease: Lease
    function: FunctionVersion
    gpus: tuple[str, ...]
    leave_in_s: float  # how long the pilot expects to stay
    behind: Key | None = None  # in the slot that runs this one, after all that was sent there before


class TakeBack(msgspec.Struct, frozen=True, kw_only=True):
    """Take back what is at the slot that runs `key` and has not begun. The core is to be told what that is."""

    key: Key


class HandOver(msgspec.Struct, frozen=True, kw_only=True):
    """Tell a running activation to hand its state over and stop."""

    key: Key
    within_s: float
    is_signalled: bool = False  # the scheduler's signal has come: what a run with processes still does is in no result


class StopSlot(msgspec.Struct, frozen=True, kw_only=True):
    """Interrupt a running activation softly."""

    key: Key


class KillSlot(msgspec.Struct, frozen=True, kw_only=True):
    """End an activation's process and everything that it started. The core is to be told of its end."""

    key: Key


class LookAtBlobs(msgspec.Struct, frozen=True, kw_only=True):
    """See whether this node has the gateway's directory of large payloads, and tell the core if it has."""

    directory: str
    mark: str


class ShareBlobs(msgspec.Struct, frozen=True, kw_only=True):
    """From now on large payloads lie in this directory; in none where it is empty."""

    directory: str
    mark: str
    blob_bytes: int


class KeepKey(msgspec.Struct, frozen=True, kw_only=True):
    """From now on the runs of this owner sign with this key when they call the gateway back."""

    owner: str
    key: bytes


class Reconnect(msgspec.Struct, frozen=True, kw_only=True):
    """Drop the connection, and open another one with `Hello`."""


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """End every process, and exit: nothing is left to do."""

    reason: DrainReason


Effect = (
    Send | Start | TakeBack | HandOver | StopSlot | KillSlot | LookAtBlobs | ShareBlobs | KeepKey | Reconnect | Leave
)
