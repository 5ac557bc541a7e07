"""Reconciling: what a look tells of our pilots is written down, and what serves no pilot is cancelled.

Owns what is remembered from look to look, and the words of an end. What follows from a look is `domain.reconcile`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from harvester.daemon.pilots import views
from harvester.daemon.pilots.folders import PilotFolders
from harvester.daemon.pilots.hands import PilotJobs
from harvester.daemon.pilots.pauses import Pauses
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester.domain.model.pilots import PilotEvent, PilotState
from harvester.domain.supervision.reconcile import Move, ReconcileState, reconcile
from harvester.store.records import PilotRecord
from harvester.store.store import Store
from harvester.store.writes.changes import PilotMoved

log = logging.getLogger(__name__)


class Reconciling:
    """Brings our belief and the scheduler's word together.

    Parameters
    ----------
    mark: how the names of our batch jobs begin.
    told: called with a sentence on each pilot that failed before it called.
    """

    def __init__(
        self,
        store: Store,
        folders: PilotFolders,
        pauses: Pauses,
        hands: PilotJobs,
        *,
        mark: str,
        clock: Callable[[], float],
        told: Callable[[str], None],
    ) -> None:
        self._store, self._folders, self._pauses, self._hands = store, folders, pauses, hands
        self._mark, self._clock, self._told = mark, clock, told
        self._memory = ReconcileState()
        self._live: set[str] = set()  # pilots that had not ended at the last look, and whose end we did not write down

    def look(self, snapshot: ClusterSnapshot, records: Sequence[PilotRecord]) -> None:
        """Compare a look with the pilots' records, as they were before it. Raises `StoreError`."""
        self._pauses.see(records, self._clock())
        self._ended_elsewhere({record.pilot_id for record in records})
        pilots = [views.known(record) for record in records]
        outcome = reconcile(snapshot, pilots, self._memory, mark=self._mark, now=self._clock())
        self._memory = outcome.memory
        for effect in outcome.effects:
            if isinstance(effect, Move):
                self._move(effect)
            else:
                self._hands.cancel_orphan(effect)

    def ended(self, snapshot: ClusterSnapshot, ended: Sequence[BatchJob], records: Sequence[PilotRecord]) -> None:
        """Write down the ends of some batch jobs only, whatever a look would show of the others."""
        ids = {batch.batch_job_id for batch in ended}
        mine = [views.known(record) for record in records if record.batch_job_id in ids]
        seen = replace(snapshot, batch_jobs=tuple(ended), taken_at=self._clock())
        for effect in reconcile(seen, mine, ReconcileState(), mark=self._mark, now=self._clock()).effects:
            if isinstance(effect, Move):
                self._move(effect)

    def _ended_elsewhere(self, live: set[str]) -> None:
        """Tell the pauses of pilots whose end the gateway wrote down: those that said that they are broken."""
        gone, self._live = self._live - live, live
        for pilot_id in gone:
            record = self._store.pilot(pilot_id)
            if record is not None:
                ended_at = self._clock() if record.ended_at is None else record.ended_at
                self._pauses.ended(record, ended_at, is_survived=self._is_survived(record))

    def _move(self, move: Move) -> None:
        self._live.discard(move.pilot_id)
        owners = self._store.owners_on(move.pilot_id)  # before: its end takes all work from it
        reason = move.reason
        if move.event is PilotEvent.FAILED or (reason and move.event is PilotEvent.FINISHED):
            before = self._store.pilot(move.pilot_id)
            has_called = before is not None and before.registered_at is not None
            reason = self._folders.ending(move.pilot_id, reason, has_called=has_called)
        now = self._clock()
        record = self._store.move_pilot(
            PilotMoved(
                pilot_id=move.pilot_id,
                event=move.event,
                at=now,
                reason=reason,
                batch_job_id=move.batch_job_id,
                node=move.node,
            )
        )
        log.info("daemon.reconcile pilot=%s event=%s state=%s %s", record.name, move.event, record.state, reason)
        if record.state is PilotState.FAILED and record.registered_at is None:
            self._told(f"pilot {record.name} failed before it called: {record.reason}")
        self._pauses.ended(record, now, is_survived=self._is_survived(record), owners=owners)

    def _is_survived(self, ended: PilotRecord) -> bool:
        """Return whether another pilot of the same shape has called and is alive."""
        if ended.state is not PilotState.FAILED or ended.registered_at is None:
            return False  # nobody asks
        return any(pilot.shape == ended.shape and pilot.registered_at is not None for pilot in self._store.pilots())
