"""The writes that the hot path hands to the store's writer: one frozen record a change, committed in groups, in order.

The classes are final, so that `type(write) is Granted` tells mypy the same as `case Granted()`. A `match` would ask
`isinstance`, which for a msgspec.Struct of another class takes three times as long.
"""

from __future__ import annotations

from typing import final

import msgspec

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.model.pilots import PilotEvent
from harvester.domain.payload.blobs import BlobRef


class _Write(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A change. It is in no cycle, so the garbage collector need not look at it."""


@final
class NewInvocation(_Write, frozen=True):
    """An invocation was accepted."""

    invocation_id: str
    function_id: str
    owner: str
    encoding: Encoding
    arguments: bytes | BlobRef
    accepted_at: float
    idempotency_key: str | None = None
    priority: int = 0
    start_by: float | None = None
    end_by: float | None = None
    is_again: bool = False  # it may have been written before: if so, this changes nothing


@final
class Granted(_Write, frozen=True):
    """A lease went to a pilot: a new activation."""

    invocation_id: str
    fence: int
    attempt: int
    pilot_id: str
    resumed: bool
    at: float


@final
class Started(_Write, frozen=True):
    """A slot began the activation."""

    invocation_id: str
    fence: int
    at: float


@final
class CheckpointKept(_Write, frozen=True):
    """The newest checkpoint of an invocation; replaces the one before."""

    invocation_id: str
    fence: int
    seq: int
    state: bytes
    at: float


@final
class Requeued(_Write, frozen=True):
    """The activation ended without a result; the invocation waits again."""

    invocation_id: str
    fence: int
    end: ActivationEnd
    retries_used: int
    deaths: int
    at: float


@final
class Concluded(_Write, frozen=True):
    """The invocation is over. `fence` is 0 where it never ran."""

    invocation_id: str
    fence: int
    state: InvocationState
    at: float
    value: bytes | BlobRef = b""
    failure: Failure | None = None
    started_at: float | None = None  # of the activation, where no `Started` was written for it


@final
class PilotMoved(_Write, frozen=True):
    """An event of a pilot's lifecycle. One that its present state does not allow changes nothing: two observers
    (gateway and daemon) may tell of the same end."""

    pilot_id: str
    event: PilotEvent
    at: float
    reason: str = ""
    batch_job_id: str | None = None
    node: str | None = None
    python: str | None = None
    ends_at: float | None = None


@final
class PilotSeen(_Write, frozen=True):
    """A pilot's heartbeat and load; written now and then, not for every heartbeat."""

    pilot_id: str
    at: float
    ends_at: float
    activations: int
    idle_since: float | None


Write = NewInvocation | Granted | Started | CheckpointKept | Requeued | Concluded | PilotMoved | PilotSeen
