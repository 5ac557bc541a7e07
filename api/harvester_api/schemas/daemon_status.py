"""How the daemon stands, in words: paused or not, when it last looked, why there are no more pilots.

Reads what daemon and admins left in the store as notes. Pure but for `read`, which fetches them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harvester.domain.cluster import nodelist
from harvester.domain.protocol import control, daemon_notes
from harvester.domain.protocol.control import Control
from harvester.domain.protocol.daemon_notes import ClusterNote, DaemonNote
from harvester.store.store import Store
from harvester_api.schemas.responses import DaemonDocument

_RESUME = "an admin ends it with `harvester resume`"


class DaemonStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon stands."""

    control: Control  # an admin's last word
    is_alive: bool  # it has looked at the cluster lately
    age_s: float | None  # since its last look began; None before the first
    has_heard: bool  # it has looked since the admin's last word
    note: DaemonNote | None  # its own; None before its first tick
    store: str = ""  # why the store takes no writes; empty while it does

    @property
    def document(self) -> DaemonDocument:
        """As the REST API shows it."""
        return DaemonDocument(
            control=self.control,
            is_alive=self.is_alive,
            age_s=self.age_s,
            has_heard=self.has_heard,
            note=shown(self.note),
            store=self.store,
        )


def shown(note: DaemonNote | None) -> dict[str, Any]:
    """Return the daemon's note as the REST API shows it: empty before its first tick."""
    return {} if note is None else msgspec.structs.asdict(note)


def daemon_note(store: Store) -> DaemonNote | None:
    """Return what the daemon noted last; None before its first tick. Raises `StoreError`."""
    return daemon_notes.decode_daemon(store.note(daemon_notes.DAEMON_NOTE))


def cluster_note(store: Store) -> ClusterNote | None:
    """Return the cluster as the daemon saw it last; None before its first look. Raises `StoreError`."""
    return daemon_notes.decode_cluster(store.note(daemon_notes.CLUSTER_NOTE))


def read(store: Store, now: float, trouble: str = "") -> DaemonStatus:
    """Return how the daemon stands; `trouble` is why the store takes no writes. Raises `StoreError`."""
    said = control.decode(store.note(control.CONTROL_NOTE))
    return judged(said, daemon_note(store), now, trouble)


def nodes(store: Store) -> frozenset[str]:
    """Return the names of the cluster's nodes as the daemon saw them last, none before that. Raises `StoreError`."""
    seen = cluster_note(store)
    return frozenset() if seen is None else frozenset(node.name for node in seen.nodes)


def judged(said: Control, note: DaemonNote | None, now: float, trouble: str = "") -> DaemonStatus:
    """Return what an admin's word and the daemon's note amount to."""
    # A note from the time to come is of another clock, and says nothing of now.
    age_s = None if note is None else abs(now - note.last_tick_at)
    # A tick may take as long as the scheduler's timeouts, so a few missed ones prove nothing.
    patience_s = max(30.0, 5 * note.tick_s) if note is not None else 0.0
    return DaemonStatus(
        control=said,
        is_alive=age_s is not None and age_s < patience_s,
        age_s=age_s,
        has_heard=note is not None and note.said_at == said.said_at,
        note=note,
        store=trouble,
    )


def words(daemon: DaemonStatus) -> Iterator[str]:
    """Yield why there may be no pilot for work that waits, a sentence each."""
    note = daemon.note
    if daemon.store:
        yield f"No pilot can be submitted, {daemon.store}."
    if daemon.age_s is None:
        yield "No daemon has looked at the cluster yet: see that `harvester up` runs."
    elif not daemon.is_alive:
        yield f"The daemon has not looked at the cluster for {daemon.age_s:.0f} s: see that `harvester up` runs."
    if daemon.control.paused:
        why = daemon.control.reason or "no reason was told"
        yield f"No pilot is submitted, harvesting is paused by an admin: {why}; {_RESUME}."
    elif note is not None and note.paused:
        yield f"Submission is paused: {note.reason or 'no reason was told'}."
    if daemon.control.drained:
        them = nodelist.fold(daemon.control.drained)
        yield f"No pilot is put on {them}, drained by an admin; they are used again after `harvester undrain`."
    if note is None:
        return
    yield from (f"The daemon met an error: {error}" for error in note.errors)
    if not daemon.control.paused:
        yield from note.notes
    yield from note.knowledge.lost[:1]  # the one about nodes; `harvester status` has them all
