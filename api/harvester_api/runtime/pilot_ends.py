"""Pilots whose end somebody else has seen: the daemon learns it from the scheduler long before a lease is over.

Owns when the store is asked, and of whom: about once a second, of the pilots that are not connected, and of them only.
What an end means is the dispatcher's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from harvester.domain.dispatch.ledger.entries import PilotEntry
from harvester.domain.model.pilots import PILOT, PilotState
from harvester.store.store import Store, StoreError

log = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=1)


class Endings:
    """The look-out of one gateway."""

    def __init__(self, store: Store, on_end: Callable[[str, PilotState], None]) -> None:
        """`on_end` is called with each pilot that is over, and its final state."""
        self._store, self._on_end = store, on_end
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    def look(self, pilots: Iterable[PilotEntry], now: float) -> None:
        """Begin to ask for those of `pilots` that are not connected, if it is time; never two looks at once."""
        if now - self._looked_at < INTERVAL.total_seconds() or self._looking is not None:
            return
        absent = [pilot.pilot_id for pilot in pilots if not pilot.is_connected]
        if absent:
            self._looked_at = now
            self._looking = asyncio.create_task(self._ask(absent))

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _ask(self, pilot_ids: list[str]) -> None:
        try:
            found = await asyncio.to_thread(lambda: [self._store.pilot(pilot_id) for pilot_id in pilot_ids])
            for pilot in found:
                if pilot is not None and pilot.state in PILOT.final:
                    self._on_end(pilot.pilot_id, pilot.state)
        except StoreError as error:
            log.warning("the store does not say which pilots are over, their leases run on: %s", error)
        except Exception:  # outermost of this task
            log.exception("defect in the look-out for pilots that are over")
        finally:
            self._looking = None
