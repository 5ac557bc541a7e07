"""The dispatcher: which invocation runs on which pilot. A pure core: stimulus and `now` in, effects out.

Theory of operation. An open invocation has one entry. While it waits (ACCEPTED) it stands in a lane, that of its owner
and function; while a pilot has it (LEASED, RUNNING) it stands in that pilot's leases under a fencing token. Tokens grow
for ever, over restarts too, since the upper bits count the gateway's starts. What a pilot reports under a token that is
not the valid one is acknowledged, so that the pilot forgets it, and otherwise ignored: so a result is committed once.

A pilot that is silent for the length of a lease is LOST and its work waits again, at the head. After a restart of the
gateway the pilots that held work have `recovery` to say hello; what they say they hold is believed when the token is
the valid one, or newer than any that was written down.

Must not know: clocks, sockets, the store, payloads.
"""

from __future__ import annotations

from collections.abc import Iterable

from harvester.domain.dispatch.expiry import Expiry
from harvester.domain.dispatch.leasing.fitting import doubtful, learn
from harvester.domain.dispatch.leasing.granting import Granting
from harvester.domain.dispatch.leasing.recall import recalls
from harvester.domain.dispatch.ledger.effects import (
    Acknowledge,
    Arrival,
    Effect,
    Greet,
    KeepCheckpoint,
    MovePilot,
    SendDrain,
)
from harvester.domain.dispatch.ledger.entries import Entry, PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.dispatch.losing import Losing
from harvester.domain.dispatch.nesting import NestedRuns
from harvester.domain.dispatch.queueing.durations import Estimate
from harvester.domain.dispatch.queueing.queues import Queues
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.dispatch.reconnect import compare
from harvester.domain.dispatch.settings import DispatcherSettings
from harvester.domain.dispatch.transitions import Steps
from harvester.domain.model.invocations import ActivationEnd, Failure, InvocationState
from harvester.domain.model.pilots import BROKEN_UNDER_WORK, DrainReason, PilotEvent, PilotState
from harvester.domain.protocol.wire import AckKind

__all__ = ["Dispatcher", "DispatcherSettings"]


class Dispatcher:
    """Queues, leases and pilots of one gateway."""

    def __init__(self, settings: DispatcherSettings, epoch: int) -> None:
        """`epoch` counts the gateway's starts on this store, so that tokens of an earlier life are smaller."""
        self.settings = settings
        self._queues = Queues(settings.weights, settings.max_running_per_owner, settings.owner_limits)
        self._ledger = Ledger(epoch, self._queues, settings.horizon.total_seconds())
        self._expiry = Expiry()
        self._steps = Steps(self._ledger, self._expiry, settings.poison_deaths)
        self._lease_s, self._margin_s = settings.lease.total_seconds(), settings.margin.total_seconds()
        self._granting = Granting(
            self._ledger,
            margin_s=self._margin_s,
            patience_s=settings.patience.total_seconds(),
            horizon_s=settings.horizon.total_seconds(),
            prefetch=settings.prefetch,
        )
        self._losing = Losing(self._ledger, self._steps)
        self.nesting = NestedRuns(self._ledger, self._settle)
        self._last_tick_at: float | None = None

    # ---- invocations ----

    def accept(self, work: Work, now: float) -> list[Effect]:
        """Take a new invocation in."""
        return self.accept_many((work,), now)

    def accept_many(self, works: Iterable[Work], now: float) -> list[Effect]:
        """Take new invocations in, in order."""
        for work in works:
            entry = self._ledger.open(work)
            self._queues.append(entry)
            if work.start_by is not None or work.end_by is not None:
                self._expiry.watch(entry)
        return self._settle([], now)

    def recover(self, work: Work, now: float) -> None:
        """Take in an open invocation that the store remembers, before pilots connect, oldest first."""
        entry = self._ledger.open(work)
        if work.pilot_id is None:
            self._queues.append(entry)
            self._expiry.watch(entry)
            return
        expires_at = now + self.settings.recovery.total_seconds()
        unknown = PilotEntry.remembered(work.pilot_id, now, expires_at)
        pilot = self._ledger.pilots.setdefault(work.pilot_id, unknown)
        self._ledger.lease(entry, pilot, work.fence, now, is_started=work.is_started)
        self._expiry.watch(entry)

    def cancel(self, invocation_id: str, now: float) -> list[Effect]:
        """End an invocation at its user's wish. It is over at once; a slot that runs it is told to stop."""
        entry = self._ledger.entries.get(invocation_id)
        if entry is None or entry.is_over:
            return []
        return self._settle(self._steps.stop(entry, InvocationState.CANCELLED), now)

    # ---- what pilots say of their leases ----

    def started(self, pilot_id: str, invocation_id: str, fence: int, now: float) -> list[Effect]:
        """A slot began."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        return [] if entry is None else list(self._steps.begin(entry, now))

    def checkpointed(self, pilot_id: str, invocation_id: str, fence: int, seq: int, now: float) -> list[Effect]:
        """A checkpoint came."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        ack = Acknowledge(pilot_id=pilot_id, kind=AckKind.CHECKPOINT, invocation_id=invocation_id, fence=fence, seq=seq)
        if entry is None or entry.is_over:
            return [ack]
        entry.has_checkpoint = entry.has_progressed = True
        return [KeepCheckpoint(invocation_id=invocation_id, fence=fence, seq=seq), ack]

    def finished(
        self,
        pilot_id: str,
        invocation_id: str,
        fence: int,
        failure: Failure | None,
        now: float,
        *,
        duration_s: float = 0.0,
    ) -> list[Effect]:
        """An activation ended by itself, after `duration_s` in its slot; 0: that was not told."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        ack = Acknowledge(pilot_id=pilot_id, kind=AckKind.FINISHED, invocation_id=invocation_id, fence=fence)
        if entry is None:
            return [ack]
        if duration_s > 0.0 and failure is None:
            learn(self._queues, entry.lane.function, duration_s)
        effects: list[Effect] = [ack] if entry.is_over else [self._steps.end(entry, failure, now, duration_s), ack]
        self._ledger.release(entry, now, duration_s or None)
        return self._settle(effects, now, self._ledger.pilots[pilot_id])

    def given_back(self, pilot_id: str, invocation_id: str, fence: int, end: ActivationEnd, now: float) -> list[Effect]:
        """A lease came back without a result."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        ack = Acknowledge(pilot_id=pilot_id, kind=AckKind.GIVEN_BACK, invocation_id=invocation_id, fence=fence)
        if entry is None:
            return [ack]
        pilot, effects = self._ledger.pilots[pilot_id], list[Effect]()
        if not entry.is_over:
            # On a pilot that has to leave, processes die for many reasons: that is no sign of poison.
            died = end is ActivationEnd.SLOT_DIED and pilot.drain is None
            back = self._steps.die(entry, fence, end) if died else self._losing.came_back(pilot, entry, fence, end)
            effects.append(back)
        self._ledger.release(entry, now, 0.0 if end is ActivationEnd.UNSTARTED else None)
        return self._settle([*effects, ack], now, pilot)

    # ---- pilots ----

    def pilot_arrived(self, arrival: Arrival, now: float) -> list[Effect]:
        """A pilot said hello, for the first time or after its connection was lost."""
        pilot_id = arrival.pilot_id
        if self._losing.is_gone(pilot_id):
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
        pilot.renew(self._lease_s, arrival.time_left_s, now)
        abandon, changes = compare(self._ledger, self._steps, pilot, arrival.held, now)
        pilot.recount()
        self._ledger.note_room(pilot)
        effects += [Greet(pilot_id=pilot_id, abandon=abandon), *changes]
        if arrival.drain is not None:
            effects += self._drain(pilot, arrival.drain)
        elif pilot.drain is not None:  # it has missed our word
            effects.append(SendDrain(pilot_id=pilot_id, reason=pilot.drain))
        return self._settle(effects, now, pilot)

    def heartbeat(self, pilot_id: str, time_left_s: float, now: float) -> list[Effect]:
        """A pilot lives, and so do its leases."""
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None:  # given up while it was silent, on a connection that was not
            return [SendDrain(pilot_id=pilot_id, reason=DrainReason.DISMISSED)]
        pilot.renew(self._lease_s, time_left_s, now)
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
        words = BROKEN_UNDER_WORK if reason is DrainReason.BROKEN and pilot.suspects else reason.value
        move = MovePilot(pilot_id=pilot_id, event=reason.event, reason=words)
        state = PilotState.FAILED if reason is DrainReason.BROKEN else PilotState.FINISHED
        return [move, *self._give_up(pilot, ActivationEnd.EVICTED, now, state)]

    def disconnected(self, pilot_id: str, now: float) -> list[Effect]:
        """A connection broke; the pilot may come back as long as its lease lasts."""
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is not None:
            pilot.is_connected = False
            self._ledger.note_room(pilot)
        return []

    def ended(self, pilot_id: str, state: PilotState, now: float) -> list[Effect]:
        """Whoever watches the scheduler has written down how a pilot is over: no need to wait until its lease is.

        One that is connected lives, whatever is said of it; it ends by its goodbye, or by its silence.
        """
        pilot = self._ledger.pilots.get(pilot_id)
        if pilot is None or pilot.is_connected:
            return []
        was_told = pilot.drain is DrainReason.EVICTED
        end = ActivationEnd.EVICTED if was_told else ActivationEnd.PILOT_LOST
        return self._give_up(pilot, end, now, state)

    def tick(self, now: float) -> list[Effect]:
        """Notice who is silent, what has expired, and which leases wait in vain. Call it several times a second."""
        pilots = self._ledger.pilots.values()
        late = 0.0 if self._last_tick_at is None else now - self._last_tick_at
        self._last_tick_at = now
        if late > 1.0:  # it was we who slept: nobody could be heard meanwhile
            for pilot in pilots:
                pilot.expires_at += late
        effects: list[Effect] = [*self._steps.expire(now)]
        for pilot in [pilot for pilot in pilots if pilot.expires_at <= now]:
            silence = f"no heartbeat for {now - pilot.last_seen_at:.1f} s"
            effects.append(MovePilot(pilot_id=pilot.pilot_id, event=PilotEvent.SILENT, reason=silence))
            effects += self._give_up(pilot, ActivationEnd.PILOT_LOST, now, PilotState.LOST)
        for function in doubtful(self._queues, pilots, self._margin_s, now):
            self._queues.reshape(function)
        self._queues.sweep()
        # A heartbeat may have told of more time left, so once in a while everything that waits is tried again.
        self._granting.place_all(now, effects)
        effects += recalls(self._ledger, self._margin_s, now)
        return effects

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
        """How many of its owner's invocations of its function wait before one; an estimate where it is far behind."""
        return self._queues.position(entry)

    def estimate(self, function_id: str) -> Estimate | None:
        """What has been learned of the duration of a function version's runs; None while that is too little."""
        return self._queues.durations.estimate(function_id)

    # ---- inside ----

    def _settle(self, effects: list[Effect], now: float, freed: PilotEntry | None = None) -> list[Effect]:
        """End what has expired, so that it is not granted, then grant what has become possible."""
        if self._expiry.is_due(now):
            effects += self._steps.expire(now)
        self._granting.place(now, freed, effects)
        return effects

    def _drain(self, pilot: PilotEntry, reason: DrainReason) -> list[Effect]:
        if pilot.drain is reason:
            return []
        if reason is DrainReason.BROKEN and pilot.drain is None:
            self._losing.breaks(pilot)
        pilot.drain = reason
        self._ledger.note_room(pilot)
        return [MovePilot(pilot_id=pilot.pilot_id, event=PilotEvent.DRAIN, reason=reason.value)]

    def _give_up(self, pilot: PilotEntry, end: ActivationEnd, now: float, state: PilotState) -> list[Effect]:
        return self._settle([*self._losing.give_up(pilot, end, now, state)], now)
