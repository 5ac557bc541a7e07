"""Activation rules: what a pilot does with its activations, from the lease to the report.

Pure: stimulus and `now` in; effects are added to the core's list. It knows whether the pilot leaves, and decides
nothing about that. It must not know connections or clocks.
"""

from collections.abc import Iterable
from typing import assert_never

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.protocol import wire
from harvester_worker.core.activations import (
    Activation,
    ActivationEvent,
    ActivationState,
    DeadlineVerdict,
    Death,
    Wish,
    unbegun_end,
)
from harvester_worker.core.effects import Effect, HandOver, Key, KillSlot, StopSlot, TakeBack
from harvester_worker.core.leases import Leases
from harvester_worker.core.reporter import Reporter
from harvester_worker.core.settling import Settling
from harvester_worker.ipc.slot_messages import Progress, RunEnded
from harvester_worker.timing import drain

CANCEL_S = 1.0
"""A cancelled function may take this long to unwind before its process is killed."""


class ActivationRules:
    """The activations of one pilot.

    Parameters
    ----------
    leases: its leases and its free capacity.
    reporter: what it tells the gateway.
    settling: what it does not tell yet.
    effects: the core's; what is to be done with slots is added to it.
    """

    def __init__(self, leases: Leases, reporter: Reporter, settling: Settling, effects: list[Effect]) -> None:
        self._plan: drain.DrainPlan | None = None  # the pilot leaves
        self._leases = leases
        self._reporter = reporter
        self._settling = settling
        self._effects = effects

    # ---- from the gateway ------------------------------------------------------------------------------------------

    def take(self, lease: wire.Lease, function: FunctionVersion | None, *, shares: bool) -> None:
        """Take a lease, or give it back at once."""
        key = (lease.invocation_id, lease.fence)
        if key in self._leases or key in self._settling or self._reporter.outbox.has_reported(key):
            return  # a repetition
        is_readable = shares or not isinstance(lease.arguments, BlobRef)
        if self._plan or function is None or not is_readable or not lease.resources.fits(self._leases.capacity):
            self._reporter.give_back(key, ActivationEnd.UNSTARTED)
        else:
            self._leases.add(lease, function)

    def cancel(self, key: Key, now: float) -> None:
        """Stop an activation softly, or give it back if it has not begun."""
        if (activation := self._leases.waiting.get(key)) is not None:
            self._leases.drop(activation)
            self._reporter.give_back(key, ActivationEnd.CANCELLED)
        elif (activation := self._leases.running.get(key)) is not None:
            self._stop(activation, now)
        elif key in self._settling:
            self._settling.forget([key])
            self._reporter.give_back(key, ActivationEnd.CANCELLED)
        else:
            self._wish(key, Wish.CANCEL)

    def recall(self, key: Key) -> None:
        """Give an activation back if it has not begun."""
        if (activation := self._leases.waiting.get(key)) is not None:
            self._leases.drop(activation)
            self._reporter.give_back(key, ActivationEnd.UNSTARTED)
        else:
            self._wish(key, Wish.RECALL)

    def abandon(self, key: Key) -> None:
        """Forget an activation that another pilot has now, and stop it."""
        self._reporter.forget(key)
        self._settling.forget([key])
        if (activation := self._leases.waiting.get(key)) is not None:
            self._leases.drop(activation)
        elif (activation := self._leases.running.get(key)) is not None:
            self._kill(activation)
        else:
            self._wish(key, Wish.ABANDON)

    def _wish(self, key: Key, wish: Wish) -> None:
        activation = self._leases.queued.get(key)
        if activation is not None:
            activation.wish = wish
            activation.at.is_closed = True  # or something might be queued there while the slot is asked
            self._effects.append(TakeBack(key=activation.at.head.key))

    def _stop(self, activation: Activation, now: float) -> None:
        if activation.state is ActivationState.STOPPING:
            return
        activation.advance(ActivationEvent.CANCELLED)
        activation.limit(now + CANCEL_S, DeadlineVerdict.CANCELLED)
        activation.verdict = DeadlineVerdict.CANCELLED
        self._effects.append(StopSlot(key=activation.key))

    # ---- from the slots ---------------------------------------------------------------------------------------------

    def checkpointed(self, key: Key, progress: Progress, now: float) -> None:
        """Take a checkpoint from a slot."""
        activation = self._leases.running.get(key)
        if activation is not None:
            activation.has_checkpointed = True
            self._settling.checkpointed(activation, progress, now)

    def counted(self, key: Key, calls: int, now: float) -> None:
        """Limit an activation that makes so many calls and began just now."""
        activation = self._leases.running.get(key)
        if activation is not None and (walltime_s := activation.function.walltime_s) is not None:
            activation.limit(now + walltime_s * max(1, calls), DeadlineVerdict.WALLTIME)

    def ended(self, key: Key, end: RunEnded, now: float) -> None:
        """Take the end of an activation from its slot, which has begun the next one."""
        activation = self._leases.running.get(key)
        if activation is None:
            return  # killed and reported a moment ago: the process was faster than the signal
        was_cancelled = activation.state is ActivationState.STOPPING
        following = self._leases.end(activation, now)
        if was_cancelled or end.is_unshared:
            self._settling.forget([key])
            self._reporter.give_back(key, ActivationEnd.CANCELLED if was_cancelled else ActivationEnd.UNSTARTED)
        else:
            self._settling.ended(activation, end, now)
        if following is not None:
            self._begun(following, now)

    def _begun(self, activation: Activation, now: float) -> None:
        """Do what the gateway wanted of an activation while it was queued, now that a slot has begun it."""
        self._reporter.begun(activation.key, now)
        match activation.wish:
            case Wish.CANCEL:
                self._stop(activation, now)
            case Wish.ABANDON:
                self._reporter.forget(activation.key)
                self._kill(activation)
                return
            case Wish.RECALL | None:
                pass  # it has begun, so it runs on
            case _:
                assert_never(activation.wish)
        if self._plan is not None:
            self._ask(activation, self._plan, now)

    def taken_back(self, keys: Iterable[Key]) -> None:
        """Record that a slot has let go of activations that it had not begun."""
        self._unbegun([activation for key in keys if (activation := self._leases.queued.get(key)) is not None])

    def _unbegun(self, activations: Iterable[Activation]) -> None:
        """Give back activations that were at a slot and have no outcome, or let them wait again."""
        back = []
        for activation in activations:
            if activation.wish is None and self._plan is None:
                self._reporter.not_begun(activation.key)
                back.append(activation)
                continue
            self._leases.drop(activation)
            if (end := unbegun_end(activation.wish)) is not None:
                self._reporter.give_back(activation.key, end)
        self._leases.put_back(back)

    def slot_died(self, death: Death) -> None:
        """Record that a slot's process is gone, with all that was there."""
        leases = self._leases
        self._settling.forget(death.keys)
        found = leases.at_slot(death.keys)
        if not found:
            return
        lane = found[0].at
        killed, head_key = lane.head.key in leases.killed, lane.head.key
        leases.release(lane)
        again: list[Activation] = []
        for activation in found:
            if killed and activation.key == head_key:
                continue  # reported when it was killed
            has_begun = activation.key in death.begun
            is_wanted = activation.state is not ActivationState.STOPPING and not (self._plan and has_begun)
            if activation.key == death.blamed or not is_wanted:
                self._blame(activation)
            else:
                activation.is_suspect = has_begun
                again.append(activation)
        self._unbegun(again)

    def _blame(self, activation: Activation) -> None:
        """Give back what must not run again here, because its slot died of it or the pilot leaves."""
        was_cancelled = activation.state is ActivationState.STOPPING or activation.wish is Wish.CANCEL
        self._leases.drop(activation)
        if activation.wish is Wish.ABANDON:
            return
        end = ActivationEnd.EVICTED if self._plan else ActivationEnd.SLOT_DIED
        self._reporter.give_back(activation.key, ActivationEnd.CANCELLED if was_cancelled else end)

    # ---- time --------------------------------------------------------------------------------------------------------

    def start_what_fits(self, now: float, *, leave_in_s: float) -> None:
        """Start what there is capacity for, and queue short runs at slots that run short ones."""
        for activation in self._leases.startable():
            self._leases.start(activation, now)
            self._effects.append(activation.start(leave_in_s))
            self._reporter.begun(activation.key, now)
        if self._leases.waiting:
            for activation, lane in self._leases.queue_what_fits(now):
                self._effects.append(activation.start(leave_in_s, behind=lane.head.key))

    def look_after(self, now: float) -> None:
        """Tell what is settled, kill what is overdue, and take back what is stuck behind a long run."""
        self._settling.look_after(now)
        for activation in self._leases.overdue(now):
            if activation.verdict is DeadlineVerdict.WALLTIME and activation.at.queue:
                if (at_work := self._leases.overrun_behind(activation, now)) is not None:
                    self._reporter.overran(at_work, now)
                    self._effects.append(KillSlot(key=activation.key))  # those before it run again when it is dead
                continue
            self._kill(activation)
            match activation.verdict:
                case DeadlineVerdict.WALLTIME:
                    self._reporter.overran(activation, now)
                case DeadlineVerdict.EVICTED | DeadlineVerdict.CANCELLED:
                    self._reporter.give_back(activation.key, ActivationEnd(activation.verdict.value))
                case _:
                    assert_never(activation.verdict)
        for lane in self._leases.close_stalled(now):
            self._effects.append(TakeBack(key=lane.head.key))

    def _kill(self, activation: Activation) -> None:
        self._leases.kill(activation)
        self._settling.forget([activation.key])
        if self._plan is not None:
            self._give_up_behind(activation)
        self._effects.append(KillSlot(key=activation.key))

    def _give_up_behind(self, killed: Activation) -> None:
        """Give back what is queued at a slot that is being killed: a pilot that leaves does not wait to see it dead."""
        for behind in list(killed.at.queue):
            self._blame(behind)

    # ---- leaving -----------------------------------------------------------------------------------------------------

    def leave(self, plan: drain.DrainPlan, now: float) -> None:
        """Give back what has not begun, and ask what runs for its state."""
        self._plan = plan
        self._settling.hurry()
        for activation in list(self._leases.waiting.values()):
            self._leases.drop(activation)
            self._reporter.give_back(activation.key, ActivationEnd.UNSTARTED)
        for activation in self._leases.killed.values():
            self._give_up_behind(activation)
        for activation in self._leases.running.values():
            if activation.at.queue:
                self._effects.append(TakeBack(key=activation.key))
            self._ask(activation, plan, now)

    def _ask(self, activation: Activation, plan: drain.DrainPlan, now: float) -> None:
        deadline = plan.resumable_by if activation.is_resumable else plan.others_by
        if activation.state is ActivationState.STOPPING:
            activation.limit(deadline, DeadlineVerdict.CANCELLED)
            return
        activation.advance(ActivationEvent.ASKED)
        activation.limit(deadline, DeadlineVerdict.EVICTED)
        is_signalled = plan.reason in drain.HARSH
        self._effects.append(HandOver(key=activation.key, within_s=max(0.0, deadline - now), is_signalled=is_signalled))

    def drop_everything(self) -> None:
        """Forget all activations, and end their processes."""
        for activation in [*self._leases.waiting.values(), *self._leases.queued.values()]:
            self._leases.drop(activation)
        self._reporter.clear()
        self._settling.clear()
        for activation in list(self._leases.running.values()):
            self._kill(activation)

    def drop_unreadable(self) -> None:
        """Give back what waits and has its arguments in a directory that is not shared any more."""
        for activation in list(self._leases.waiting.values()):
            if isinstance(activation.lease.arguments, BlobRef):
                self._leases.drop(activation)
                self._reporter.give_back(activation.key, ActivationEnd.UNSTARTED)
