"""The JSON documents that the API answers with. `openapi` draws its schemas from these very records.

Owns their fields and how they are made from the store's records; knows no request.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from harvester.domain.model.functions import Encoding, FunctionKind, Sharing, name_in
from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.control import Control
from harvester.store.records import ActivationRecord, Demand, ListedFunction
from harvester_api.failures import FailureDocument, failure_document
from harvester_api.outcome import Outcome
from harvester_api.schemas.pilot_responses import PilotDocument
from harvester_api.settings import Role


class FunctionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a function, without its body."""

    name: str
    owner: str  # "owner/name" means the same to everybody who may call it
    version: int
    function_id: str
    share: Sharing  # who may call it, beside its owner and admins
    added_at: float
    used_at: float  # its last call, or its registration; may be an hour behind
    kind: FunctionKind
    entry: str
    python: str
    cloudpickle: str
    resources: Resources
    walltime_s: float | None
    checkpoints: bool
    max_retries: int
    max_running: int | None


class FunctionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Functions by name and owner."""

    items: list[FunctionDocument]
    next: str | None


class FunctionVersions(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of one function."""

    items: list[FunctionDocument]
    next: int | None


class ActivationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt on one slot."""

    fence: int
    attempt: int
    pilot_id: str
    granted_at: float
    started_at: float | None
    ended_at: float | None
    end: ActivationEnd | None
    resumed: bool
    checkpoints: int


class InvocationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation as it stands."""

    invocation_id: str
    function_id: str
    function: str
    version: int
    owner: str
    state: InvocationState
    encoding: Encoding
    accepted_at: float
    started_at: float | None
    ended_at: float | None
    attempts: int
    checkpoint_at: float | None
    priority: int
    start_by: float | None
    end_by: float | None
    purged_at: float | None  # arguments and result were deleted then, their time being over
    failure: FailureDocument | None
    result: msgspec.Raw | UnsetType = UNSET  # JSON encoding, SUCCEEDED: the value
    result_b64: str | UnsetType = UNSET  # where it was asked for: the result's bytes
    exception_b64: str | UnsetType = UNSET  # where results were asked for: what the function raised, pickled
    activations: list[ActivationDocument] | UnsetType = UNSET


class InvocationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Invocations, newest first."""

    items: list[InvocationDocument]
    next: str | None


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of a batch, in its order."""

    invocation_ids: list[str]


class WaitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Those that have ended, and those still to be waited for."""

    ended: list[InvocationDocument]
    pending: list[str]


class ExplanationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Why an invocation is where it is."""

    invocation_id: str
    state: InvocationState
    summary: str
    details: list[str]
    pilots: list[PilotDocument]


class DemandOfOthers(msgspec.Struct, frozen=True, kw_only=True):
    """Open invocations of functions that are others'."""

    waiting: int
    held: int  # leased or running


class ClusterDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster, as the daemon last noted it; what the daemon adds is passed on."""

    scheduler: str
    taken_at: float | None
    nodes: list[dict[str, Any]]
    pilots: dict[str, int]  # by state
    demand: list[Demand]  # of one's own functions; of everybody's for an admin
    demand_of_others: DemandOfOthers
    daemon: dict[str, Any]


class DaemonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon stands."""

    control: Control  # an admin's last word
    is_alive: bool  # it has looked at the cluster lately
    age_s: float | None  # since its last look began; None before the first
    has_heard: bool  # it has looked since the admin's last word
    note: dict[str, Any]  # its own: last_tick_at, paused, reason, errors, notes
    store: str = ""  # why the store takes no writes, of daemon and gateway alike; empty while it does


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who the token's bearer is, and of which version the gateway that knows them."""

    name: str
    role: Role
    version: str


class DirectoryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Where large payloads lie as files, for a client that may see the same directory."""

    path: str | None  # None: nowhere
    mark: str  # content of the file MARK in it, by which one tells that it is the same directory
    least: int  # bytes from which on a payload is to lie there
    boot: str  # id of the gateway's running kernel; a client on another one brings its file to disk by itself


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway is alive, or ready."""

    status: str


def function_document(listed: ListedFunction) -> FunctionDocument:
    """Return the document of a function."""
    function = listed.function
    return FunctionDocument(
        name=function.name,
        owner=function.owner,
        version=function.version,
        function_id=function.function_id,
        share=listed.sharing,
        added_at=listed.added_at,
        used_at=listed.used_at,
        kind=function.kind,
        entry=function.entry,
        python=function.python,
        cloudpickle=function.cloudpickle,
        resources=function.resources,
        walltime_s=function.walltime_s,
        checkpoints=function.checkpoints,
        max_retries=function.max_retries,
        max_running=function.max_running,
    )


def invocation_document(
    outcome: Outcome, activations: list[ActivationRecord] | None = None, with_bytes: bool = False, reader: str = ""
) -> InvocationDocument:
    """Return the document of an invocation.

    `with_bytes` puts the result's bytes in too, and what the function raised where `reader` is its owner: an exception
    is a pickle, and clients open it without being asked.
    """
    record = outcome.record
    function, version = _name_and_version(record.function_id)
    exception = b"" if record.failure is None else record.failure.exception
    is_told = bool(exception) and with_bytes and reader == record.owner
    value = outcome.value if isinstance(outcome.value, bytes) else None  # a large one has to be read before
    has_value = record.state is InvocationState.SUCCEEDED and value is not None
    return InvocationDocument(
        invocation_id=record.invocation_id,
        function_id=record.function_id,
        function=function,
        version=version,
        owner=record.owner,
        state=record.state,
        encoding=record.encoding,
        accepted_at=record.accepted_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        attempts=record.attempts,
        checkpoint_at=record.checkpoint_at,
        priority=record.priority,
        start_by=record.start_by,
        end_by=record.end_by,
        purged_at=record.purged_at,
        failure=None if record.failure is None else failure_document(record.failure),
        result=msgspec.Raw(value or b"null") if has_value and record.encoding is Encoding.JSON else UNSET,
        result_b64=base64.b64encode(value or b"").decode() if has_value and with_bytes else UNSET,
        exception_b64=base64.b64encode(exception).decode() if is_told else UNSET,
        activations=UNSET if activations is None else [activation_document(item) for item in activations],
    )


@lru_cache(4096)  # an id is that of many invocations
def _name_and_version(function_id: str) -> tuple[str, int]:
    return name_in(function_id), int(function_id.rpartition("@")[2])


def activation_document(activation: ActivationRecord) -> ActivationDocument:
    """Return the document of an activation."""
    return msgspec.convert(activation, ActivationDocument, from_attributes=True)
