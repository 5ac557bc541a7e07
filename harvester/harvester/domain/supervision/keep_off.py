"""Keeping off: while pilots leave for a prime job, pilots that wait in the queue must not take what they vacate.

Slurm lets a batch job that has preempted somebody preempt nobody else for KillWait + MsgTimeout (30 s + 10 s by
default). A pilot that starts on a node that was just vacated for it makes it wait for that long. So from the first word
of an eviction on our pending pilots are held, and none is submitted, until the prime job has what it wants.

Pure. Knows no command: whoever asks holds and releases.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from harvester.domain.cluster.snapshot import BatchState, ClusterSnapshot, WaitsFor
from harvester.domain.contention.contention import Contention
from harvester.domain.harvest.planning import KnownPilot
from harvester.domain.model.pilots import PilotState

LOOKS = tuple(timedelta(seconds=seconds) for seconds in (1, 3, 6, 12, 24, 45))
"""When it is looked whether the prime job has started, after the last pilot has gone."""

UNTOLD = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60))
"""When it is looked while pilots are still leaving, after the newest word."""

LONGEST = timedelta(seconds=90)
"""For which is kept off at most after the last word: well beyond KillWait + MsgTimeout."""


class KeepOff(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of evictions under way."""

    since_at: float | None = None  # of the first word; None while nobody is being evicted
    newest_at: float = 0.0  # of the newest word
    cleared_at: float | None = None  # since when none of the pilots that were asked to leave is there any more
    nodes: frozenset[str] = frozenset()  # that pilots were asked to vacate

    @property
    def is_on(self) -> bool:
        """Whether pilots keep off now."""
        return self.since_at is not None

    def told(self, nodes: frozenset[str], at: float) -> KeepOff:
        """Return the state after pilots on `nodes` were asked to leave."""
        return KeepOff(
            since_at=at if self.since_at is None else self.since_at,
            newest_at=max(at, self.newest_at),
            nodes=self.nodes | nodes,
        )

    def cleared(self, now: float) -> KeepOff:
        """Return the state after the last of the pilots has said goodbye."""
        return self if self.cleared_at is not None else msgspec.structs.replace(self, cleared_at=now)

    def look_at(self, now: float) -> float | None:
        """Return when the next look is wanted, None while nobody is being evicted."""
        if self.since_at is None:
            return None
        begin, steps = (self.newest_at, UNTOLD) if self.cleared_at is None else (self.cleared_at, LOOKS)
        times = (begin + step.total_seconds() for step in steps)
        return next((at for at in times if at > now), self.newest_at + LONGEST.total_seconds())

    def looked(
        self, snapshot: ClusterSnapshot, pilots: tuple[KnownPilot, ...], wants: Contention, now: float
    ) -> KeepOff:
        """Return the state after a look.

        Parameters
        ----------
        pilots: ours that have not ended.
        wants: what prime jobs would take if our pilots were not there.
        """
        told = self._heard(snapshot, pilots, now)
        if told.since_at is None:
            return told
        if now - told.newest_at >= LONGEST.total_seconds():
            return KeepOff()
        if _is_leaving(told.nodes, snapshot, pilots):
            return told
        return told if _is_wanted(told.nodes, snapshot, wants, pilots, now) else KeepOff()

    def _heard(self, snapshot: ClusterSnapshot, pilots: tuple[KnownPilot, ...], now: float) -> KeepOff:
        """Take from the look what no pilot has told: the scheduler says whom it preempts."""
        names = {pilot.name for pilot in pilots}
        preempted = [
            batch
            for batch in snapshot.batch_jobs
            if batch.preempt_at is not None and batch.name in names and not batch.state.is_ended
        ]
        fresh = frozenset(node for batch in preempted for node in batch.nodes) - self.nodes
        return self.told(fresh, now) if fresh else self


def _is_leaving(nodes: frozenset[str], snapshot: ClusterSnapshot, pilots: tuple[KnownPilot, ...]) -> bool:
    """Return whether a pilot that was asked to leave one of `nodes` is still there. Others drain for their walltime."""
    states = {pilot.name: pilot.state for pilot in pilots}
    return any(
        batch.preempt_at is not None or states[batch.name] is PilotState.DRAINING
        for batch in snapshot.batch_jobs
        if batch.name in states and batch.state is BatchState.RUNNING and not nodes.isdisjoint(batch.nodes)
    )


def _is_wanted(
    nodes: frozenset[str],
    snapshot: ClusterSnapshot,
    wants: Contention,
    pilots: tuple[KnownPilot, ...],
    now: float,
) -> bool:
    """Return whether a pending prime job still wants what was vacated."""
    if any(start.at <= now and not nodes.isdisjoint(start.nodes) for start in wants.starts):
        return True
    ours = {pilot.name for pilot in pilots}
    return any(
        not nodes.isdisjoint(batch.nodes)
        for batch in snapshot.batch_jobs
        if batch.state is BatchState.PENDING and batch.waits_for is not WaitsFor.OTHER and batch.name not in ours
    )
