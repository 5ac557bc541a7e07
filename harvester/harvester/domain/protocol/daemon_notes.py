"""The daemon's notes: the documents that the daemon leaves in the store, and the gateway shows.

Owns their keys, records and encoding (JSON). Seconds since 1970 in `_at`, seconds in `_s`. Other people's batch jobs
are counted, never named. A note that this version cannot read counts as absent: the daemon's next tick replaces it.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.cluster.survival import GapFigures
from harvester.domain.cluster.windows import WindowGroup
from harvester.domain.model.resources import Resources
from harvester.domain.payload.decoding import UNREADABLE

CLUSTER_NOTE = "cluster"
DAEMON_NOTE = "daemon"


class NodeNote(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    name: str
    state: str
    partitions: tuple[str, ...]
    total: Resources
    free: Resources


class PartitionNote(msgspec.Struct, frozen=True, kw_only=True):
    """One partition."""

    name: str
    is_up: bool
    max_time_s: float | None
    grace_time_s: float
    is_preemptible: bool


class BatchJobNote(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job of ours."""

    batch_job_id: str
    name: str
    state: str
    reason: str
    nodes: tuple[str, ...]
    start_at: float | None
    end_at: float | None


class ClusterNote(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the cluster."""

    scheduler: str
    taken_at: float
    nodes: tuple[NodeNote, ...] = ()
    partitions: tuple[PartitionNote, ...] = ()
    batch_jobs: tuple[BatchJobNote, ...] = ()
    others_pending: int = 0
    others_running: int = 0


class DaemonNote(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon is."""

    last_tick_at: float  # when it last listened
    tick_s: float  # how often it listens
    took_s: float = 0.0  # the last tick
    paused: bool = False
    reason: str = ""  # why it is paused, and how to resume; empty while it is not
    errors: tuple[str, ...] = ()  # of the last tick, in words
    notes: tuple[str, ...] = ()  # why no more pilots are submitted
    windows: tuple[WindowGroup, ...] = ()  # where pilots could go, as of the last good look
    gaps: GapFigures | None = None  # how gaps end on this cluster, as learned
    mode: str = ""  # how pilots are kept harmless now
    delayed: int = 0  # prime jobs that were seen to wait for pilots since the daemon started; not told in preemptible
    worst_delay_s: float = 0.0
    alive_at: float = 0.0  # when it could last have taken a node back; if long ago, pilots leave by themselves
    said_at: float = 0.0  # of the newest word of an admin that it has heard
    looked_at: float = 0.0  # the last full look at the scheduler
    look_cause: str = ""  # why it was taken
    commands_per_minute: int = 0  # sent to the scheduler within the last minute, of every kind
    knowledge: Knowledge = EVERYTHING  # what this scheduler's adapter can tell


N = TypeVar("N", ClusterNote, DaemonNote)


def encode(note: ClusterNote | DaemonNote) -> bytes:
    """Return `note` as JSON."""
    return msgspec.json.encode(note)


def decode_cluster(text: bytes | None) -> ClusterNote | None:
    """Return the note under `CLUSTER_NOTE`; None where there is none."""
    return _decode(text, ClusterNote)


def decode_daemon(text: bytes | None) -> DaemonNote | None:
    """Return the note under `DAEMON_NOTE`; None where there is none."""
    return _decode(text, DaemonNote)


def _decode(text: bytes | None, kind: type[N]) -> N | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=kind)
    except UNREADABLE:
        return None
