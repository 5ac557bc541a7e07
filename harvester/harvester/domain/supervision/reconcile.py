"""Reconcile: what the scheduler says against what we believe of our pilots.

Pure. Unknown is not gone: a pilot that one look did not show is looked for again, and only good looks count. A batch
job that carries our mark and that we believe ended, or never knew, is cancelled after it was seen several times.

Of a scheduler whose states are hints (`Knowledge.states`), the end of a pilot that has called is not believed: its
heartbeat tells it, to the gateway. One that has not called is given up when its time is over, or when its end was told
several times; and its batch job is cancelled, in case it waits still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
from harvester.domain.harvest.planning import KnownPilot
from harvester.domain.model.pilots import PILOT, PilotEvent, PilotState

_B, _E, _S = BatchState, PilotEvent, PilotState

ENDS: dict[BatchState, PilotEvent] = {
    _B.COMPLETED: _E.FINISHED,  # before it registered, the pilot's table makes FAILED of it, whatever its exit code
    _B.PREEMPTED: _E.PREEMPTED,
    _B.CANCELLED: _E.CANCELLED,
    _B.TIMEOUT: _E.FINISHED,  # the walltime of a READY pilot; one that never registered is FAILED by the table
    _B.NODE_FAIL: _E.FAILED,
    _B.FAILED: _E.FAILED,
    _B.OUT_OF_MEMORY: _E.FAILED,
    _B.DEADLINE: _E.CANCELLED,  # strict mode gives one: the scheduler found no room in time, which is nobody's fault
}
"""What a batch job's end means for its pilot. States that are not here mean nothing for its end."""

_STARTED = frozenset({_B.RUNNING, _B.SUSPENDED, _B.COMPLETING})
_CALLED = frozenset({_S.READY, _S.DRAINING})


class ReconcileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long something must be seen before it is believed."""

    looks: int = 3  # good looks in a row
    unseen: timedelta = timedelta(seconds=10)  # and at least so long
    unanswered: timedelta = timedelta(seconds=30)  # a submission without an answer may still get through so long
    silence: timedelta = timedelta(seconds=30)  # a pilot that called within this is alive, whatever the scheduler says
    boot: timedelta = timedelta(minutes=3)  # started for longer than this without a call: given up
    unheard: timedelta = timedelta(minutes=5)  # beyond its walltime, where states are hints and none tells of it


DEFAULTS = ReconcileSettings()


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """How often in a row, and since when, something was as it should not be."""

    looks: int
    since_at: float


class ReconcileState(msgspec.Struct, frozen=True, kw_only=True):
    """What the reconciler carries from one look to the next. Losing it (a restart) costs time, nothing else."""

    taken_at: float = 0.0  # of the newest look that counted
    missing: dict[str, Sighting] = {}  # pilot id: our pilots that the look did not show
    orphans: dict[str, Sighting] = {}  # batch job id: batch jobs with our mark that have no live pilot
    asked_to_leave: frozenset[str] = frozenset()  # pilot ids that the scheduler was seen preempting


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Write down an event of a pilot's lifecycle."""

    pilot_id: str
    event: PilotEvent
    reason: str = ""
    batch_job_id: str | None = None
    node: str | None = None


class CancelOrphan(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel a batch job that carries our mark and serves no live pilot."""

    batch_job_id: str
    reason: str


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from one good look."""

    effects: tuple[Move | CancelOrphan, ...]
    memory: ReconcileState


def reconcile(
    snapshot: ClusterSnapshot,
    pilots: Sequence[KnownPilot],
    memory: ReconcileState,
    *,
    mark: str,
    now: float,
    settings: ReconcileSettings = DEFAULTS,
) -> Reconciliation:
    """Compare one good look at the scheduler with our live pilots.

    Parameters
    ----------
    pilots: ours that have not ended, as the store had them *before* the look was taken.
    mark: how the names of our batch jobs begin.
    now: Unix seconds.
    """
    is_new = snapshot.taken_at > memory.taken_at  # an adapter may answer from its cache: one look counts once
    look = _Look(snapshot, memory, settings, now, is_new)
    effects: list[Move | CancelOrphan] = []
    for pilot in pilots:
        effects += look.compare(pilot)
    effects += look.find_orphans(mark, {pilot.name for pilot in pilots})
    return Reconciliation(effects=tuple(effects), memory=look.memory())


class _Look:
    """One comparison, and the memory that it leaves."""

    def __init__(
        self, snapshot: ClusterSnapshot, memory: ReconcileState, settings: ReconcileSettings, now: float, is_new: bool
    ) -> None:
        self.snapshot = snapshot
        self.knowledge = snapshot.knowledge
        self.old = memory
        self.settings = settings
        self.now = now
        self.is_new = is_new
        self.by_id = {batch.batch_job_id: batch for batch in snapshot.batch_jobs}
        self.by_name = {batch.name: batch for batch in _ended_first(snapshot.batch_jobs)}
        self.missing: dict[str, Sighting] = {}
        self.orphans: dict[str, Sighting] = {}
        self.leaving: set[str] = set()

    def memory(self) -> ReconcileState:
        return ReconcileState(
            taken_at=max(self.snapshot.taken_at, self.old.taken_at),
            missing=self.missing,
            orphans=self.orphans,
            asked_to_leave=frozenset(self.leaving),
        )

    def compare(self, pilot: KnownPilot) -> Iterator[Move | CancelOrphan]:
        """Yield what one pilot's batch job, or its absence, tells."""
        batch = self.by_id.get(pilot.batch_job_id) if pilot.batch_job_id else None
        batch = batch or self.by_name.get(pilot.name)
        if batch is None:
            yield from self._absent(pilot)
            return
        if batch.state.is_ended and not self.knowledge.states and not self._believes_end(pilot):
            yield from self._unheard(pilot, batch)
            return
        if pilot.pilot_id in self.old.asked_to_leave or batch.preempt_at is not None:
            self.leaving.add(pilot.pilot_id)
        state = pilot.state
        for event, reason in self._told_by(pilot, batch):
            if not PILOT.allows(state, event):
                continue
            state = PILOT.advance(state, event)
            yield Move(
                pilot_id=pilot.pilot_id,
                event=event,
                reason=reason,
                batch_job_id=batch.batch_job_id,
                node=batch.nodes[0] if batch.nodes and batch.state is not BatchState.PENDING else None,
            )

    def _told_by(self, pilot: KnownPilot, batch: BatchJob) -> Iterator[tuple[PilotEvent, str]]:
        """Yield the events that `batch` tells of, in the order in which they happened."""
        if pilot.state is PilotState.PLANNED:
            yield PilotEvent.SUBMITTED, "found by its name"
        if batch.state in _STARTED and pilot.state in {PilotState.PLANNED, PilotState.QUEUED}:
            yield PilotEvent.STARTED, ""
        if batch.state is BatchState.RUNNING and not batch.is_booting and self._is_overdue(pilot, batch):
            seconds = self.settings.boot.total_seconds()
            yield PilotEvent.FAILED, f"it was started but did not call within {seconds:g} s; see its output"
        end = ENDS.get(batch.state)
        if end is None:
            return
        # Slurm 22.05 calls a pilot that left within the grace time COMPLETED; from 24.11 on it is PREEMPTED.
        if pilot.pilot_id in self.leaving:
            end = PilotEvent.PREEMPTED
        before = pilot.state in {PilotState.PLANNED, PilotState.QUEUED, PilotState.BOOTING}
        reason = f"the scheduler says {batch.state.value}" + (f" ({batch.reason})" if batch.reason else "")
        yield end, reason + (", before it ever called" if before else "")

    def _is_overdue(self, pilot: KnownPilot, batch: BatchJob) -> bool:
        if pilot.state is not PilotState.BOOTING or pilot.started_at is None:
            return False
        # Where nodes had to boot, Slurm dates the start anew when they have.
        started_at = max(pilot.started_at, min(batch.start_at or 0.0, self.now))
        return self.now - started_at > self.settings.boot.total_seconds()

    def _absent(self, pilot: KnownPilot) -> Iterator[Move | CancelOrphan]:
        """Yield what follows when the look does not show a pilot."""
        if self.snapshot.taken_at <= pilot.pending_since:
            return  # the look is older than the submission
        if not (self.knowledge.names if pilot.state is PilotState.PLANNED else self.knowledge.states):
            yield from self._unheard(pilot, None)
            return
        sighting = self._not_as_it_should_be(pilot)
        if sighting.looks < self.settings.looks:
            return
        if pilot.state is PilotState.PLANNED:
            if self.now - pilot.planned_at > self.settings.unanswered.total_seconds():
                reason = "its submission was never answered, and the scheduler does not know it"
                yield Move(pilot_id=pilot.pilot_id, event=PilotEvent.REJECTED, reason=reason)
            return
        if self.now - sighting.since_at < self.settings.unseen.total_seconds() or self._is_alive(pilot):
            return
        if pilot.state in _CALLED and (pilot.ends_at or self.now) < self.now:
            reason = "its walltime ended between two looks of the daemon"
            yield Move(pilot_id=pilot.pilot_id, event=PilotEvent.FINISHED, reason=reason)
            return
        reason = f"{sighting.looks} looks at the scheduler did not show it"
        yield Move(pilot_id=pilot.pilot_id, event=PilotEvent.SILENT, reason=reason)

    def _not_as_it_should_be(self, pilot: KnownPilot) -> Sighting:
        sighting = self._count(self.old.missing.get(pilot.pilot_id))
        self.missing[pilot.pilot_id] = sighting
        return sighting

    def _believes_end(self, pilot: KnownPilot) -> bool:
        """Return whether the hint that a pilot's batch job has ended is believed."""
        if pilot.state in _CALLED:
            return False
        sighting = self._not_as_it_should_be(pilot)
        lasted_s = self.now - sighting.since_at
        is_settled = sighting.looks >= self.settings.looks and lasted_s >= self.settings.unseen.total_seconds()
        return is_settled and not self._is_alive(pilot)

    def _unheard(self, pilot: KnownPilot, batch: BatchJob | None) -> Iterator[Move | CancelOrphan]:
        """Yield what follows where only hints tell of a pilot: nothing while it may have time left."""
        begun_at = pilot.pending_since if pilot.started_at is None else pilot.started_at
        ends_at = begun_at + pilot.walltime.total_seconds() if pilot.ends_at is None else pilot.ends_at
        if self.now < ends_at + self.settings.unheard.total_seconds() or self._is_alive(pilot):
            return
        event, reason = PilotEvent.SILENT, "its walltime is over, and nothing was heard of it"
        if pilot.state is PilotState.PLANNED:
            event, reason = PilotEvent.REJECTED, "its submission was never answered, and nothing was heard of it"
        elif pilot.state in _CALLED:
            event = PilotEvent.FINISHED
        yield Move(pilot_id=pilot.pilot_id, event=event, reason=reason)
        batch_job_id = pilot.batch_job_id if batch is None else batch.batch_job_id
        if batch_job_id:  # it may wait in a queue still, and another pilot is submitted in its place
            yield CancelOrphan(batch_job_id=batch_job_id, reason=f"nothing was heard of {pilot.name} for its walltime")

    def _is_alive(self, pilot: KnownPilot) -> bool:
        seen = pilot.last_seen_at
        return seen is not None and self.now - seen < self.settings.silence.total_seconds()

    def find_orphans(self, mark: str, names: set[str]) -> Iterator[CancelOrphan]:
        """Yield the batch jobs with our mark that no live pilot owns, once they were seen often enough."""
        for batch in self.snapshot.batch_jobs:
            if not batch.name.startswith(mark) or batch.name in names:
                continue
            if batch.state.is_ended or batch.state in {BatchState.COMPLETING, BatchState.UNKNOWN}:
                continue
            sighting = self._count(self.old.orphans.get(batch.batch_job_id))
            self.orphans[batch.batch_job_id] = sighting
            # One that was evicted into the queue has begun before, so no submission of ours is under way.
            is_back = batch.state is BatchState.PENDING and batch.preempt_at is not None
            if self.is_new and sighting.looks % (1 if is_back else self.settings.looks) == 0:
                reason = f"{batch.name} belongs to no live pilot"
                yield CancelOrphan(batch_job_id=batch.batch_job_id, reason=reason)

    def _count(self, before: Sighting | None) -> Sighting:
        if before is None:
            return Sighting(looks=1, since_at=self.now)
        return Sighting(looks=before.looks + self.is_new, since_at=before.since_at)


def _ended_first(batch_jobs: Iterable[BatchJob]) -> list[BatchJob]:
    """Order so that, of two batch jobs with one name, the one that lives is found."""
    return sorted(batch_jobs, key=lambda batch: not batch.state.is_ended)
