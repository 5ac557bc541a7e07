"""The launcher: a planned pilot becomes a record, a folder, and a batch job, in this order.

The record comes first: a batch job whose record is missing would be an orphan, a record whose batch job is missing is
found out by looking for its name.
"""

from __future__ import annotations

import hashlib
import secrets

import uuid_utils

from harvester.daemon.pilots.folders import PilotFolders
from harvester.daemon.settings import DaemonSettings
from harvester.domain.cluster.ports import (
    PilotOrder,
    SchedulerAbsent,
    SchedulerAdapter,
    SubmissionRejected,
    SubmissionUnsent,
)
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.harvest.planning import Shape, SubmitPilot
from harvester.domain.model.pilots import PilotEvent, PilotState
from harvester.domain.protocol import pilot_file
from harvester.store.records import PilotRecord
from harvester.store.store import Store
from harvester.store.writes.changes import PilotMoved


class Launcher:
    """Submits pilots."""

    def __init__(
        self, settings: DaemonSettings, store: Store, adapter: SchedulerAdapter, folders: PilotFolders
    ) -> None:
        self.settings = settings
        self.mark = f"hv-{store.instance}-"  # how the names of our batch jobs begin
        self._store = store
        self._adapter = adapter
        self._folders = folders
        self._shapes = {shape.name: shape for shape in settings.harvest.shapes}

    def launch(self, order: SubmitPilot, snapshot: ClusterSnapshot, now: float) -> PilotRecord:
        """Submit a pilot and return it, QUEUED.

        Raises `SubmissionRejected`, and `SchedulerUnavailable` where the scheduler surely has not heard of it (the
        pilot is FAILED then); another `SchedulerUnavailable` (it stays PLANNED until it is found by its name, or is
        not); `StoreError`, and `OSError` where its folder cannot be made.
        """
        shape = self._shapes[order.shape]
        pilot_id, token = str(uuid_utils.uuid7()), secrets.token_urlsafe(32)
        record = PilotRecord(
            pilot_id=pilot_id,
            # the end of a UUIDv7 is random, its beginning is the time
            name=self.mark + pilot_id.replace("-", "")[-12:],
            shape=shape.name,
            partition=shape.partition,
            resources=shape.resources,
            walltime_s=order.walltime.total_seconds(),
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
            state=PilotState.PLANNED,
            planned_at=now,
        )
        path = self._folders.make(pilot_id, self._orders(record, token, snapshot))
        self._store.add_pilot(record)
        try:
            batch_job_id = self._adapter.submit(self._batch_order(record, shape, order, str(path)))
        except (SubmissionRejected, SubmissionUnsent, SchedulerAbsent) as error:
            self._store.move_pilot(PilotMoved(pilot_id=pilot_id, event=PilotEvent.REJECTED, at=now, reason=str(error)))
            raise
        return self._store.move_pilot(
            PilotMoved(pilot_id=pilot_id, event=PilotEvent.SUBMITTED, at=now, batch_job_id=batch_job_id)
        )

    def _orders(self, record: PilotRecord, token: str, snapshot: ClusterSnapshot) -> bytes:
        partition = snapshot.partition(record.partition)
        orders = self.settings.orders[record.shape]
        return pilot_file.encode(
            pilot_file.PilotFile(
                pilot_id=record.pilot_id,
                token=token,
                gateways=self.settings.gateways,
                tls_ca=self.settings.tls_ca,
                capacity=record.resources,
                walltime_s=record.walltime_s,
                grace_s=partition.grace_time.total_seconds() if partition is not None else 0.0,
                finish_s=orders.finish_s,
                handover_s=orders.handover_s,
                checkpoint_interval_s=orders.checkpoint_interval_s,
                leave_before_s=orders.leave_before_s,
                warm_slots=orders.warm_slots,
                linger_s=self.settings.linger.total_seconds(),
                orphan_after_s=None if self.settings.orphan is None else self.settings.orphan.total_seconds(),
                result_limit_bytes=self.settings.result_limit_bytes,
            )
        )

    def _batch_order(self, record: PilotRecord, shape: Shape, order: SubmitPilot, path: str) -> PilotOrder:
        interpreter = self.settings.orders[shape.name].interpreter
        return PilotOrder(
            pilot_id=record.pilot_id,
            name=record.name,
            partition=shape.partition,
            resources=shape.resources,
            walltime=order.walltime,
            command=(interpreter, "-m", "harvester_worker", "--pilot-file", path),
            output=self._folders.output(record.pilot_id),
            nice=self.settings.nice + order.nice,
            account=self.settings.account,
            qos=self.settings.qos,
            time_min=order.time_min,
            exclude=order.exclude,
            node=order.nodes[0] if order.nodes and order.end_by is not None else "",
            end_by=order.end_by,
        )
