"""Evictions: what is done at once when the scheduler takes nodes back: pilots that wait keep off what is vacated.

Owns the ear for the gateway's word, and holding and releasing. How long pilots keep off is `domain.keep_off`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from harvester.daemon.pilots.hands import PilotJobs
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.harvest.planning import PENDING, HarvestMode, Situation
from harvester.domain.model.pilots import PilotState
from harvester.domain.protocol import word
from harvester.domain.supervision.keep_off import LONGEST, KeepOff
from harvester.store.records import PilotRecord
from harvester.store.store import Store

log = logging.getLogger(__name__)

_LEAVING = frozenset({PilotState.READY, PilotState.DRAINING})
_DEAF_S = 3.0  # after its eviction a pilot that has heard of it says so within a second
_WHY = "pilots are being evicted, and pending pilots must not take the nodes that a prime job waits for"


class Evictions:
    """Keeps pilots off nodes that are being vacated."""

    def __init__(self, store: Store, hands: PilotJobs) -> None:
        self._store, self._hands = store, hands
        self._heard: word.GatewayWord | None = None
        self._keep_off = KeepOff()
        self._leaving: set[str] = set()  # pilots
        self._held: set[str] = set()  # batch jobs: another word need not hold them again

    def listen(self, now: float) -> tuple[str, ...]:
        """Hear the gateway's word; return the pilots whose connection broke since. Raises `StoreError`."""
        said = word.decode(self._store.note(word.WORD_NOTE))
        before, self._heard = self._heard, said
        if before is None:  # a word from before our start may be an old one
            return ()
        if said.evicted_at > before.evicted_at:
            self._evicted(said, now)
        elif self._keep_off.is_on and self._keep_off.cleared_at is None and self._are_gone():
            self._keep_off = self._keep_off.cleared(now)
        return said.broken if said.broken_at > before.broken_at else ()

    def _are_gone(self) -> bool:
        return self._leaving.isdisjoint(record.pilot_id for record in self._store.pilots())

    def _evicted(self, said: word.GatewayWord, now: float) -> None:
        records = self._store.pilots()
        # A pilot that we have cancelled ourselves hears the same signal, but it does not live any more.
        evicted = [record for record in records if record.pilot_id in said.evicted and record.state in _LEAVING]
        if not evicted:
            return
        log.info("daemon.evictions pilots=%s", ",".join(record.name for record in evicted))
        self._leaving |= {record.pilot_id for record in evicted}
        self._keep_off = self._keep_off.told(frozenset(record.node for record in evicted), now)
        self._hold(records)

    def _hold(self, records: list[PilotRecord]) -> None:
        waiting = [record.batch_job_id for record in records if record.state in PENDING and record.batch_job_id]
        self._hands.hold([batch_job_id for batch_job_id in waiting if batch_job_id not in self._held])
        self._held.update(waiting)

    def look_at(self, looked_at: float) -> float | None:
        """Return when a look is wanted after one at `looked_at`, None while nobody is being evicted."""
        return self._keep_off.look_at(looked_at)

    def looked(self, situation: Situation) -> str:
        """Take a look into account; return why nothing is submitted, empty where something may be."""
        if situation.settings.mode is not HarvestMode.PREEMPTIBLE:
            self._keep_off = KeepOff()  # nobody is evicted there: somebody has cancelled a pilot by hand
            return ""
        snapshot, pilots, now = situation.snapshot, situation.pilots, situation.now
        preempted = [
            batch for batch in snapshot.batch_jobs if batch.preempt_at is not None and not batch.state.is_ended
        ]
        if self._keep_off.is_on or preempted:
            self._keep_off = self._keep_off.looked(snapshot, pilots, situation.contention, now)
        self._wake_the_deaf(preempted, situation)
        if self._keep_off.is_on:
            return f"{_WHY} (for {LONGEST.total_seconds():g} s at most)"
        self._leaving.clear()
        self._held.clear()
        return ""

    def settle(self, situation: Situation, held: Collection[str], leaving: Collection[str]) -> None:
        """Hold the pilots that wait and must not be started now, and release all others.

        Parameters
        ----------
        held: pilots that the plan wants held; while pilots are being evicted all of them are.
        leaving: pilots that are about to be cancelled: they stay as they are.
        """
        ids = {pilot.name: pilot.pilot_id for pilot in situation.pilots}
        batch_jobs = situation.snapshot.batch_jobs
        staying = {name for name, pilot_id in ids.items() if pilot_id not in leaving}
        waiting = [batch for batch in batch_jobs if batch.name in staying and batch.state is BatchState.PENDING]
        kept = {batch.batch_job_id for batch in waiting if self._keep_off.is_on or ids[batch.name] in held}
        self._hands.hold([batch.batch_job_id for batch in waiting if batch.batch_job_id in kept and not batch.is_held])
        # Also those that an earlier daemon held, and did not live to release.
        others = [batch for batch in waiting if batch.batch_job_id not in kept]
        self._hands.release([batch.batch_job_id for batch in others if batch.is_held])

    def _wake_the_deaf(self, preempted: Sequence[BatchJob], situation: Situation) -> None:
        """End pilots that have not heard of their eviction: Slurm tells only the steps that have begun by then."""
        staying = {pilot.name for pilot in situation.pilots if pilot.state in {PilotState.READY, PilotState.BOOTING}}
        deaf = [
            batch.batch_job_id
            for batch in preempted
            if batch.name in staying and situation.now - (batch.preempt_at or situation.now) > _DEAF_S
        ]
        if deaf:
            log.warning("daemon.evictions batch_jobs=%s: they have not heard that they are evicted", ",".join(deaf))
        self._hands.cancel(deaf)
