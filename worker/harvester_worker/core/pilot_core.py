"""The pilot's core: what a pilot decides. Stimulus and `now` in, effects out.

Owns the one list of effects, the conversation with the gateway, and when the pilot leaves. The modules beneath add
effects to the list, in the order in which they are to be performed; what is done with activations is decided by
`activation_rules`. It reads no clock and must not know sockets or processes. All instants are seconds on the one clock
that the caller uses throughout, a monotonic one in a pilot.
"""

from collections.abc import Iterable
from math import inf
from typing import assert_never

import msgspec

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester.domain.protocol.pilot_file import PilotFile
from harvester_worker.core.activation_rules import ActivationRules
from harvester_worker.core.activations import Death
from harvester_worker.core.blob_directory import BlobDirectory
from harvester_worker.core.effects import Effect, KeepKey, Key, Leave, Reconnect
from harvester_worker.core.leases import Leases
from harvester_worker.core.nesting import WaitingRuns
from harvester_worker.core.reporter import Reporter
from harvester_worker.core.settling import Settling
from harvester_worker.devices.allocation import PilotLocation
from harvester_worker.ipc.slot_messages import Progress, RunEnded
from harvester_worker.timing import drain
from harvester_worker.timing.daemon_silence import DaemonWord
from harvester_worker.timing.heartbeat import Heartbeats

PATIENCE_S = 600.0
"""A pilot that has no gateway and no work for this long leaves."""


class PilotCore:
    """One pilot's state.

    Parameters
    ----------
    pilot: its orders.
    host: how it introduces itself.
    gpus: ids of the devices that it may give to activations; their number is the capacity in GPUs.
    now, end_at: the present and the end of the allocation.
    """

    def __init__(
        self, pilot: PilotFile, host: PilotLocation, gpus: tuple[str, ...], *, now: float, end_at: float
    ) -> None:
        self.pilot = pilot
        self.host = host
        self.drain: drain.DrainPlan | None = None
        self._end_at = end_at
        self._walltime_drain_at = end_at - pilot.leave_before_s
        self._leases = Leases(msgspec.structs.replace(pilot.capacity, gpus=len(gpus)), gpus)
        self._functions: dict[str, FunctionVersion] = {}
        self._effects: list[Effect] = []  # of the present stimulus, in order
        self._reporter = Reporter(self._effects)
        self._settling = Settling(self._reporter, self._leases.pace)
        self._rules = ActivationRules(self._leases, self._reporter, self._settling, self._effects)
        self._nesting = WaitingRuns(self._leases, self._reporter, self._effects)
        self._sharing = BlobDirectory()
        self._heartbeats = Heartbeats()
        self._daemon = DaemonWord(pilot.orphan_after_s, now)
        self._unlinked_at = now
        self._idle_at: float | None = None  # since when a draining pilot holds nothing
        self._has_left = False

    # ---- the gateway -------------------------------------------------------------------------------------------------

    def hello(self, now: float) -> wire.Hello:
        """Return the introduction for a new connection."""
        return wire.Hello(
            protocol=wire.PROTOCOL_VERSION,
            pilot_id=self.pilot.pilot_id,
            python=self.host.python,
            node=self.host.node,
            batch_job_id=self.host.batch_job_id,
            capacity=self._leases.capacity,
            time_left_s=self._time_left_s(now),
            held=tuple(self._leases.held() + self._settling.held() + self._reporter.held()),
            drain=self.drain.reason if self.drain else None,
        )

    def unlinked(self, now: float) -> list[Effect]:
        """Record that the connection is gone; running work continues."""
        if self._reporter.is_linked:
            self._reporter.unlink()
            self._unlinked_at = now
            self._functions.clear()  # on a new connection the gateway sends again what it needs
            self._heartbeats.end()
        return self._settle(now)

    def received(self, messages: Iterable[wire.ToPilot], now: float) -> list[Effect]:  # noqa: C901 - one line a message
        """Take the messages of one frame of the gateway, in order."""
        self._heartbeats.heard(now)
        for message in messages:
            match message:
                case wire.Lease():
                    self._rules.take(message, self._functions.get(message.function_id), shares=self._sharing.is_on)
                case wire.Ack():
                    self._reporter.acknowledge(message)
                case wire.Heard():
                    self._daemon.heard(message.daemon_age_s, now)
                case wire.Function():
                    self._functions[message.function.function_id] = message.function
                case wire.Forget():
                    self._functions.pop(message.function_id, None)
                case wire.OwnerKey():
                    self._effects.append(KeepKey(owner=message.owner, key=message.key))
                case wire.Cancel():
                    self._rules.cancel((message.invocation_id, message.fence), now)
                case wire.Recall():
                    self._rules.recall((message.invocation_id, message.fence))
                case wire.Drain():
                    self._leave(message.reason, now)
                case wire.Welcome():
                    self._linked(message, now)
                case _:
                    assert_never(message)
        return self._settle(now)

    def _linked(self, welcome: wire.Welcome, now: float) -> None:
        self._reporter.link()
        self._heartbeats.begin(welcome, now)
        for held in welcome.abandon:
            self._rules.abandon((held.invocation_id, held.fence))
        if self.drain:  # it may have begun since `Hello`
            self._reporter.send(wire.Draining(reason=self.drain.reason))
        if self._sharing.is_with(welcome):  # before the results: a gateway takes none by reference without it
            self._reporter.send(wire.SharesBlobs())
        self._reporter.send_again()
        self._nesting.tell_again()
        self._effects += self._sharing.welcomed(welcome)

    def blobs_seen(self, directory: str, mark: str, now: float) -> list[Effect]:
        """Record that this node has the directory of large payloads that it was to look at."""
        if effects := self._sharing.seen(directory, mark):
            self._effects += effects
            self._reporter.send(wire.SharesBlobs())
        return self._settle(now)

    # ---- slots -------------------------------------------------------------------------------------------------------

    def checkpointed(self, key: Key, progress: Progress, now: float) -> list[Effect]:
        """Take a checkpoint from a slot."""
        self._rules.checkpointed(key, progress, now)
        return self._settle(now)

    def counted(self, key: Key, calls: int, now: float) -> list[Effect]:
        """Record how many calls an activation makes whose arguments lie in a file."""
        self._rules.counted(key, calls, now)
        return self._settle(now)

    def waits(self, key: Key, now: float, *, is_over: bool = False) -> list[Effect]:
        """Record that an activation waits for others that it has submitted, or does so no longer."""
        if is_over:
            self._nesting.goes_on(key)
        else:
            self._nesting.waits(key)
        return self._settle(now)

    def ended(self, ends: Iterable[tuple[Key, RunEnded]], now: float) -> list[Effect]:
        """Take the ends of activations from their slot, in order; it is at what was queued behind them, or free."""
        for key, end in ends:
            self._rules.ended(key, end, now)
            if end.is_unshared and self._sharing.is_on:
                self._effects += self._sharing.lost()
                self._rules.drop_unreadable()
        return self._settle(now)

    def taken_back(self, keys: Iterable[Key], now: float) -> list[Effect]:
        """Record what a slot had not begun when it was told to let go of what is queued there."""
        self._rules.taken_back(keys)
        return self._settle(now)

    def slot_died(self, death: Death, now: float) -> list[Effect]:
        """Record that the process of a slot is gone."""
        self._rules.slot_died(death)
        return self._settle(now)

    # ---- leaving -----------------------------------------------------------------------------------------------------

    def leave(self, reason: DrainReason, now: float) -> list[Effect]:
        """Begin to leave, or leave sooner: the scheduler sent a signal, or an admin asked for it."""
        self._leave(reason, now)
        return self._settle(now)

    def _leave(self, reason: DrainReason, now: float) -> None:
        previous = self.drain
        plan = drain.tighten(previous, drain.plan(reason, self.pilot, now=now, end_at=self._end_at))
        if reason is DrainReason.EVICTED and now >= self._walltime_drain_at:
            # So near to the end the scheduler's signal is for the walltime, whatever its number. As urgent anyway.
            plan = msgspec.structs.replace(plan, reason=DrainReason.WALLTIME)
        self.drain = plan
        if previous is None or previous.reason is not plan.reason:
            self._reporter.send(wire.Draining(reason=plan.reason))
        if reason is DrainReason.DISMISSED:
            self._rules.drop_everything()
        if reason in drain.HARSH:
            self._settling.signalled(now)
        self._rules.leave(plan, now)

    def _leave_when_done(self, plan: drain.DrainPlan, now: float) -> None:
        if self._leases.running or self._leases.queued:
            return
        if self._settling.next_at() < inf:
            if now < plan.gone_by:
                return
            self._settling.give_up(now)
        self._idle_at = now if self._idle_at is None else self._idle_at
        if now < plan.stays_until or (self._reporter.outbox and now < self._gone_at(plan)):
            return
        self._reporter.goodbye(plan.reason)
        self._effects.append(Leave(reason=plan.reason))
        self._has_left = True

    def _gone_at(self, plan: drain.DrainPlan) -> float:
        # Without a connection the pilot waits for one as long as it may: what it holds is worth more than a second.
        if self._idle_at is None or not self._reporter.is_linked:
            return plan.gone_by
        return min(plan.gone_by, self._idle_at + drain.acknowledge_s(self._reporter.outbox.size))

    # ---- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        if self._reporter.is_linked and now >= self._heartbeats.due_at:
            if self._heartbeats.beat(now):
                self._reporter.send(wire.Heartbeat(time_left_s=self._time_left_s(now)))
            else:
                self._effects.append(Reconnect())
        if self.drain is None and now >= self._walltime_drain_at:
            self._leave(DrainReason.WALLTIME, now)
        elif self.drain is None and now >= self._daemon.orphaned_at:
            self._leave(DrainReason.ORPHANED, now)
        elif self.drain is None and now >= self._patience_ends_at:
            self._reporter.clear()  # nobody asked for it in all that time
            self._leave(DrainReason.ASKED, now)
        return self._settle(now)

    @property
    def next_at(self) -> float:
        """When `tick` has to be called at the latest."""
        own = self._leaves_at if self.drain is None else self._drain_next_at(self.drain, self._idle_at is not None)
        settled_at = self._settling.next_at()
        return min(own, settled_at, self._heartbeats.due_at, self._leases.next_at(), self._reporter.next_at())

    def _drain_next_at(self, plan: drain.DrainPlan, is_idle: bool) -> float:
        # Once it has nothing left to do it may only be waiting for the time that it stays at least.
        return plan.stays_until if is_idle and not self._reporter.outbox else self._gone_at(plan)

    @property
    def _leaves_at(self) -> float:
        return min(self._walltime_drain_at, self._daemon.orphaned_at, self._patience_ends_at)

    @property
    def _patience_ends_at(self) -> float:
        is_useful = self._reporter.is_linked or self._leases.running or self._settling.next_at() < inf
        return inf if is_useful else self._unlinked_at + PATIENCE_S

    def _time_left_s(self, now: float) -> float:
        return max(0.0, self._walltime_drain_at - now)

    def _settle(self, now: float) -> list[Effect]:
        if self._has_left:
            self._effects.clear()
            return []
        self._rules.look_after(now)
        self._reporter.tell_begun(now)
        self._nesting.lend()
        if self.drain:
            self._leave_when_done(self.drain, now)
        elif self._leases.waiting:
            self._rules.start_what_fits(now, leave_in_s=self._time_left_s(now))
        effects = self._effects.copy()
        self._effects.clear()  # the same list: the others hold it
        return effects
