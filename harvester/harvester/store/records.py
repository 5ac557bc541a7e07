"""What the store returns: frozen records, one a row, without payloads unless the name says so."""

from __future__ import annotations

import msgspec

from harvester.domain.model.functions import Encoding, FunctionVersion, Sharing
from harvester.domain.model.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.payload.blobs import BlobRef


class ListedFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function version as lists show it."""

    function: FunctionVersion  # its body left out
    sharing: Sharing
    added_at: float
    used_at: float  # may be an hour behind


class InvocationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation, without its arguments and its result."""

    invocation_id: str  # UUIDv7, sortable by time of acceptance
    function_id: str
    owner: str  # the user's name
    state: InvocationState
    encoding: Encoding
    accepted_at: float
    started_at: float | None = None  # first start
    ended_at: float | None = None
    fence: int = 0  # of the newest activation
    pilot_id: str | None = None  # who holds it, while LEASED or RUNNING
    attempts: int = 0  # activations so far
    retries_used: int = 0
    deaths: int = 0  # slot processes that died under it
    checkpoint_at: float | None = None  # when its newest checkpoint was kept
    failure: Failure | None = None
    priority: int = 0
    start_by: float | None = None  # queue TTL as an instant: EXPIRED when not started by then
    end_by: float | None = None  # deadline: EXPIRED when not ended by then
    purged_at: float | None = None  # when result and arguments were deleted, their time being over


class ActivationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt on one slot."""

    invocation_id: str
    fence: int
    attempt: int
    pilot_id: str
    granted_at: float
    resumed: bool  # it was given a checkpoint
    started_at: float | None = None
    ended_at: float | None = None
    end: ActivationEnd | None = None
    checkpoints: int = 0  # kept from this activation
    checkpoint_at: float | None = None  # the newest of them


class PilotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot as we believe it."""

    pilot_id: str
    name: str  # the batch job's name, unique
    shape: str  # the pilot shape of the config that it was made from
    partition: str
    resources: Resources
    walltime_s: float
    token_sha256: str
    state: PilotState
    planned_at: float
    batch_job_id: str = ""
    node: str = ""
    python: str = ""
    submitted_at: float | None = None
    started_at: float | None = None  # the scheduler started it
    registered_at: float | None = None
    last_seen_at: float | None = None  # last heartbeat
    ends_at: float | None = None  # when it will leave by itself
    ended_at: float | None = None
    activations: int = 0  # that it runs now
    idle_since: float | None = None  # READY without work since; None while it has some
    reason: str = ""  # why it ended or was refused


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge has done."""

    count: int  # invocations that it took the payloads of
    blobs: tuple[BlobRef, ...]  # files that nobody refers to any more, to be deleted


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Open invocations of one function version, as the planner needs them."""

    function_id: str
    resources: Resources
    python: str
    walltime_s: float | None
    checkpoints: bool
    waiting: int  # ACCEPTED
    held: int  # LEASED or RUNNING
    oldest_at: float | None  # acceptance of the oldest that waits
