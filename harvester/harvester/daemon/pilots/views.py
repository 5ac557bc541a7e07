"""The store's records as the pure core sees them."""

from __future__ import annotations

from datetime import timedelta

from harvester.domain.harvest.planning import KnownPilot, Need
from harvester.store.records import Demand, PilotRecord


def known(record: PilotRecord) -> KnownPilot:
    """Return a pilot for reconciler and planner."""
    return KnownPilot(
        pilot_id=record.pilot_id,
        name=record.name,
        shape=record.shape,
        partition=record.partition,
        resources=record.resources,
        walltime=timedelta(seconds=record.walltime_s),
        state=record.state,
        planned_at=record.planned_at,
        batch_job_id=record.batch_job_id,
        python=record.python,
        submitted_at=record.submitted_at,
        started_at=record.started_at,
        last_seen_at=record.last_seen_at,
        ends_at=record.ends_at,
        activations=record.activations,
        idle_since=record.idle_since,
        node=record.node,
    )


def need(demand: Demand) -> Need:
    """Return open work for the planner."""
    return Need(
        function_id=demand.function_id,
        resources=demand.resources,
        waiting=demand.waiting,
        held=demand.held,
        python=demand.python,
        walltime=None if demand.walltime_s is None else timedelta(seconds=demand.walltime_s),
        checkpoints=demand.checkpoints,
    )
