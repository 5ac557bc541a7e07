"""Reunion: what a pilot that says hello holds, held against the books. Pure, on the dispatcher's ledger."""

from __future__ import annotations

from harvester.domain.dispatch.leasing.granting import granted
from harvester.domain.dispatch.ledger.effects import Effect
from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.dispatch.transitions import Steps
from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.protocol.wire import Held


def compare(
    ledger: Ledger, steps: Steps, pilot: PilotEntry, held: tuple[Held, ...], now: float
) -> tuple[tuple[Held, ...], list[Effect]]:
    """Return what the pilot must abandon, and the changes to the books.

    What it says it holds is believed when the token is the valid one, or newer than any that was written down. What
    the books say it holds and it does not is given to others.
    """
    for held_before in pilot.leases.values():
        ledger.go_on(held_before, now)  # the pilot tells anew what waits
    abandon: list[Held] = []
    effects: list[Effect] = []
    confirmed: set[str] = set()
    for lease in held:
        entry = ledger.entries.get(lease.invocation_id)
        if entry is None or entry.is_over:
            abandon.append(lease)
            continue
        if entry.state is InvocationState.ACCEPTED and lease.fence > entry.last_fence:
            # Granted by an earlier life of the gateway, which ended before that was written down.
            ledger.queues.remove(entry)
            ledger.lease(entry, pilot, lease.fence, now)
            effects.append(granted(entry, pilot, adopted=True))
        if entry.pilot_id != pilot.pilot_id or entry.fence != lease.fence:
            abandon.append(lease)
            continue
        confirmed.add(lease.invocation_id)
        effects += steps.begin(entry, now) if lease.is_started else ()
    effects += [
        steps.requeue(entry, fence, ActivationEnd.UNSTARTED)
        for entry, fence in ledger.strip(pilot, now, keep=frozenset(confirmed))
    ]
    return tuple(abandon), effects
