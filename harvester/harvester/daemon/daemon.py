"""The daemon's tick: listen, look if there is a cause, reconcile, plan, perform.

One thread runs it, so that nothing here is locked, and a PLANNED pilot at the start of a look is one whose submission
was never answered. What it remembers from tick to tick (sightings, back-offs) may be lost: a restart costs time only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from harvester.daemon.failures import failed
from harvester.daemon.instants import ByOurClock, Jumps
from harvester.daemon.notes import cluster_note
from harvester.daemon.observing.harm import Harm
from harvester.daemon.observing.looking import Looking
from harvester.daemon.observing.senses import EVERY_S, Senses
from harvester.daemon.pilots.evictions import Evictions
from harvester.daemon.pilots.folders import PilotFolders
from harvester.daemon.pilots.hands import PilotJobs
from harvester.daemon.pilots.launcher import Launcher
from harvester.daemon.pilots.pauses import Pauses
from harvester.daemon.pilots.reconciling import Reconciling
from harvester.daemon.schedule import DaemonSchedule
from harvester.daemon.settings import DaemonSettings
from harvester.daemon.situations import Situations
from harvester.domain.cluster.ports import SchedulerAdapter
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.cluster.survival import GapFigures, figures
from harvester.domain.cluster.windows import WindowGroup, grouped
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import CancelPilot, Policy, SubmitPilot
from harvester.domain.harvest.policies import by_name
from harvester.domain.model.pilots import PilotState
from harvester.domain.protocol import control, daemon_notes
from harvester.domain.protocol.daemon_notes import DaemonNote
from harvester.domain.steady import Clock, Steady
from harvester.domain.supervision.looks import Cause, Facts, LookKind
from harvester.store.store import Store, StoreError

log = logging.getLogger(__name__)

_PRUNE_EVERY = timedelta(minutes=10)
_SETTLE_S = 8.0  # after a submission it is looked what became of it


class Daemon:
    """Keeps the pilots that the policy wants.

    Parameters
    ----------
    clock: returns Unix seconds, the same as the gateway's where both are in one process.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        store: Store,
        adapter: SchedulerAdapter,
        *,
        clock: Clock | None = None,
        policy: Policy | None = None,
    ) -> None:
        clock = clock or Steady()
        self._jumps = Jumps(clock)
        if isinstance(clock, Steady):
            adapter = ByOurClock(adapter, clock)
        self._settings = settings
        self._store = store
        self._clock = clock
        self._policy: Policy = policy or by_name(settings.policy)
        self._folders = PilotFolders(settings.state_dir)
        self._launcher = Launcher(settings, store, adapter, self._folders)
        self._pauses = Pauses(is_off=settings.paused)
        self._harm = Harm(settings.harvest, store)
        self._situations = Situations(settings.harvest, store, self._pauses, self._harm, mark=self._launcher.mark)
        self._looking = Looking(settings.looks, adapter, clock)
        self._hands = PilotJobs(
            store, adapter, self._launcher, self._pauses,
            clock=clock, problem=self._problem, unanswered=self._looking.unanswered,
        )  # fmt: skip
        self._evictions = Evictions(store, self._hands)
        self._senses = Senses(store, self._folders)
        self._reconciling = Reconciling(
            store, self._folders, self._pauses, self._hands,
            mark=self._launcher.mark, clock=clock, told=self._tell,
        )  # fmt: skip
        self._said = control.Control()
        self._noted_at = 0.0
        self._errors: list[str] = []
        self._notes: tuple[str, ...] = ()
        self._cause = ""
        self._mode = settings.harvest.mode
        self._departs_at: float | None = None
        self._contended = False  # a prime job is about to have nodes that pilots leave or keep off
        self._windows: tuple[WindowGroup, ...] = ()
        self._gaps: GapFigures | None = None
        self._schedule: DaemonSchedule | None = None

    # ---- its thread

    def start(self) -> None:
        """Tick in a thread, at once and then at the interval of the settings."""
        self._schedule = DaemonSchedule()
        self._schedule.every(self._settings.tick, self.tick)
        self._schedule.every(_PRUNE_EVERY, self.prune)
        self._schedule.start()

    def stop(self) -> None:
        """Finish the tick that runs, and tick no more. Pilots stay as they are."""
        if self._schedule is not None:
            self._schedule.stop()
            self._schedule = None

    def resume(self) -> None:
        """End every pause but the config's, from any thread; the next tick submits again. Raises `StoreError`."""
        said = control.decode(self._store.note(control.CONTROL_NOTE))
        self._store.put_note(control.CONTROL_NOTE, control.encode(control.resume(said, self._clock())))

    def send_home(self, patience: timedelta, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Take every pilot out of the queue or ask it to leave; wait until they have handed over, `patience` at most.

        Call it after `stop`, while the gateway still serves; once `is_hurried`, it does not wait. Raises `StoreError`.
        """
        records = self._store.pilots()
        leaving = {PilotState.READY, PilotState.DRAINING}  # their goodbye will tell their end
        self._hands.cancel([record.batch_job_id for record in records if record.state in leaving])
        self._hands.dismiss(
            [
                (CancelPilot(pilot_id=record.pilot_id, why="the harvester ended"), record.batch_job_id)
                for record in records
                if record.state not in leaving
            ]
        )
        give_up_at = time.monotonic() + patience.total_seconds()
        look_at = time.monotonic() + 2.0
        while not is_hurried() and time.monotonic() < give_up_at and self._store.pilots():
            time.sleep(0.2)
            if time.monotonic() < look_at or not self._looking.allows(self._clock()):
                continue
            # A pilot that the gateway could not hear says no goodbye; the scheduler tells its end.
            look_at = time.monotonic() + 2.0
            self._hands.cancel_again()
            facts = self._facts(self._clock())
            pilots = self._senses.before_look()
            snapshot = self._looking.full(pilots, facts)
            if snapshot is not None:
                self._reconciling.look(snapshot, pilots)

    def tick(self) -> None:
        """Listen, and look if there is a cause. Never raises: what went wrong is logged and noted."""
        started = self._clock()
        self._jumps.look()
        try:
            has_looked = self._turn(started)
        except StoreError as error:
            has_looked = False
            self._problem("the store failed", error)
        except Exception as error:  # noqa: BLE001 - outermost loop: the next tick may succeed
            has_looked = True
            self._tell(failed("the tick", error))
        if has_looked or abs(started - self._noted_at) >= EVERY_S:
            self._leave_note(started)

    def prune(self) -> None:
        """Remove the folders of pilots that ended long ago. Never raises."""
        try:
            live = {record.pilot_id for record in self._store.pilots()}
            self._folders.prune(live, self._settings.keep_folders, self._clock())
        except (OSError, StoreError) as error:
            self._problem("old pilot folders could not be removed", error)

    def _turn(self, now: float) -> bool:
        """Return whether it has looked."""
        self._said = control.decode(self._store.note(control.CONTROL_NOTE))
        self._pauses.hear(self._said)
        self._listen(now)
        if self._hands.unsent and abs(now - self._noted_at) >= EVERY_S:
            self._hands.cancel_again()
        facts = self._facts(now)
        look = self._looking.due(facts, now)
        if self._looking.trouble:
            self._errors = [self._looking.trouble]
        if look is None:
            return False
        cause = look.cause
        if look.kind is LookKind.GLANCE:
            if not self._looking.glance({pilot.name for pilot in self._senses.pilots}):
                if not self._looking.trouble:
                    self._harm.glanced(now)
                return False
            cause = Cause.CONTENTION
        self._look(cause, facts)
        return True

    # ---- listen: what is known without asking the scheduler

    def _listen(self, now: float) -> None:
        """Hear what pilots have said to the gateway that cannot wait."""
        broken = self._evictions.listen(now)
        if not broken:
            return
        pilots = [pilot for pilot in self._store.pilots() if pilot.pilot_id in broken and pilot.batch_job_id]
        ended = self._looking.ended(pilot.batch_job_id for pilot in pilots) if pilots else ()
        if ended and self._situations.snapshot is not None:
            self._reconciling.ended(self._situations.snapshot, ended, pilots)

    def _facts(self, now: float) -> Facts:
        """Return what is known without asking the scheduler."""
        eviction_at = self._evictions.look_at(self._looking.looked_at)
        facts = self._senses.facts(now)
        # Pilots that were told to leave and have not heard of it are still in somebody's way.
        pilots = facts.pilots + self._hands.unsent
        return msgspec.structs.replace(facts, pilots=pilots, said_at=self._said.said_at, eviction_at=eviction_at)

    def _look(self, cause: Cause, facts: Facts) -> None:
        pilots = self._senses.before_look()
        snapshot = self._looking.full(pilots, facts)
        self._errors = [self._looking.trouble] if self._looking.trouble else []
        if snapshot is None:
            return
        self._cause = cause.value
        self._reconciling.look(snapshot, pilots)
        settles_at = self._clock() + _SETTLE_S if self._plan(snapshot) else None
        now, ours = self._clock(), {pilot.name for pilot in self._senses.pilots}
        due = (self._departs_at, settles_at, self._looking.again_at(now, self._contended))
        self._looking.expect(snapshot, ours=ours, due=due)
        self._store.put_note(
            daemon_notes.CLUSTER_NOTE, daemon_notes.encode(cluster_note(snapshot, self._launcher.mark))
        )

    def _plan(self, snapshot: ClusterSnapshot) -> bool:
        """Perform the plan; return whether a pilot was submitted."""
        now = self._clock()
        situation = self._situations.after(snapshot, now, self._said)
        self._senses.pilots = situation.pilots
        self._windows = grouped(situation.windows)
        self._gaps = None if situation.survival is None else figures(situation.survival)
        keeps_off = self._evictions.looked(situation)
        plan = decide(self._policy, situation, paused=self._pauses.off_reason or keeps_off)
        if plan.failure is not None:
            self._tell(failed(f'the policy "{self._settings.policy}"', plan.failure))
        self._notes, self._departs_at, self._mode = plan.notes, situation.departs_at(), situation.settings.mode
        cancels = [effect for effect in plan.effects if isinstance(effect, CancelPilot)]
        leaving = {cancel.pilot_id for cancel in cancels}
        self._contended = bool(plan.held or leaving)
        self._evictions.settle(situation, plan.held, leaving)  # first: who leaves must leave to nobody who waits
        batch_job_ids = {pilot.pilot_id: pilot.batch_job_id for pilot in situation.pilots}
        self._hands.dismiss([(cancel, batch_job_ids[cancel.pilot_id]) for cancel in cancels])
        return self._submit([effect for effect in plan.effects if isinstance(effect, SubmitPilot)], snapshot)

    def _submit(self, orders: Sequence[SubmitPilot], snapshot: ClusterSnapshot) -> bool:
        """Submit what the controller's budget and the pauses allow; return whether a pilot was submitted."""
        has_submitted = False
        for order in orders:
            now = self._clock()
            is_open = self._looking.allows(now) and order.shape not in self._pauses.closed(now)
            if is_open and (record := self._hands.submit(order, snapshot)) is not None:
                has_submitted = True
                self._situations.planned(record.pilot_id, order)
        return has_submitted

    def _problem(self, what: str, error: Exception) -> None:
        log.warning("daemon.problem: %s: %s", what, error)
        self._tell(f"{what}: {error}")

    def _tell(self, words: str) -> None:
        if words not in self._errors:  # it may happen at every tick until the next look
            self._errors.append(words)

    def _leave_note(self, started: float) -> None:
        self._noted_at = started
        note = DaemonNote(
            last_tick_at=started,
            tick_s=self._settings.tick.total_seconds(),
            took_s=self._clock() - started,
            paused=bool(self._pauses.reason),
            reason=self._pauses.reason,
            errors=(*self._jumps.words, *self._errors, *self._senses.trouble),
            said_at=self._said.said_at,
            notes=(*filter(None, (self._harm.reason,)), *self._notes, *self._pauses.doubts(started)),
            mode=self._mode,
            delayed=self._harm.delayed,
            worst_delay_s=self._harm.worst_s,
            windows=self._windows,
            gaps=self._gaps,
            looked_at=self._looking.looked_at,
            look_cause=self._cause,
            alive_at=self._looking.alive_at(started),
            commands_per_minute=self._looking.per_minute(self._clock()),
            knowledge=self._situations.knowledge,
        )
        try:
            self._store.put_note(daemon_notes.DAEMON_NOTE, daemon_notes.encode(note))
        except StoreError as error:
            log.warning("daemon.note: not stored: %s", error)
