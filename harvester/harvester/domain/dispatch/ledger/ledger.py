"""The dispatcher's ledger: the open invocations, the pilots, and which pilot holds what under which token.

Keeps the books consistent, whatever is decided: a lease always stands in both entries, its room is taken from the
pilot and its cost charged to the owner's share as long as it stands. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from harvester.domain.dispatch.ledger.entries import Entry, Lease, PilotEntry
from harvester.domain.dispatch.ledger.sharded import ShardedDict
from harvester.domain.dispatch.queueing.durations import KNOWN
from harvester.domain.dispatch.queueing.queues import Queues
from harvester.domain.dispatch.queueing.shares import UNKNOWN_S
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.invocations import InvocationEvent

DEEPER = 10_000
"""What has submitted others waits for them: they go before all else that their owner has, whatever the priorities."""


class Ledger:
    """Entries of invocations and pilots, the queues, and the newest fencing token.

    Parameters
    ----------
    epoch: counts the gateway's starts on this store, so that tokens of an earlier life are smaller.
    queues: where invocations wait.
    brief_s: runs of functions that take no longer than this, in seconds, are known to be over soon.
    """

    def __init__(self, epoch: int, queues: Queues, brief_s: float) -> None:
        self.fence = epoch << 32  # the newest token; the next is greater
        self.entries: ShardedDict[Entry] = ShardedDict()
        self.pilots: dict[str, PilotEntry] = {}
        self.roomy: dict[str, PilotEntry] = {}  # those that take work and have a CPU free
        self.queues = queues
        self._brief_s = brief_s

    def open(self, work: Work) -> Entry:
        """Enter an invocation, not yet in a queue."""
        lane = self.queues.lane(work)
        lane.open += 1
        entry = self.entries[work.invocation_id] = Entry(
            work.invocation_id, lane, work.accepted_at, work.priority, work.start_by, work.end_by
        )
        if work.fence or work.attempts or work.has_checkpoint:
            entry.last_fence, entry.attempts = work.fence, work.attempts
            entry.retries_used, entry.deaths = work.retries_used, work.deaths
            entry.has_checkpoint = work.has_checkpoint
            entry.has_started = bool(work.is_started or work.has_checkpoint or work.retries_used or work.deaths)
        if work.parent:
            self._nest(entry, work.parent)
        return entry

    def _nest(self, entry: Entry, parent_id: str) -> None:
        parent = self.entries.get(parent_id)
        if parent is None or parent.lane.owner is not entry.lane.owner:
            return
        parent.lane.function.nests = True
        parent.children += 1
        entry.parent, entry.depth = parent_id, parent.depth + 1
        entry.priority += entry.depth * DEEPER

    def lease(
        self,
        entry: Entry,
        pilot: PilotEntry,
        fence: int,
        now: float,
        *,
        is_started: bool = False,
        is_ahead: bool = False,
    ) -> None:
        """Give `entry`, which waits in no queue, to `pilot`."""
        entry.advance(InvocationEvent.GRANTED)
        entry.attempts += fence > entry.last_fence  # one that is recovered was counted when it was granted
        entry.last_fence = fence
        lane = entry.lane
        duration = lane.function.duration
        if duration.runs >= KNOWN:
            expected_s = duration.mean_s
            lease = Lease(pilot.pilot_id, fence, now, expected_s, expected_s <= self._brief_s, is_ahead)
        else:
            expected_s = UNKNOWN_S
            lease = Lease(pilot.pilot_id, fence, now, expected_s)
        entry.lease, entry.has_progressed = lease, False
        self.queues.leased(lane, expected_s)
        pilot.add(entry, lease)
        if pilot.free_cpus <= 0:
            self.roomy.pop(pilot.pilot_id, None)
        if is_started:
            self.begin(entry, now)

    def begin(self, entry: Entry, now: float) -> None:
        """Note that a slot has begun a lease."""
        entry.advance(InvocationEvent.STARTED)
        entry.has_started = True
        lease = entry.lease
        if lease is not None:
            lease.begun_at = now
            if lease.is_ahead:
                self.pilots[lease.pilot_id].began(entry, lease)

    def wait(self, entry: Entry, now: float, *, is_lent: bool) -> None:
        """Note that a run waits for others, and whether its CPUs are free meanwhile."""
        lease = entry.lease
        if lease is None or entry.is_over:
            return
        if lease.waits_since is None:
            lease.waits_since = now
        entry.lane.function.nests = True
        if is_lent and not lease.is_lent:
            pilot = self.pilots[lease.pilot_id]
            pilot.lend(entry, lease)
            self.queues.lent(entry.lane)
            self.note_room(pilot)

    def go_on(self, entry: Entry, now: float) -> None:
        """Note that a run waits no longer."""
        lease = entry.lease
        if lease is None or lease.waits_since is None:
            return
        lease.waited_s += now - lease.waits_since
        lease.waits_since = None
        if lease.is_lent:
            pilot = self.pilots[lease.pilot_id]
            pilot.take_up(entry, lease)
            self.queues.taken_up(entry.lane)
            self.note_room(pilot)

    def release(self, entry: Entry, now: float, used_s: float | None = None) -> int:
        """Take `entry` off its pilot and return the token it had there; one that is over is forgotten.

        `used_s`: how long it had a slot; None: from its beginning until now, as far as that is known.
        """
        lease = entry.lease
        fence = 0
        if lease is not None:
            fence = lease.fence
            if lease.waits_since is not None:
                self.go_on(entry, now)
            if used_s is None:
                begun_at = lease.begun_at if lease.is_ahead or lease.begun_at is not None else lease.granted_at
                used_s = lease.expected_s if begun_at is None else now - begun_at
            pilot = self.pilots[lease.pilot_id]
            pilot.remove(entry, lease)
            self.queues.released(entry.lane, lease.expected_s, max(0.0, used_s - lease.waited_s))
            entry.lane.function.quiet_since = now
            entry.lease = None
            if pilot.free_cpus > 0 and pilot.drain is None and pilot.is_connected:
                self.roomy[pilot.pilot_id] = pilot
        if entry.is_over:
            self.forget(entry)
        return fence

    def note_room(self, pilot: PilotEntry) -> None:
        """Note that a pilot's room, connection or drain has changed."""
        if pilot.free_cpus > 0 and pilot.is_open:
            self.roomy[pilot.pilot_id] = pilot
        else:
            self.roomy.pop(pilot.pilot_id, None)

    def remove_pilot(self, pilot: PilotEntry) -> None:
        """Close a pilot's entry; it holds nothing any more."""
        del self.pilots[pilot.pilot_id]
        self.roomy.pop(pilot.pilot_id, None)

    def forget(self, entry: Entry) -> None:
        """Close an invocation's entry."""
        del self.entries[entry.invocation_id]
        entry.lane.open -= 1
        if entry.parent and (parent := self.entries.get(entry.parent)) is not None:
            parent.children -= 1

    def valid(self, pilot_id: str, invocation_id: str, fence: int) -> Entry | None:
        """Return the entry if this pilot holds it under this token."""
        entry = self.entries.get(invocation_id)
        if entry is None:
            return None
        lease = entry.lease
        if lease is None or lease.fence != fence or lease.pilot_id != pilot_id:
            return None
        return entry

    def strip(self, pilot: PilotEntry, now: float, keep: frozenset[str] = frozenset()) -> Iterator[tuple[Entry, int]]:
        """Release what `pilot` holds, but for the ids in `keep`; yield what is not over, and the token it had."""
        # Backwards, because each goes to the head of its queue: the oldest then comes first again.
        for entry in [entry for key, entry in reversed(pilot.leases.items()) if key not in keep]:
            fence = self.release(entry, now)
            if not entry.is_over:
                yield entry, fence
