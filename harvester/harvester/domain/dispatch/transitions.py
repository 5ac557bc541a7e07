"""Steps of one invocation along its lifecycle, with the effects that go with them. Pure, on the dispatcher's ledger."""

from __future__ import annotations

from collections.abc import Iterator

from harvester.domain.dispatch.expiry import Expiry
from harvester.domain.dispatch.ledger.effects import Begin, Conclude, Effect, Requeue, Revoke
from harvester.domain.dispatch.ledger.entries import Entry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.model.invocations import (
    INVOCATION,
    ActivationEnd,
    Failure,
    FailureKind,
    InvocationEvent,
    InvocationState,
)

_UNSTARTED = {ActivationEnd.UNSTARTED, ActivationEnd.PILOT_LOST}  # ends that do not say that it had begun
_EVENTS = {state: InvocationEvent(state.value) for state in INVOCATION.final}


class Steps:
    """Moves the invocations of one ledger; one that takes down `poison_deaths` slot processes or pilots has failed."""

    def __init__(self, ledger: Ledger, expiry: Expiry, poison_deaths: int) -> None:
        self._ledger, self._expiry = ledger, expiry
        self._poison_deaths = poison_deaths

    def begin(self, entry: Entry, now: float) -> Iterator[Begin]:
        """A slot began; what is known already is not told again."""
        if entry.state is InvocationState.LEASED:
            self._ledger.begin(entry, now)
            yield Begin(invocation_id=entry.invocation_id, fence=entry.fence)

    def end(self, entry: Entry, failure: Failure | None, now: float, duration_s: float) -> Effect:
        """An activation ended by itself, and so does the invocation, unless it is to be tried again."""
        if (
            failure is not None
            and failure.kind is FailureKind.EXCEPTION
            and entry.retries_used < entry.lane.function.max_retries
        ):
            entry.retries_used += 1
            return self.requeue(entry, entry.fence, ActivationEnd.FAILED)
        started_at = now - duration_s if entry.state is InvocationState.LEASED else None
        state = InvocationState.SUCCEEDED if failure is None else InvocationState.FAILED
        return self.conclude(entry, entry.fence, state, failure, started_at)

    def die(self, entry: Entry, fence: int, end: ActivationEnd) -> Effect:
        """What ran an invocation has died of it; it is tried again unless that happens again and again."""
        entry.deaths += 1
        if entry.deaths < self._poison_deaths:
            return self.requeue(entry, fence, end)
        return self.conclude(entry, fence, InvocationState.FAILED, _poison(entry.deaths))

    def requeue(self, entry: Entry, fence: int, end: ActivationEnd) -> Requeue:
        """Let an entry wait again: at the head, unless its own failure brought it here."""
        entry.advance(InvocationEvent.REQUEUED)
        if end not in _UNSTARTED:
            entry.has_started = True
        if end is ActivationEnd.FAILED:
            self._ledger.queues.append(entry)
        else:
            self._ledger.queues.push_front(entry)
        if entry.start_by is not None and not entry.has_started:
            self._expiry.watch(entry)
        return Requeue(
            invocation_id=entry.invocation_id,
            fence=fence,
            end=end,
            retries_used=entry.retries_used,
            deaths=entry.deaths,
        )

    def conclude(
        self,
        entry: Entry,
        fence: int,
        state: InvocationState,
        failure: Failure | None = None,
        started_at: float | None = None,
    ) -> Conclude:
        """End an invocation; its entry stays as long as a pilot has a slot in use for it."""
        entry.advance(_EVENTS[state])
        if entry.end_by is not None or entry.start_by is not None:
            self._expiry.ended(entry)
        return Conclude(
            invocation_id=entry.invocation_id, fence=fence, state=state, failure=failure, started_at=started_at
        )

    def stop(self, entry: Entry, state: InvocationState, failure: Failure | None = None) -> list[Effect]:
        """End an invocation wherever it is: over at once, and a slot that runs it is told to stop."""
        lease = entry.lease
        if lease is None:
            conclude = self.conclude(entry, 0, state, failure)
            self._ledger.queues.withdraw(entry)
            self._ledger.forget(entry)
            return [conclude]
        # It keeps its room on the pilot until the pilot says that it has stopped.
        return [
            self.conclude(entry, lease.fence, state, failure),
            Revoke(pilot_id=lease.pilot_id, invocation_id=entry.invocation_id, fence=lease.fence),
        ]

    def expire(self, now: float) -> Iterator[Effect]:
        """End what its user's limits do not let go on."""
        for entry, failure in self._expiry.due(now):
            yield from self.stop(entry, InvocationState.EXPIRED, failure)


def _poison(deaths: int) -> Failure:
    return Failure(
        kind=FailureKind.POISON,
        message=f"the slot process, or its whole pilot, died {deaths} times under this invocation: it exits, crashes, "
        "kills what runs it or runs out of memory; try it outside the harvester, or ask for more memory",
    )
