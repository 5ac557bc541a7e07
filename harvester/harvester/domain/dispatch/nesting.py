"""Nesting: runs that wait for others which they have submitted. Pure, on the dispatcher's ledger.

A run that waits uses no CPU, so its CPUs are lent to others, first to what it waits for. When it goes on it does so at
once; where its CPUs are taken by then, nothing new is granted until they are free again. Its devices and its memory
stay its own. How many may wait on a pilot is the pilot's to say: it knows its memory.
"""

from __future__ import annotations

from collections.abc import Callable

from harvester.domain.dispatch.ledger.effects import Effect, Recall
from harvester.domain.dispatch.ledger.entries import Entry, PilotEntry
from harvester.domain.dispatch.ledger.ledger import Ledger

Settle = Callable[[list[Effect], float, PilotEntry | None], list[Effect]]


class NestedRuns:
    """The runs of one ledger that wait.

    Parameters
    ----------
    ledger: the dispatcher's.
    settle: grants what has become possible on a pilot, behind the effects that it is given.
    """

    def __init__(self, ledger: Ledger, settle: Settle) -> None:
        self._ledger, self._settle = ledger, settle

    def waits(self, pilot_id: str, invocation_id: str, fence: int, now: float, *, is_lent: bool) -> list[Effect]:
        """A run waits for others that it has submitted; `is_lent`: its pilot can lend its CPUs meanwhile."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        if entry is None:
            return []
        self._ledger.wait(entry, now, is_lent=is_lent)
        pilot = self._ledger.pilots[pilot_id]
        return self._settle(_recalls(pilot, now), now, pilot)

    def goes_on(self, pilot_id: str, invocation_id: str, fence: int, now: float) -> list[Effect]:
        """A run has what it waited for."""
        entry = self._ledger.valid(pilot_id, invocation_id, fence)
        if entry is not None:
            self._ledger.go_on(entry, now)
        return []


def _recalls(pilot: PilotEntry, now: float) -> list[Effect]:
    """Ask back what was granted ahead before it was known to submit others: it would take the lent CPUs from those."""
    recalls: list[Effect] = []
    for entry in pilot.leases.values() if pilot.ahead else ():
        lease = entry.lease
        if lease is not None and lease.is_ahead and lease.recalled_at is None and entry.lane.function.nests:
            lease.recalled_at = now
            recalls.append(Recall(pilot_id=pilot.pilot_id, invocation_id=entry.invocation_id, fence=lease.fence))
    return recalls


def waits_for(entry: Entry) -> str:
    """Return for what a run waits, in words; empty where it does not wait."""
    lease = entry.lease
    if lease is None or lease.waits_since is None:
        return ""
    many = "an invocation" if entry.children == 1 else f"{entry.children or 'other'} invocations"
    words = f"it waits for {many} that it has submitted"
    if lease.is_lent:
        return f"{words}, and others may use its CPUs meanwhile"
    return f"{words}, and keeps its CPUs: as many wait on its pilot as may"
