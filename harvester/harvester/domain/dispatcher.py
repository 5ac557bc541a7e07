"""The dispatcher: which invocation runs on which pilot. A pure core: stimulus and `now` in, effects out.

Theory of operation. An open invocation has one entry. While it waits (ACCEPTED) it stands in the queue of its shape;
while a pilot has it (LEASED, RUNNING) it stands in that pilot's leases under a fencing token. Tokens grow for ever,
over restarts too, since the upper bits count the gateway's starts. What a pilot reports under a token that is not the
valid one is acknowledged, so that the pilot forgets it, and otherwise ignored: so a result is committed once.

A pilot that is silent for the length of a lease is LOST and its work waits again, at the head. After a restart of the
gateway the pilots that held work have `recovery` to say hello; what they say they hold is believed when the token is
the valid one, or newer than any that was written down.

Must not know: clocks, sockets, the store, payloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

import msgspec

from harvester.domain.effects import (
    Acknowledge,
    Arrival,
    Begin,
    Conclude,
    Effect,
    Greet,
    KeepCheckpoint,
    MovePilot,
    Requeue,
    Revoke,
    SendDrain,
    Work,
)
from harvester.domain.entries import Entry, PilotEntry
from harvester.domain.granting import Granting, granted
from harvester.domain.invocations import ActivationEnd, Failure, FailureKind, InvocationEvent, InvocationState
from harvester.domain.ledger import Ledger
from harvester.domain.pilots import DrainReason, PilotEvent
from harvester.domain.wire import AckKind, Held


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the dispatcher is."""

    lease: timedelta = timedelta(seconds=4)  # silence after which a pilot is LOST
    margin: timedelta = timedelta(seconds=5)  # time that must be left of a pilot beyond what a run needs
    recovery: timedelta = timedelta(seconds=15)  # after a restart, how long pilots have to say hello
    poison_deaths: int = 3  # slot processes that one invocation may take down


class Dispatcher:
    """Queues, leases and pilots of one gateway."""

    def __init__(self, settings: DispatcherSettings, epoch: int) -> None:
        """`epoch` counts the gateway's starts on this store, so that tokens of an earlier life are smaller."""
        self.settings = settings
        self._ledger = Ledger(epoch)
        self._granting = Granting(self._ledger, settings.margin)
        self._gone: set[str] = set()  # pilots given up or gone: told to leave when they call
        self._last_tick_at: float | None = None

    # ---- invocations ----

    def accept(self, work: Work, now: float) -> list[Effect]:
        """Take a new invocation in."""
        return self.accept_many((work,), now)

    def accept_many(self, works: Iterable[Work], now: float) -> list[Effect]:
        """Take new invocations in, in order."""
        for work in works:
            self._ledger.queues.append(self._ledger.open(work))
        return list(self._granting.place(now))

    def recover(self, work: Work, now: float) -> None:
        """Take in an open invocation that the store remembers, before pilots connect, oldest first."""
        entry = self._ledger.open(work)
        if work.pilot_id is None:
            self._ledger.queues.append(entry)
            return
        expires_at = now + self.settings.recovery.total_seconds()
        unknown = PilotEntry.remembered(work.pilot_id, now, expires_at)
        pilot = self._ledger.pilots.setdefault(work.pilot_id, unknown)
        self._ledger.lease(entry, pilot, work.fence, is_started=work.is_started)

    def cancel(self, invocation_id: str, now: float) -> list[Effect]:
        """End an invocation at its user's wish. It is over at once; a slot that runs it is told to stop."""
        entry = self._ledger.entries.get(invocation_id)
        if entry is None or entry.is_over:
            return []
        fence, pilot_id = entry.fence, entry.pilot_id
        effects: list[Effect] = [self._conclude(entry, fence, InvocationState.CANCELLED)]
        if pilot_id is None:
            self._ledger.forget(entry)
        else:  # it keeps its room on the pilot until the pilot says that it has stopped
            effects.append(Revoke(pilot_id=pilot_id, invocation_id=invocation_id, fence=fence))
        return effects

    # ---- what pilots say of their leases ----

    def started(self, pilot_id: str, invocation_id: str, fence: int, now: float) -> list[Effect]:
        """A slot began."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        return [] if entry is None else list(self._begin(entry))

    def checkpointed(self, pilot_id: str, invocation_id: str, fence: int, seq: int, now: float) -> list[Effect]:
        """A checkpoint came."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        kind = AckKind.CHECKPOINT
        ack = Acknowledge(pilot_id=pilot_id, kind=kind, invocation_id=invocation_id, fence=fence, seq=seq)
        if entry is None or entry.is_over:
            return [ack]
        entry.has_checkpoint = True
        return [KeepCheckpoint(invocation_id=invocation_id, fence=fence, seq=seq), ack]

    def finished(
        self, pilot_id: str, invocation_id: str, fence: int, failure: Failure | None, now: float
    ) -> list[Effect]:
        """An activation ended by itself."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        ack = Acknowledge(pilot_id=pilot_id, kind=AckKind.FINISHED, invocation_id=invocation_id, fence=fence)
        if entry is None:
            return [ack]
        effects: list[Effect] = []
        if not entry.is_over:
            effects.append(self._end(entry, failure))
        self._ledger.release(entry)
        return [*effects, ack, *self._granting.place(now, self._ledger.pilots[pilot_id])]

    def given_back(self, pilot_id: str, invocation_id: str, fence: int, end: ActivationEnd, now: float) -> list[Effect]:
        """A lease came back without a result."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        ack = Acknowledge(pilot_id=pilot_id, kind=AckKind.GIVEN_BACK, invocation_id=invocation_id, fence=fence)
        if entry is None:
            return [ack]
        effects: list[Effect] = []
        if not entry.is_over:
            # On a pilot that has to leave, processes die for many reasons: that is no sign of poison.
            died = end is ActivationEnd.SLOT_DIED and self._ledger.pilots[pilot_id].drain is None
            entry.deaths += died
            if died and entry.deaths >= self.settings.poison_deaths:
                effects.append(self._conclude(entry, fence, InvocationState.FAILED, _poison(entry.deaths)))
            else:
                effects.append(self._requeue(entry, fence, end))
        self._ledger.release(entry)
        return [*effects, ack, *self._granting.place(now, self._ledger.pilots[pilot_id])]

    # ---- pilots ----

    def pilot_arrived(self, arrival: Arrival, now: float) -> list[Effect]:
        """A pilot said hello, for the first time or after its connection was lost."""
        pilot_id = arrival.pilot_id
        if pilot_id in self._gone:
            return [
                Greet(pilot_id=pilot_id, abandon=arrival.held),
                SendDrain(pilot_id=pilot_id, reason=DrainReason.DISMISSED),
            ]
        effects: list[Effect] = []
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None or not pilot.is_known:
            effects.append(MovePilot(pilot_id=pilot_id, event=PilotEvent.REGISTERED))
        if pilot is None:
            pilot = self._ledger.pilots[pilot_id] = PilotEntry.remembered(pilot_id, now, now)
        pilot.capacity, pilot.python = arrival.capacity, arrival.python
        pilot.is_known = pilot.is_connected = True
        self._renew(pilot, arrival.time_left_s, now)
        abandon, changes = self._compare(pilot, arrival.held)
        pilot.recount()
        self._ledger.note_room(pilot)
        effects += [Greet(pilot_id=pilot_id, abandon=tuple(abandon)), *changes]
        if arrival.drain is not None:
            effects += self._drain(pilot, arrival.drain)
        elif pilot.drain is not None:  # it has missed our word
            effects.append(SendDrain(pilot_id=pilot_id, reason=pilot.drain))
        return [*effects, *self._granting.place(now, pilot)]

    def heartbeat(self, pilot_id: str, time_left_s: float, now: float) -> list[Effect]:
        """A pilot lives, and so do its leases."""
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None:  # given up while it was silent, on a connection that was not
            return [SendDrain(pilot_id=pilot_id, reason=DrainReason.DISMISSED)]
        self._renew(pilot, time_left_s, now)
        return []

    def draining(self, pilot_id: str, reason: DrainReason, now: float) -> list[Effect]:
        """A pilot takes no more."""
        pilot = self._ledger.pilots.get(pilot_id)
        return [] if pilot is None else self._drain(pilot, reason)

    def evict(self, pilot_id: str, reason: DrainReason, now: float) -> list[Effect]:
        """Ask a pilot to leave."""
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None:
            return []
        return [*self._drain(pilot, reason), SendDrain(pilot_id=pilot_id, reason=reason)]

    def left(self, pilot_id: str, reason: DrainReason, now: float) -> list[Effect]:
        """A pilot said goodbye."""
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None:
            return []
        move = MovePilot(pilot_id=pilot_id, event=reason.event, reason=reason.value)
        return [move, *self._give_up(pilot, ActivationEnd.EVICTED, now)]

    def disconnected(self, pilot_id: str, now: float) -> list[Effect]:
        """A connection broke; the pilot may come back as long as its lease lasts."""
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is not None:
            pilot.is_connected = False
            self._ledger.note_room(pilot)
        return []

    def ended(self, pilot_id: str, now: float) -> list[Effect]:
        """Whoever watches the scheduler has written down that a pilot is over: no need to wait until its lease is.

        One that is connected lives, whatever is said of it; it ends by its goodbye, or by its silence.
        """
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None or pilot.is_connected:
            return []
        was_told = pilot.drain is DrainReason.EVICTED
        return self._give_up(pilot, ActivationEnd.EVICTED if was_told else ActivationEnd.PILOT_LOST, now)

    def tick(self, now: float) -> list[Effect]:
        """Notice who is silent. Call it several times a second."""
        pilots = self._ledger.pilots.values()
        late = 0.0 if self._last_tick_at is None else now - self._last_tick_at
        self._last_tick_at = now
        if late > 1.0:  # it was we who slept: nobody could be heard meanwhile
            for pilot in pilots:
                pilot.expires_at += late
        effects: list[Effect] = []
        for pilot in [pilot for pilot in pilots if pilot.expires_at <= now]:
            silence = f"no heartbeat for {now - pilot.last_seen_at:.1f} s"
            effects.append(MovePilot(pilot_id=pilot.pilot_id, event=PilotEvent.SILENT, reason=silence))
            effects += self._give_up(pilot, ActivationEnd.PILOT_LOST, now)
        # A heartbeat may have told of more time left, so once in a while every queue's head is tried again.
        return [*effects, *self._granting.place_all(now)]

    # ---- reads ----

    @property
    def pilots(self) -> Iterable[PilotEntry]:
        """The pilots that are alive as far as we know. To read, not to change."""
        return self._ledger.pilots.values()

    def pilot(self, pilot_id: str) -> PilotEntry | None:
        """One pilot. To read, not to change."""
        return self._ledger.pilots.get(pilot_id)

    def entry(self, invocation_id: str) -> Entry | None:
        """An open invocation. To read, not to change."""
        return self._ledger.entries.get(invocation_id)

    def position(self, entry: Entry) -> int:
        """How many wait in front of an invocation in its queue."""
        return self._ledger.queues.position(entry)

    # ---- inside ----

    def _begin(self, entry: Entry) -> Iterator[Begin]:
        if entry.state is InvocationState.LEASED:
            entry.advance(InvocationEvent.STARTED)
            yield Begin(invocation_id=entry.work.invocation_id, fence=entry.fence)

    def _end(self, entry: Entry, failure: Failure | None) -> Effect:
        if failure is None:
            return self._conclude(entry, entry.fence, InvocationState.SUCCEEDED)
        if failure.kind is FailureKind.EXCEPTION and entry.retries_used < entry.work.max_retries:
            entry.retries_used += 1
            return self._requeue(entry, entry.fence, ActivationEnd.FAILED)
        return self._conclude(entry, entry.fence, InvocationState.FAILED, failure)

    def _requeue(self, entry: Entry, fence: int, end: ActivationEnd) -> Requeue:
        """Let an entry wait again: at the head, unless its own failure brought it here."""
        entry.advance(InvocationEvent.REQUEUED)
        if end is ActivationEnd.FAILED:
            self._ledger.queues.append(entry)
        else:
            self._ledger.queues.push_front(entry)
        return Requeue(
            invocation_id=entry.work.invocation_id,
            fence=fence,
            end=end,
            retries_used=entry.retries_used,
            deaths=entry.deaths,
        )

    def _conclude(self, entry: Entry, fence: int, state: InvocationState, failure: Failure | None = None) -> Conclude:
        """End an invocation; its entry stays as long as a pilot has a slot in use for it."""
        entry.advance(InvocationEvent(state.value))
        return Conclude(invocation_id=entry.work.invocation_id, fence=fence, state=state, failure=failure)

    def _renew(self, pilot: PilotEntry, time_left_s: float, now: float) -> None:
        pilot.last_seen_at = now
        pilot.expires_at = now + self.settings.lease.total_seconds()
        pilot.ends_at = now + time_left_s

    def _compare(self, pilot: PilotEntry, held: tuple[Held, ...]) -> tuple[list[Held], list[Effect]]:
        """Hold what a pilot says it has against the books; return what it must abandon, and the changes."""
        abandon: list[Held] = []
        effects: list[Effect] = []
        confirmed: set[str] = set()
        for lease in held:
            entry = self._ledger.entries.get(lease.invocation_id)
            if entry is None or entry.is_over:
                abandon.append(lease)
                continue
            if entry.state is InvocationState.ACCEPTED and lease.fence > entry.last_fence:
                # Granted by an earlier life of the gateway, which ended before that was written down.
                self._ledger.queues.remove(entry)
                self._ledger.lease(entry, pilot, lease.fence)
                effects.append(granted(entry, pilot, adopted=True))
            if entry.pilot_id != pilot.pilot_id or entry.fence != lease.fence:
                abandon.append(lease)
                continue
            confirmed.add(lease.invocation_id)
            effects += self._begin(entry) if lease.is_started else ()
        effects += [
            self._requeue(entry, fence, ActivationEnd.UNSTARTED)
            for entry, fence in self._ledger.strip(pilot, keep=frozenset(confirmed))
        ]
        return abandon, effects

    def _drain(self, pilot: PilotEntry, reason: DrainReason) -> list[Effect]:
        if pilot.drain is reason:
            return []
        pilot.drain = reason
        self._ledger.note_room(pilot)
        return [MovePilot(pilot_id=pilot.pilot_id, event=PilotEvent.DRAIN, reason=reason.value)]

    def _give_up(self, pilot: PilotEntry, end: ActivationEnd, now: float) -> list[Effect]:
        """Forget a pilot; whatever it still held waits again."""
        effects: list[Effect] = [self._requeue(entry, fence, end) for entry, fence in self._ledger.strip(pilot)]
        self._ledger.remove_pilot(pilot)
        self._gone.add(pilot.pilot_id)
        return [*effects, *self._granting.place(now)]


def _poison(deaths: int) -> Failure:
    return Failure(
        kind=FailureKind.POISON,
        message=f"the slot process died {deaths} times under this invocation: it exits, crashes or runs out of "
        "memory; try it outside the harvester, or ask for more memory",
    )
