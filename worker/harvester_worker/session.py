"""The session: what a pilot decides. Stimulus and `now` in, effects out.

Owns what is reported, what is started and stopped, and when the pilot leaves. Reads no clock, knows no socket and no
process. All instants are seconds on the one clock that the caller uses throughout, a monotonic one in a pilot.
"""

from collections.abc import Iterable
from math import inf
from typing import assert_never

import msgspec

from harvester.domain import wire
from harvester.domain.functions import FunctionVersion
from harvester.domain.invocations import ActivationEnd, FailureKind
from harvester.domain.pilot_file import PilotFile
from harvester.domain.pilots import DrainReason
from harvester_worker import drain
from harvester_worker.activations import Activation, ActivationEvent, ActivationState, Verdict
from harvester_worker.allocation import Host
from harvester_worker.effects import Effect, HandOver, Key, KillSlot, Leave, Reconnect, StopSlot
from harvester_worker.holdings import Holdings
from harvester_worker.pulse import Pulse
from harvester_worker.reporter import Reporter
from harvester_worker.slot_wire import Ended

CANCEL_S = 1.0
"""A cancelled function may take this long to unwind before its process is killed."""

PATIENCE_S = 600.0
"""A pilot that has no gateway and no work for this long leaves."""


class Session:
    """One pilot's state.

    Parameters
    ----------
    pilot: its orders.
    host: how it introduces itself.
    gpus: ids of the devices that it may give to activations; their number is the capacity in GPUs.
    now, end_at: the present and the end of the allocation.
    """

    def __init__(self, pilot: PilotFile, host: Host, gpus: tuple[str, ...], *, now: float, end_at: float) -> None:
        self.pilot = pilot
        self.host = host
        self.drain: drain.DrainPlan | None = None
        self._end_at = end_at
        self._walltime_drain_at = end_at - pilot.leave_before_s
        self._holdings = Holdings(msgspec.structs.replace(pilot.capacity, gpus=len(gpus)), gpus)
        self._functions: dict[str, FunctionVersion] = {}
        self._reporter = Reporter()
        self._pulse = Pulse()
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
            capacity=self._holdings.capacity,
            time_left_s=self._time_left_s(now),
            held=tuple(self._holdings.held() + self._reporter.held()),
            drain=self.drain.reason if self.drain else None,
        )

    def unlinked(self, now: float) -> list[Effect]:
        """Take note that the connection is gone; work goes on."""
        if self._reporter.is_linked:
            self._reporter.is_linked, self._unlinked_at = False, now
            self._pulse.end()
        return self._settle(now)

    def received(self, messages: Iterable[wire.ToPilot], now: float) -> list[Effect]:
        """Obey the gateway."""
        self._pulse.heard(now)
        for message in messages:
            match message:
                case wire.Lease():
                    self._lease(message)
                case wire.Heard():
                    pass  # that it came is all
                case wire.Ack():
                    self._reporter.acknowledge(message)
                case wire.Function():
                    self._functions[message.function.function_id] = message.function
                case wire.Cancel():
                    self._cancel((message.invocation_id, message.fence), now)
                case wire.Drain():
                    self._leave(message.reason, now)
                case wire.Welcome():
                    self._linked(message, now)
                case _:
                    assert_never(message)
        return self._settle(now)

    def _linked(self, welcome: wire.Welcome, now: float) -> None:
        self._reporter.is_linked = True
        self._pulse.begin(welcome, now)
        for held in welcome.abandon:
            key = (held.invocation_id, held.fence)
            self._reporter.outbox.forget(key)
            if self._holdings.waiting.pop(key, None) is None and key in self._holdings.running:
                self._kill(self._holdings.running[key])
        if self.drain:  # it may have begun since `Hello`
            self._reporter.send(wire.Draining(reason=self.drain.reason))
        self._reporter.send_again()

    def _lease(self, lease: wire.Lease) -> None:
        key = (lease.invocation_id, lease.fence)
        if key in self._holdings or self._reporter.outbox.has_reported(key):
            return  # a repetition
        function = self._functions.get(lease.function_id)
        if self.drain or function is None or not lease.resources.fits(self._holdings.capacity):
            self._reporter.give_back(key, ActivationEnd.UNSTARTED)
        else:
            self._holdings.add(lease, function)

    def _cancel(self, key: Key, now: float) -> None:
        if self._holdings.waiting.pop(key, None) is not None:
            self._reporter.give_back(key, ActivationEnd.CANCELLED)
            return
        activation = self._holdings.running.get(key)
        if activation is None or activation.state is ActivationState.STOPPING:
            return
        activation.advance(ActivationEvent.CANCELLED)
        activation.limit(now + CANCEL_S, Verdict.CANCELLED)
        activation.verdict = Verdict.CANCELLED
        self._reporter.effects.append(StopSlot(key=key))

    # ---- slots -------------------------------------------------------------------------------------------------------

    def checkpointed(self, key: Key, state: bytes, now: float) -> list[Effect]:
        """Take a checkpoint from a slot."""
        activation = self._holdings.running.get(key)
        if activation is None:
            return []
        activation.seq += 1
        activation.has_checkpointed = True
        self._reporter.checkpointed(activation, state, in_a_hurry=self.drain is not None)
        return self._settle(now)

    def ended(self, key: Key, end: Ended, now: float) -> list[Effect]:
        """Take the end of an activation from its slot, which is free now."""
        activation = self._holdings.running.get(key)
        if activation is None:
            return []  # killed and reported a moment ago: the process was faster than the signal
        was_cancelled = activation.state is ActivationState.STOPPING
        self._holdings.release(activation)
        if was_cancelled:
            self._reporter.give_back(key, ActivationEnd.CANCELLED)
        elif end.is_evicted or self._was_broken_by_eviction(end):
            self._reporter.give_back(key, ActivationEnd.EVICTED)
        else:
            self._reporter.finished(key, end)
        return self._settle(now)

    def _was_broken_by_eviction(self, end: Ended) -> bool:
        # Slurm sends its SIGTERM to every process of the step: a program that the function had started dies of it,
        # and the function raises. That is not the user's failure.
        if end.failure is None or end.failure.kind is not FailureKind.EXCEPTION:
            return False
        return end.is_signalled or (self.drain is not None and self.drain.reason in drain.HARSH)

    def slot_died(self, key: Key, now: float) -> list[Effect]:
        """Take note that the process of an activation is gone."""
        activation = self._holdings.running.get(key)
        if activation is not None:
            was_cancelled = activation.state is ActivationState.STOPPING
            end = ActivationEnd.EVICTED if self.drain else ActivationEnd.SLOT_DIED
            self._reporter.give_back(key, ActivationEnd.CANCELLED if was_cancelled else end)
        activation = activation or self._holdings.killed.get(key)
        if activation is not None:
            self._holdings.release(activation)
        return self._settle(now)

    def _kill(self, activation: Activation) -> None:
        self._holdings.kill(activation)
        self._reporter.effects.append(KillSlot(key=activation.key))

    def _kill_overdue(self, now: float) -> None:
        for activation in self._holdings.overdue(now):
            self._kill(activation)
            match activation.verdict:
                case Verdict.WALLTIME:
                    self._reporter.overran(activation, now)
                case Verdict.EVICTED:
                    self._reporter.give_back(activation.key, ActivationEnd.EVICTED)
                case Verdict.CANCELLED:
                    self._reporter.give_back(activation.key, ActivationEnd.CANCELLED)

    def _start_what_fits(self, now: float) -> None:
        for activation in self._holdings.startable():
            self._holdings.start(activation, now)
            self._reporter.started(activation, leave_in_s=self._time_left_s(now))

    # ---- leaving -----------------------------------------------------------------------------------------------------

    def leave(self, reason: DrainReason, now: float) -> list[Effect]:
        """Begin to leave, or hurry: the scheduler sent a signal, an admin asked for it."""
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
            self._drop_everything()
        for key in list(self._holdings.waiting):
            del self._holdings.waiting[key]
            self._reporter.give_back(key, ActivationEnd.UNSTARTED)
        for activation in self._holdings.running.values():
            self._ask(activation, plan, now)

    def _ask(self, activation: Activation, plan: drain.DrainPlan, now: float) -> None:
        deadline = plan.resumable_by if activation.is_resumable else plan.others_by
        if activation.state is ActivationState.STOPPING:
            activation.limit(deadline, Verdict.CANCELLED)
            return
        activation.advance(ActivationEvent.ASKED)
        activation.limit(deadline, Verdict.EVICTED)
        self._reporter.effects.append(HandOver(key=activation.key, within_s=max(0.0, deadline - now)))

    def _drop_everything(self) -> None:
        self._holdings.waiting.clear()
        self._reporter.outbox.clear()
        for activation in list(self._holdings.running.values()):
            self._kill(activation)

    def _leave_when_done(self, plan: drain.DrainPlan, now: float) -> None:
        if self._holdings.running:
            return
        self._idle_at = now if self._idle_at is None else self._idle_at
        if self._reporter.outbox and now < self._gone_at(plan):
            return
        self._reporter.goodbye(plan.reason)
        self._reporter.effects.append(Leave(reason=plan.reason))
        self._has_left = True

    def _gone_at(self, plan: drain.DrainPlan) -> float:
        # Without a connection the pilot waits for one as long as it may: what it holds is worth more than a second.
        if self._idle_at is None or not self._reporter.is_linked:
            return plan.gone_by
        return min(plan.gone_by, self._idle_at + drain.acknowledge_s(self._reporter.outbox.size))

    # ---- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        if self._reporter.is_linked and now >= self._pulse.due_at:
            if self._pulse.beat(now):
                self._reporter.send(wire.Heartbeat(time_left_s=self._time_left_s(now)))
            else:
                self._reporter.effects.append(Reconnect())
        if self.drain is None and now >= self._walltime_drain_at:
            self._leave(DrainReason.WALLTIME, now)
        elif self.drain is None and now >= self._patience_ends_at:
            self._reporter.outbox.clear()  # nobody asked for it in all that time
            self._leave(DrainReason.ASKED, now)
        return self._settle(now)

    @property
    def next_at(self) -> float:
        """When `tick` has to be called at the latest."""
        own = self._gone_at(self.drain) if self.drain else min(self._walltime_drain_at, self._patience_ends_at)
        return min(own, self._pulse.due_at, *self._holdings.deadlines())

    @property
    def _patience_ends_at(self) -> float:
        is_useful = self._reporter.is_linked or self._holdings.running
        return inf if is_useful else self._unlinked_at + PATIENCE_S

    def _time_left_s(self, now: float) -> float:
        return max(0.0, self._walltime_drain_at - now)

    def _settle(self, now: float) -> list[Effect]:
        if self._has_left:
            self._reporter.take_effects()
            return []
        self._kill_overdue(now)
        if self.drain:
            self._leave_when_done(self.drain, now)
        elif self._holdings.waiting:
            self._start_what_fits(now)
        return self._reporter.take_effects()
