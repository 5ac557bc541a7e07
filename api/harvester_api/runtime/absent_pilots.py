"""Absent pilots: those that the store calls alive, and that have not called since this gateway started.

Owns how long they are waited for. A pilot that held work is the dispatcher's to give up, when its lease is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from harvester.domain.model.pilots import PilotEvent
from harvester.store.writes.changes import PilotMoved


class Absent:
    """Who has not come back yet.

    Parameters
    ----------
    patience: how long pilots have to come back after a start.
    """

    def __init__(self, patience: timedelta) -> None:
        self._patience_s = patience.total_seconds()
        self._since = 0.0
        self._pilots: set[str] = set()

    def expect(self, pilots: set[str], now: float) -> None:
        """Begin to wait for `pilots`."""
        self._pilots, self._since = pilots, now

    def came(self, pilot_id: str) -> None:
        """A pilot has called."""
        self._pilots.discard(pilot_id)

    def given_up(self, now: float, is_known: Callable[[str], bool]) -> Iterator[PilotMoved]:
        """Yield the ends of those that held nothing (`is_known` tells) and are not waited for any longer."""
        if not self._pilots or now - self._since < self._patience_s:
            return
        for pilot_id in self._pilots:
            if not is_known(pilot_id):
                reason = "did not reconnect after the gateway restarted"
                yield PilotMoved(pilot_id=pilot_id, event=PilotEvent.SILENT, at=now, reason=reason)
        self._pilots = set()
