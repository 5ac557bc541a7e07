"""How the daemon stands, in words: paused or not, when it last looked, why there are no more pilots.

Reads what daemon and admins left in the store as notes. Pure but for `read`, which fetches them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harvester.domain.cluster import nodelist
from harvester.domain.protocol import control
from harvester.domain.protocol.control import Control
from harvester.store.store import Store
from harvester_api.schemas.responses import DaemonDocument

CLUSTER_NOTE, DAEMON_NOTE = "cluster", "daemon"
_RESUME = "an admin ends it with `harvester resume`"


def note(store: Store, key: str) -> dict[str, Any]:
    """Return the note under `key`, empty where there is none. Raises `StoreError`."""
    text = store.note(key)
    found = {} if text is None else msgspec.json.decode(text)
    return found if isinstance(found, dict) else {}


def read(store: Store, now: float, trouble: str = "") -> DaemonDocument:
    """Return how the daemon stands; `trouble` is why the store takes no writes. Raises `StoreError`."""
    said = control.decode(store.note(control.CONTROL_NOTE))
    return judged(said, note(store, DAEMON_NOTE), now, trouble)


def nodes(store: Store) -> frozenset[str]:
    """Return the names of the cluster's nodes as the daemon saw them last, none before that. Raises `StoreError`."""
    return frozenset(str(node.get("name")) for node in note(store, CLUSTER_NOTE).get("nodes") or ())


def judged(said: Control, noted: dict[str, Any], now: float, trouble: str = "") -> DaemonDocument:
    """Return what an admin's word and the daemon's note amount to."""
    last = noted.get("last_tick_at")
    # A note from the time to come is of another clock, and says nothing of now.
    age_s = None if last is None else abs(now - last)
    # A tick may take as long as the scheduler's timeouts, so a few missed ones prove nothing.
    patience_s = max(30.0, 5 * noted.get("tick_s", 0.0))
    return DaemonDocument(
        control=said,
        is_alive=age_s is not None and age_s < patience_s,
        age_s=age_s,
        has_heard=last is not None and noted.get("said_at", 0.0) == said.said_at,
        note=noted,
        store=trouble,
    )


def words(daemon: DaemonDocument) -> Iterator[str]:
    """Yield why there may be no pilot for work that waits, a sentence each."""
    noted = daemon.note
    if daemon.store:
        yield f"No pilot can be submitted, {daemon.store}."
    if daemon.age_s is None:
        yield "No daemon has looked at the cluster yet: see that `harvester up` runs."
    elif not daemon.is_alive:
        yield f"The daemon has not looked at the cluster for {daemon.age_s:.0f} s: see that `harvester up` runs."
    if daemon.control.paused:
        why = daemon.control.reason or "no reason was told"
        yield f"No pilot is submitted, harvesting is paused by an admin: {why}; {_RESUME}."
    elif noted.get("paused"):
        yield f"Submission is paused: {noted.get('reason') or 'no reason was told'}."
    if daemon.control.drained:
        them = nodelist.fold(daemon.control.drained)
        yield f"No pilot is put on {them}, drained by an admin; they are used again after `harvester undrain`."
    yield from (f"The daemon met an error: {error}" for error in noted.get("errors") or ())
    if not daemon.control.paused:
        yield from noted.get("notes") or ()
