"""The documents of pilots and of the room on them."""

from __future__ import annotations

import msgspec

from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.store.records import PilotRecord


class PilotDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot as we believe it."""

    pilot_id: str
    name: str
    shape: str
    partition: str
    resources: Resources
    walltime_s: float
    state: PilotState
    batch_job_id: str
    node: str
    python: str
    planned_at: float
    submitted_at: float | None
    started_at: float | None
    registered_at: float | None
    last_seen_at: float | None
    ends_at: float | None
    ended_at: float | None
    activations: int
    idle_since: float | None
    reason: str
    is_connected: bool
    free: Resources | None  # what no activation takes; null while it is not connected


class PilotPage(msgspec.Struct, frozen=True, kw_only=True):
    """Pilots."""

    items: list[PilotDocument]


class SlotActivation(msgspec.Struct, frozen=True, kw_only=True):
    """What takes room on a pilot."""

    invocation_id: str | None  # null where it is somebody else's
    function_id: str | None  # as above
    since: float | None  # first start of the invocation; None before


class SlotDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The room on one connected pilot."""

    pilot_id: str
    node: str
    capacity: Resources
    free: Resources
    activations: list[SlotActivation]


class SlotPage(msgspec.Struct, frozen=True, kw_only=True):
    """The room on all connected pilots."""

    items: list[SlotDocument]


_OF_LIVE = frozenset({"is_connected", "free"})  # which no record has


def pilot_document(pilot: PilotRecord, live: PilotEntry | None) -> PilotDocument:
    """Return the document of a pilot; `live` is what the dispatcher knows of it."""
    fields = {name: getattr(pilot, name) for name in PilotDocument.__struct_fields__ if name not in _OF_LIVE}
    if live is not None:
        fields["activations"] = len(live.leases)
        fields["last_seen_at"] = live.last_seen_at
    is_connected = live is not None and live.is_connected
    return PilotDocument(**fields, is_connected=is_connected, free=live.free if live and is_connected else None)
