"""Senses: what the daemon knows of pilots and work without asking the scheduler.

Owns how often the store and the pilots' output are read.
"""

from __future__ import annotations

from harvester.daemon.pilots import views
from harvester.daemon.pilots.folders import PilotFolders
from harvester.domain.harvest.planning import KnownPilot
from harvester.domain.model.pilots import PilotState
from harvester.domain.supervision.looks import Facts
from harvester.store.records import PilotRecord
from harvester.store.store import Store

EVERY_S = 1.0

_STARTING = frozenset({PilotState.QUEUED, PilotState.BOOTING})


class Senses:
    """Reads pilots and work, once in a while."""

    def __init__(self, store: Store, folders: PilotFolders) -> None:
        self._store, self._folders = store, folders
        self._read_at = 0.0
        self._facts = Facts(pilots=0, waiting=0)
        self._before_look: list[PilotRecord] | None = None  # read in this tick
        self.pilots: tuple[KnownPilot, ...] = ()  # as they were read last
        self.trouble: tuple[str, ...] = ()  # what pilots say that have started and cannot call, a sentence each

    def facts(self, now: float) -> Facts:
        """Return what is known, a second old at most. Raises `StoreError`."""
        self._before_look = None
        if abs(now - self._read_at) < EVERY_S:
            return self._facts
        self._read_at = now
        self._before_look = self._store.pilots()
        self.pilots = tuple(map(views.known, self._before_look))
        self.trouble = self._of_those_that_start()
        demand = self._store.demand()
        oldest = [need.oldest_at for need in demand if need.oldest_at is not None]
        self._facts = Facts(
            pilots=len(self.pilots),
            waiting=sum(need.waiting for need in demand),
            oldest_s=now - min(oldest, default=now),
        )
        return self._facts

    def before_look(self) -> list[PilotRecord]:
        """Return the pilots that have not ended, as of the last `facts` or newer. Raises `StoreError`.

        The same records are not returned twice: who has looked may have changed them, or submitted one more.
        """
        records, self._before_look = self._before_look, None
        return self._store.pilots() if records is None else records

    def _of_those_that_start(self) -> tuple[str, ...]:
        starting = [pilot for pilot in self.pilots if pilot.state in _STARTING]
        found = [(pilot.name, self._folders.boot_trouble(pilot.pilot_id)) for pilot in starting]
        return tuple(f"pilot {name} has started and cannot call: {trouble}" for name, trouble in found if trouble)
