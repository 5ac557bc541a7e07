"""The probe: a small batch job that looks at a compute node, from its submission until nothing is left of it.

What it looks at there is `harvester_worker.probe`; what its report means is `harvester.domain.fitness.probe_findings`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.domain.cluster.ports import (
    PilotOrder,
    SchedulerAdapter,
    SchedulerUnavailable,
    SubmissionRejected,
    SubmissionUnsent,
    knowledge_of,
)
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.fitness.probe_findings import (
    ProbeAnswered,
    ProbeOutcome,
    ProbeRefused,
    ProbeSilent,
    ProbeWaits,
)
from harvester.domain.model.resources import Resources
from harvester.domain.payload.decoding import UNREADABLE
from harvester.domain.protocol import site_probe
from harvester.domain.protocol.site_probe import ProbeOrders, ProbeReport

_TURN_S = 0.2
_ASK_S = 3.0  # between two questions to the scheduler
_SETTLE_S = 5.0  # after its end, for its files to be seen here: nodes and this host may cache a shared folder
_WALLTIME = timedelta(minutes=2)
_ENDS = "cancel it, or it ends at once when it is started, because its orders are gone"
_TAIL = 16_384

Say = Callable[[str], None]


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a probe is submitted: as pilots are, only smaller."""

    partition: str
    interpreter: str
    gateways: tuple[str, ...]
    tls_ca: str
    state: Path
    nonce: str
    account: str = ""
    qos: str = ""
    nice: int = 0
    wait_s: float


def run_probe(settings: ProbeSettings, adapter: SchedulerAdapter, say: Say) -> ProbeOutcome:
    """Submit a probe, wait for its report, and leave nothing behind. Raises `OSError` for the state folder."""
    was_there = settings.state.is_dir()
    folder = settings.state / f"check.{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True)
    if not was_there:
        settings.state.chmod(0o700)
    try:
        return _Attempt(settings, adapter, folder, say).outcome()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there and not any(settings.state.iterdir()):
            settings.state.rmdir()


class _Attempt:
    """One probe in its folder."""

    def __init__(self, settings: ProbeSettings, adapter: SchedulerAdapter, folder: Path, say: Say) -> None:
        self._settings = settings
        self._adapter = adapter
        self._folder = folder
        self._say = say
        self._name = f"hv-{folder.name.replace('.', '-')}"
        self._told = ""

    def outcome(self) -> ProbeOutcome:
        """Return what came of it."""
        self._write_orders()
        try:
            batch_job_id = self._adapter.submit(self._order())
        except SubmissionRejected as error:
            return ProbeRefused(why=str(error))
        except SchedulerUnavailable as error:
            if not isinstance(error, SubmissionUnsent):
                self._cancel_by_name()
            return ProbeRefused(why=str(error), is_answer=False)
        except KeyboardInterrupt:  # it may have got through
            self._cancel_by_name()
            raise
        try:
            self._tell(f"the probe is batch job {batch_job_id} in {self._settings.partition}")
            return self._awaited(batch_job_id)
        finally:
            self._cancel(batch_job_id)

    def _write_orders(self) -> None:
        path = self._folder / "orders.json"
        path.touch(mode=0o600)
        orders = ProbeOrders(
            nonce=self._settings.nonce,
            gateways=self._settings.gateways,
            tls_ca=self._settings.tls_ca,
            report=str(self._folder / "report.json"),
        )
        path.write_bytes(msgspec.json.encode(orders))

    def _order(self) -> PilotOrder:
        settings = self._settings
        orders = str(self._folder / "orders.json")
        return PilotOrder(
            pilot_id=self._name,
            name=self._name,
            partition=settings.partition,
            resources=Resources(cpus=1),
            walltime=_WALLTIME,
            command=(settings.interpreter, "-m", "harvester_worker.probe", orders),
            output=self._folder / "output.txt",
            nice=settings.nice,
            account=settings.account,
            qos=settings.qos,
        )

    def _awaited(self, batch_job_id: str) -> ProbeOutcome:
        begun = asked_at = time.monotonic()
        has_started = False
        while (waited_s := time.monotonic() - begun) < self._settings.wait_s:
            if (report := self._report()) is not None:
                return ProbeAnswered(report=report, waited_s=waited_s)
            if time.monotonic() - asked_at >= _ASK_S:
                batch = self._state(batch_job_id)
                asked_at = time.monotonic()
                if batch is not None and (batch.state.is_ended or batch.state is BatchState.COMPLETING):
                    return self._ended(batch, waited_s)
                if batch is not None:
                    has_started = has_started or batch.state is BatchState.RUNNING
                    waits_for = f": {batch.reason}" if batch.reason and batch.state is BatchState.PENDING else ""
                    self._tell(f"the probe is {batch.state}{waits_for}")
            time.sleep(_TURN_S)
        if has_started:
            return ProbeSilent(reason="", output=self._output(), has_ended=False)
        return ProbeWaits(reason=self._waits_for(batch_job_id), waited_s=waited_s)

    def _ended(self, batch: BatchJob, waited_s: float) -> ProbeOutcome:
        """Return what an ended probe left; its report may be seen here a little later."""
        give_up_at = time.monotonic() + _SETTLE_S
        while time.monotonic() < give_up_at:
            if (report := self._report()) is not None:
                return ProbeAnswered(report=report, waited_s=waited_s)
            if self._output():
                break
            time.sleep(_TURN_S)
        reason = f"the probe's batch job ended ({batch.reason or batch.state})"
        return ProbeSilent(reason=reason, output=self._output())

    def _report(self) -> ProbeReport | None:
        os.listdir(self._folder)  # noqa: PTH208 - a folder on NFS shows what others have made only when it is read anew
        try:
            report = site_probe.report((self._folder / "report.json").read_bytes())
        except (OSError, *UNREADABLE):
            return None
        return report if report.nonce == self._settings.nonce else None

    def _output(self) -> str | None:
        try:
            return (self._folder / "output.txt").read_bytes()[-_TAIL:].decode(errors="replace")
        except OSError:
            return None

    def _state(self, batch_job_id: str) -> BatchJob | None:
        """Return its batch job; None while the scheduler does not tell of it."""
        try:
            for batch in self._adapter.glance():
                if batch.batch_job_id == batch_job_id:
                    return batch
            return next(iter(self._adapter.ended((batch_job_id,))), None)
        except SchedulerUnavailable as error:
            self._tell(f"the scheduler does not answer: {error}")
            return None

    def _waits_for(self, batch_job_id: str) -> str:
        try:
            jobs = self._adapter.snapshot().batch_jobs
        except SchedulerUnavailable as error:
            return str(error)
        return next((batch.reason for batch in jobs if batch.batch_job_id == batch_job_id), "")

    def _cancel(self, batch_job_id: str) -> None:
        try:
            self._adapter.cancel(batch_job_id)
        except SchedulerUnavailable as error:
            self._say(f"batch job {batch_job_id} could not be cancelled ({error}); {_ENDS}")

    def _cancel_by_name(self) -> None:
        """Cancel it where its submission was not answered but happened."""
        try:
            found = [batch.batch_job_id for batch in self._adapter.glance() if batch.name == self._name]
            if found:
                self._adapter.cancel(*found)
            elif not knowledge_of(self._adapter).names:
                self._say(f"a batch job called {self._name} may exist, which cannot be seen; {_ENDS}")
        except SchedulerUnavailable as error:
            self._say(f"a batch job called {self._name} may exist ({error}); {_ENDS}")

    def _tell(self, words: str) -> None:
        if words != self._told:
            self._say(words)
            self._told = words
