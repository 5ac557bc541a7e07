"""The dispatcher's ledger: the open invocations, the pilots, and which pilot holds what under which token.

Keeps the books consistent, whatever is decided: a lease always stands in both entries, and its room is taken from the
pilot as long as it stands. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from harvester.domain.effects import Work
from harvester.domain.entries import Entry, PilotEntry
from harvester.domain.invocations import InvocationEvent
from harvester.domain.queues import Queues


class Ledger:
    """Entries of invocations and pilots, the queues, and the newest fencing token."""

    def __init__(self, epoch: int) -> None:
        """`epoch` counts the gateway's starts on this store, so that tokens of an earlier life are smaller."""
        self.fence = epoch << 32
        self.entries: dict[str, Entry] = {}
        self.pilots: dict[str, PilotEntry] = {}
        self.roomy: dict[str, PilotEntry] = {}  # those that take work and have a CPU free
        self.queues = Queues()

    def open(self, work: Work) -> Entry:
        """Enter an invocation, not yet in a queue."""
        entry = Entry(
            work,
            last_fence=work.fence,
            attempts=work.attempts,
            retries_used=work.retries_used,
            deaths=work.deaths,
            has_checkpoint=work.has_checkpoint,
        )
        self.entries[work.invocation_id] = entry
        return entry

    def next_fence(self) -> int:
        """Return a token that is greater than all before it."""
        self.fence += 1
        return self.fence

    def lease(self, entry: Entry, pilot: PilotEntry, fence: int, *, is_started: bool = False) -> None:
        """Give `entry`, which waits, to `pilot`."""
        entry.advance(InvocationEvent.GRANTED)
        if is_started:
            entry.advance(InvocationEvent.STARTED)
        entry.attempts += fence > entry.last_fence  # one that is recovered was counted when it was granted
        entry.fence = entry.last_fence = fence
        entry.pilot_id = pilot.pilot_id
        pilot.add(entry)
        self.note_room(pilot)

    def release(self, entry: Entry) -> int:
        """Take `entry` off its pilot and return the token it had there; one that is over is forgotten."""
        fence = entry.fence
        if entry.pilot_id is not None:
            pilot = self.pilots[entry.pilot_id]
            pilot.remove(entry)
            self.note_room(pilot)
        entry.fence, entry.pilot_id = 0, None
        if entry.is_over:
            self.forget(entry)
        return fence

    def note_room(self, pilot: PilotEntry) -> None:
        """Note that a pilot's room, connection or drain has changed."""
        if pilot.free.cpus > 0 and pilot.is_open:
            self.roomy[pilot.pilot_id] = pilot
        else:
            self.roomy.pop(pilot.pilot_id, None)

    def remove_pilot(self, pilot: PilotEntry) -> None:
        """Close a pilot's entry; it holds nothing any more."""
        del self.pilots[pilot.pilot_id]
        self.roomy.pop(pilot.pilot_id, None)

    def forget(self, entry: Entry) -> None:
        """Close an invocation's entry."""
        del self.entries[entry.work.invocation_id]

    def valid(self, pilot_id: str, invocation_id: str, fence: int) -> Entry | None:
        """Return the entry if this pilot holds it under this token."""
        entry = self.entries.get(invocation_id)
        if entry is None or entry.pilot_id != pilot_id or entry.fence != fence:
            return None
        return entry

    def strip(self, pilot: PilotEntry, keep: frozenset[str] = frozenset()) -> Iterator[tuple[Entry, int]]:
        """Release what `pilot` holds, but for the ids in `keep`; yield what is not over, and the token it had."""
        # Backwards, because each goes to the head of its queue: the oldest then comes first again.
        for entry in [entry for key, entry in reversed(pilot.leases.items()) if key not in keep]:
            fence = self.release(entry)
            if not entry.is_over:
                yield entry, fence
