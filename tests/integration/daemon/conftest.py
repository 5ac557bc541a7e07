"""A daemon over a real store and a scheduler in memory, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.daemon.daemon import Daemon
from harvester.daemon.settings import DaemonSettings, Orders
from harvester.domain.cluster.ports import LimitReached, PilotOrder, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.harvest.planning import HarvestSettings, Shape
from harvester.domain.model.pilots import PilotEvent
from harvester.domain.model.resources import Resources
from harvester.store.records import PilotRecord
from harvester.store.store import Store, open_store
from harvester.store.writes.changes import PilotMoved

RESOURCES = Resources(cpus=2)


@dataclass
class FakeScheduler:
    """A scheduler in memory. Nothing starts or ends in it unless the test says so."""

    now: float = 1_000_000.0
    batch_jobs: dict[str, BatchJob] = field(default_factory=dict)
    orders: dict[str, PilotOrder] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    is_down: bool = False  # nothing is answered
    loses_answers: bool = False  # submissions get through, their answers do not
    refusal: str = ""  # submissions are refused with these words
    is_full: bool = False  # and it is a limit that refuses them
    looks: int = 0
    glances: int = 0
    busy: set[str] = field(default_factory=set)  # nodes that somebody else has

    def snapshot(self) -> ClusterSnapshot:
        self.looks += 1
        if self.is_down:
            raise SchedulerUnavailable("squeue: no answer within 10 s")
        nodes = tuple(
            self._busy(f"n{i}")
            if f"n{i}" in self.busy
            else Node(name=f"n{i}", state=NodeState.IDLE, partitions=("harvest",), total=RESOURCES, free=RESOURCES)
            for i in range(8)
        )
        partition = Partition(name="harvest", grace_time=timedelta(seconds=60), is_preemptible=True)
        return ClusterSnapshot(
            taken_at=self.now,
            scheduler="fake 1",
            nodes=nodes,
            batch_jobs=tuple(self.batch_jobs.values()),
            partitions=(partition,),
        )

    def _busy(self, name: str) -> Node:
        none = Resources(cpus=0)
        return Node(name=name, state=NodeState.ALLOCATED, partitions=("harvest",), total=RESOURCES, free=none)

    def submit(self, order: PilotOrder) -> str:
        if self.refusal:
            raise (LimitReached if self.is_full else SubmissionRejected)(self.refusal)
        batch_job_id = str(len(self.orders) + 1)
        self.orders[batch_job_id] = order
        self.batch_jobs[batch_job_id] = BatchJob(
            batch_job_id=batch_job_id,
            name=order.name,
            user="me",
            partition=order.partition,
            state=BatchState.PENDING,
        )
        if self.loses_answers:
            raise SchedulerUnavailable("sbatch: no answer within 10 s")
        return batch_job_id

    @property
    def commands(self) -> int:
        return self.looks + len(self.orders) + len(self.cancelled)

    def glance(self) -> tuple[BatchJob, ...]:
        self.glances += 1
        if self.is_down:
            raise SchedulerUnavailable("squeue: no answer within 10 s")
        return tuple(batch for batch in self.batch_jobs.values() if not batch.state.is_ended)

    def ended(self, batch_job_ids: Sequence[str]) -> tuple[BatchJob, ...]:
        if self.is_down:
            raise SchedulerUnavailable("squeue: no answer within 10 s")
        return tuple(batch for batch in self.batch_jobs.values() if batch.batch_job_id in batch_job_ids)

    def hold(self, *batch_job_ids: str) -> None:
        for batch_job_id in batch_job_ids:
            self.turn(batch_job_id, BatchState.PENDING, is_held=True)

    def release(self, *batch_job_ids: str) -> None:
        for batch_job_id in batch_job_ids:
            self.turn(batch_job_id, BatchState.PENDING, is_held=False)

    def cancel(self, *batch_job_ids: str) -> None:
        if self.is_down:
            raise SchedulerUnavailable("scancel: no answer within 10 s")
        for batch_job_id in batch_job_ids:
            self.cancelled.append(batch_job_id)
            self.turn(batch_job_id, BatchState.CANCELLED)

    def close(self) -> None:
        pass

    def turn(self, batch_job_id: str, state: BatchState, **changes: object) -> None:
        self.batch_jobs[batch_job_id] = replace(self.batch_jobs[batch_job_id], state=state, **changes)


@dataclass
class Site:
    """A store, a scheduler, a clock, and the daemon over them."""

    folder: Path
    store: Store
    scheduler: FakeScheduler
    settings: DaemonSettings
    daemon: Daemon

    def pass_time(self, seconds: float = 2.0, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.scheduler.now += seconds
            self.daemon.tick()

    def restart(self, **changes: object) -> None:
        """A new daemon over the same store and scheduler, as after a kill -9."""
        self.settings = replace(self.settings, **changes)
        self.daemon = Daemon(self.settings, self.store, self.scheduler, clock=lambda: self.scheduler.now)

    def register(self, pilot: PilotRecord, node: str | None = None) -> None:
        """What the gateway does when a pilot calls."""
        now = self.scheduler.now
        event = PilotMoved(pilot_id=pilot.pilot_id, event=PilotEvent.REGISTERED, at=now, node=node, ends_at=now + 5000)
        self.store.move_pilot(event)

    def all(self) -> list[PilotRecord]:
        return self.store.pilots(live=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = open_store(f"sqlite:///{tmp_path / 'harvester.db'}?durability=os")
    scheduler = FakeScheduler()
    shape = Shape(name="cpu", partition="harvest", resources=RESOURCES, ready=1)
    settings = DaemonSettings(
        state_dir=tmp_path,
        gateways=("http://127.0.0.1:1",),
        harvest=HarvestSettings(shapes=(shape,), lengths=(timedelta(minutes=90), timedelta(minutes=8))),
        orders={"cpu": Orders(interpreter="/usr/bin/python3", handover_s=7.0)},
    )
    daemon = Daemon(settings, store, scheduler, clock=lambda: scheduler.now)
    yield Site(tmp_path, store, scheduler, settings, daemon)
    daemon.stop()
    store.close()
