"""Losing pilots: what becomes of the work of one that is gone, and what of it is to blame. Pure, on the ledger.

A function can take its whole pilot down: it kills the agent or the zygote, or fills the node's memory. Its neighbours
must not pay for that, and it must not be retried for ever. So what a pilot held that was lost without a word is
charged: alone there, with a death, and `poison_deaths` of these fail it; beside others, with a loss, and after
`SUSPECT_LOSSES` of these it runs alone, with nothing granted ahead behind it. A run that left a checkpoint since it was
granted is not charged with a death: it gets on, and nodes fail too.
"""

from __future__ import annotations

from collections.abc import Iterator

from harvester.domain.dispatch.ledger.effects import Effect
from harvester.domain.dispatch.ledger.entries import Entry, PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger
from harvester.domain.dispatch.transitions import Steps
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.pilots import PilotState

GONE = 10_000
"""Pilots remembered as gone. One that calls after so many others have gone is refused by its state in the store."""

SUSPECT_LOSSES = 2

_UNEXPLAINED = {PilotState.FAILED, PilotState.LOST}
"""Ends that nobody asked for. Any other is the scheduler's or an admin's doing."""


class Losing:
    """Gives pilots up.

    Parameters
    ----------
    ledger, steps: the dispatcher's.
    """

    def __init__(self, ledger: Ledger, steps: Steps) -> None:
        self._ledger, self._steps = ledger, steps
        self._gone: dict[str, None] = {}

    def is_gone(self, pilot_id: str) -> bool:
        """Return whether a pilot was given up, or has left."""
        return pilot_id in self._gone

    def breaks(self, pilot: PilotEntry) -> None:
        """Note what a pilot holds that says that it is broken, before anything comes back.

        All of it: of short runs the ends may be lost, so that the guilty one is not the first that has not ended.
        """
        pilot.suspects = frozenset(pilot.leases)

    def came_back(self, pilot: PilotEntry, entry: Entry, fence: int, end: ActivationEnd) -> Effect:
        """Let an activation wait again that came back from a pilot which was to leave."""
        if entry.invocation_id in pilot.suspects and end is not ActivationEnd.UNSTARTED:
            return self._charge(entry, fence, end, pilot.suspects)
        return self._steps.requeue(entry, fence, end)

    def give_up(self, pilot: PilotEntry, end: ActivationEnd, now: float, state: PilotState) -> Iterator[Effect]:
        """Forget a pilot that is over, in `state`; whatever it still held waits again, or is found to be poison."""
        if pilot.drain is None:  # else it was leaving, and its end is no surprise
            self.breaks(pilot)
        is_charged = pilot.is_known and state in _UNEXPLAINED
        for entry, fence in self._ledger.strip(pilot, now):
            if is_charged and entry.invocation_id in pilot.suspects:
                yield self._charge(entry, fence, end, pilot.suspects)
                if entry.is_over:
                    self._ledger.forget(entry)
            else:
                yield self._steps.requeue(entry, fence, end)
        self._ledger.remove_pilot(pilot)
        self._gone[pilot.pilot_id] = None
        if len(self._gone) > GONE:
            del self._gone[next(iter(self._gone))]

    def _charge(self, entry: Entry, fence: int, end: ActivationEnd, suspects: frozenset[str]) -> Effect:
        entry.losses += 1
        if len(suspects) == 1 and not entry.has_progressed:
            return self._steps.die(entry, fence, end)
        if entry.losses >= SUSPECT_LOSSES and not entry.lane.is_alone:
            self._ledger.queues.isolate(entry)
        return self._steps.requeue(entry, fence, end)
