"""The daemon's tick: observe, reconcile, plan, perform.

One thread runs it, so that nothing here is locked, and a PLANNED pilot at the start of a tick is one whose submission
was never answered. What it remembers from tick to tick (sightings, back-offs) may be lost: a restart costs time only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from apscheduler.schedulers.background import BackgroundScheduler

from harvester.daemon import views
from harvester.daemon.folders import PilotFolders
from harvester.daemon.launcher import Launcher
from harvester.daemon.notes import CLUSTER_NOTE, DAEMON_NOTE, DaemonNote, cluster_note
from harvester.daemon.pauses import Pauses
from harvester.daemon.settings import DaemonSettings
from harvester.daemon.situations import Situations
from harvester.domain import control
from harvester.domain.backoff import ANSWERS, CLEAR
from harvester.domain.cluster import ClusterSnapshot
from harvester.domain.pilots import PilotEvent, PilotState
from harvester.domain.planner import decide
from harvester.domain.planning import CancelPilot, Policy, SubmitPilot
from harvester.domain.policies import by_name
from harvester.domain.ports import SchedulerAdapter, SchedulerUnavailable, SubmissionRejected
from harvester.domain.reconcile import CancelOrphan, Memory, Move, reconcile
from harvester.domain.survival import GapFigures, figures
from harvester.domain.windows import WindowGroup, grouped
from harvester.store.store import Store, StoreError
from harvester.store.writes import PilotMoved

log = logging.getLogger(__name__)

_PRUNE_EVERY = timedelta(minutes=10)


class Daemon:
    """Keeps the pilots that the policy wants.

    Parameters
    ----------
    clock: returns Unix seconds.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        store: Store,
        adapter: SchedulerAdapter,
        *,
        clock: Callable[[], float] = time.time,
        policy: Policy | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._adapter = adapter
        self._clock = clock
        self._policy: Policy = policy or by_name(settings.policy)
        self._folders = PilotFolders(settings.state_dir)
        self._launcher = Launcher(settings, store, adapter, self._folders)
        self._pauses = Pauses(is_off=settings.paused)
        self._situations = Situations(settings.harvest, store, self._pauses)
        self._memory = Memory()
        self._answers = CLEAR
        self._errors: list[str] = []
        self._notes: tuple[str, ...] = ()
        self._windows: tuple[WindowGroup, ...] = ()
        self._gaps: GapFigures | None = None
        self._pruned_at = 0.0
        self._scheduler: BackgroundScheduler | None = None

    # ---- its thread

    def start(self) -> None:
        """Tick in a thread, at once and then at the interval of the settings."""
        seconds = self._settings.tick.total_seconds()
        scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        )
        # A missed tick is normal (a look may take longer than the interval), so its warning would only be noise.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        # The jitter keeps many harvesters of one site from asking the controller in the same moment.
        scheduler.add_job(self.tick, "interval", seconds=seconds, jitter=seconds / 10, next_run_time=datetime.now(UTC))
        scheduler.start()
        self._scheduler = scheduler

    def stop(self) -> None:
        """Finish the tick that runs, and tick no more. Pilots stay as they are."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None

    def resume(self) -> None:
        """End every pause but the config's, from any thread; the next tick submits again. Raises `StoreError`."""
        self._store.put_note(control.CONTROL_NOTE, control.encode(control.Control(at=self._clock())))

    def send_home(self, patience: timedelta) -> None:
        """Take every pilot out of the queue or ask it to leave; wait until they have handed over, `patience` at most.

        Call it after `stop`, while the gateway still serves. Raises `StoreError`.
        """
        for record in self._store.pilots():
            if record.state in {PilotState.READY, PilotState.DRAINING}:
                self._ask_scheduler_to_cancel(record.name, record.batch_job_id)  # its goodbye will tell its end
            else:
                cancel = CancelPilot(pilot_id=record.pilot_id, why="the harvester ended")
                self._dismiss(cancel, record.name, record.batch_job_id)
        give_up_at = time.monotonic() + patience.total_seconds()
        while self._store.pilots() and time.monotonic() < give_up_at:
            time.sleep(0.2)
            # A pilot that the gateway could not hear says no goodbye; the scheduler tells its end.
            snapshot = self._observe(self._clock())
            if snapshot is not None:
                self._reconcile(snapshot)

    def tick(self) -> None:
        """Look once and do what follows. Never raises: what went wrong is logged and noted."""
        started = self._clock()
        self._errors = []
        try:
            self._turn(started)
        except StoreError as error:
            self._problem("the store failed", error)
        except Exception as error:  # outermost loop: the next tick may succeed
            log.exception("daemon.tick failed; the next one tries again")
            self._errors.append(f"the tick failed ({type(error).__name__}: {error}); see the log")
        self._leave_note(started)

    def _turn(self, now: float) -> None:
        self._pauses.hear(control.decode(self._store.note(control.CONTROL_NOTE)))
        snapshot = self._observe(now)
        if snapshot is None:
            return
        self._reconcile(snapshot)
        self._plan(snapshot)
        self._store.put_note(CLUSTER_NOTE, msgspec.json.encode(cluster_note(snapshot, self._launcher.mark)))
        self._prune(now)

    # ---- observe

    def _observe(self, now: float) -> ClusterSnapshot | None:
        """Look at the cluster; None while it is left alone, and where it does not answer: that proves nothing."""
        if not self._answers.allows(now):
            self._errors.append(self._answers.reason)
            return None
        try:
            snapshot = self._adapter.snapshot()
        except SchedulerUnavailable as error:
            self._unanswered(error, self._clock())  # not `now`: the look may have lasted for its whole timeout
            return None
        if self._answers.failures:
            log.warning("daemon.observe: the scheduler answers again after %d failures", self._answers.failures)
        self._answers = CLEAR
        return snapshot

    def _unanswered(self, error: SchedulerUnavailable, now: float) -> None:
        self._answers = self._answers.failed(ANSWERS, f"the scheduler does not answer: {error}", now)
        self._problem("the scheduler does not answer", error)

    # ---- reconcile

    def _reconcile(self, snapshot: ClusterSnapshot) -> None:
        records = {record.pilot_id: record for record in self._store.pilots()}
        self._pauses.see(records.values())
        pilots = [views.known(record) for record in records.values()]
        outcome = reconcile(snapshot, pilots, self._memory, mark=self._launcher.mark, now=self._clock())
        self._memory = outcome.memory
        for effect in outcome.effects:
            if isinstance(effect, Move):
                self._move(effect)
            else:
                self._cancel_orphan(effect)

    def _move(self, move: Move) -> None:
        reason = move.reason
        if move.event is PilotEvent.FAILED or (reason and move.event is PilotEvent.FINISHED):
            line = self._folders.last_line(move.pilot_id)
            reason += f"; its output ends with: {line}" if line else ""
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
            self._errors.append(f"pilot {record.name} failed before it called: {record.reason}")
            self._pauses.failed(record.shape, record.reason, planned_at=record.planned_at, now=now, node=record.node)
        elif record.state is PilotState.FAILED:
            self._pauses.blame(record.node, record.reason, now)

    def _cancel_orphan(self, orphan: CancelOrphan) -> None:
        log.warning("daemon.reconcile cancels batch job %s: %s", orphan.batch_job_id, orphan.reason)
        try:
            self._adapter.cancel(orphan.batch_job_id)
        except SchedulerUnavailable as error:
            self._problem(f"batch job {orphan.batch_job_id} could not be cancelled", error)

    # ---- plan and perform

    def _plan(self, snapshot: ClusterSnapshot) -> None:
        now = self._clock()
        situation = self._situations.after(snapshot, now)
        self._windows = grouped(situation.windows or ())
        self._gaps = None if situation.survival is None else figures(situation.survival)
        plan = decide(self._policy, situation, paused=self._pauses.off_reason)
        self._notes = plan.notes
        names = {pilot.pilot_id: (pilot.name, pilot.batch_job_id) for pilot in situation.pilots}
        for effect in plan.effects:
            if isinstance(effect, CancelPilot):
                self._dismiss(effect, *names[effect.pilot_id])
            elif self._answers.allows(now) and effect.shape not in self._pauses.closed(now):
                self._submit(effect, snapshot)

    def _submit(self, order: SubmitPilot, snapshot: ClusterSnapshot) -> None:
        now = self._clock()
        try:
            record = self._launcher.launch(order, snapshot, now)
        except SubmissionRejected as error:
            self._pauses.failed(order.shape, f"the scheduler refused it: {error}", planned_at=now, now=now)
            self._problem(f"a pilot of shape {order.shape} was refused", error)
        except SchedulerUnavailable as error:
            self._unanswered(error, now)
        except OSError as error:
            self._pauses.failed(order.shape, f"its folder could not be made: {error}", planned_at=now, now=now)
            self._problem(f"the folder of a pilot of shape {order.shape} could not be made", error)
        else:
            self._situations.planned(record.pilot_id, order.end_by)
            minutes = record.walltime_s / 60
            log.info(
                "daemon.submit pilot=%s batch_job=%s length=%g min why=%s",
                record.name, record.batch_job_id, minutes, order.why,
            )  # fmt: skip

    def _dismiss(self, cancel: CancelPilot, name: str, batch_job_id: str) -> None:
        """Cancel a pilot, in the store first: a cancellation that does not get through is repeated as an orphan's."""
        log.info("daemon.cancel pilot=%s why=%s", name, cancel.why)
        self._store.move_pilot(
            PilotMoved(pilot_id=cancel.pilot_id, event=PilotEvent.CANCELLED, at=self._clock(), reason=cancel.why)
        )
        self._ask_scheduler_to_cancel(name, batch_job_id)

    def _ask_scheduler_to_cancel(self, name: str, batch_job_id: str) -> None:
        if not batch_job_id:
            return  # its submission was never answered: if it exists it is an orphan now
        try:
            self._adapter.cancel(batch_job_id)
        except SchedulerUnavailable as error:
            self._problem(f"pilot {name} could not be cancelled; it is tried again", error)

    # ---- after it

    def _problem(self, what: str, error: Exception) -> None:
        log.warning("daemon: %s: %s", what, error)
        self._errors.append(f"{what}: {error}")

    def _prune(self, now: float) -> None:
        if now - self._pruned_at < _PRUNE_EVERY.total_seconds():
            return
        self._pruned_at = now
        live = {record.pilot_id for record in self._store.pilots()}
        try:
            self._folders.prune(live, self._settings.keep_folders, now)
        except OSError as error:
            self._problem("old pilot folders could not be removed", error)

    def _leave_note(self, started: float) -> None:
        reason = self._pauses.reason
        note = DaemonNote(
            last_tick_at=started,
            tick_s=self._settings.tick.total_seconds(),
            took_s=self._clock() - started,
            paused=bool(reason),
            reason=reason,
            errors=tuple(self._errors),
            notes=self._notes,
            windows=self._windows,
            gaps=self._gaps,
        )
        try:
            self._store.put_note(DAEMON_NOTE, msgspec.json.encode(note))
        except StoreError as error:
            log.warning("daemon.note was not kept: %s", error)
