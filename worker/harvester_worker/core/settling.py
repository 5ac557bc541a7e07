"""Settling: when the result of a run that has had processes of its own is trusted.

The scheduler's signal goes to every process of the pilot. What a function has started dies of it, and the function may
turn that into a result: an exit code that it returns, half an output, a pool without a worker. It may return or save
that before the agent has received the signal. So what a run with descendants tells is kept until a signal sent before
it would have arrived. When one arrives meanwhile, it is dropped: the activation goes back, to run again from its last
checkpoint before the signal. Runs without descendants are trusted at once.

Pure. The slot observes whether there have been descendants.
"""

from collections.abc import Iterable
from math import inf

from harvester.domain.model.invocations import ActivationEnd, FailureKind
from harvester.domain.protocol.wire import Held
from harvester_worker.core.activations import Activation
from harvester_worker.core.effects import Key
from harvester_worker.core.reporter import Reporter
from harvester_worker.ipc.slot_messages import Progress, RunEnded
from harvester_worker.timing.pace import Pace

SETTLE_S = 0.2
"""A scheduler signals one process after the other: the agent may receive its signal so long after a child."""

DOUBT_S = 2.0
"""The same where the slot has had a signal already. The function may have sent it; then none follows."""


class _Unsettled:
    """What one activation has told and is not trusted yet."""

    __slots__ = ("activation", "end", "end_at", "states")

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.states: list[tuple[float, bytes]] = []  # when each is trusted; the oldest and the newest one
        self.end: RunEnded | None = None
        self.end_at = inf

    @property
    def next_at(self) -> float:
        """When the first of it is trusted."""
        return min(self.end_at, self.states[0][0] if self.states else inf)


class Settling:
    """What runs have told, until the gateway is told.

    Parameters
    ----------
    reporter: tells the gateway.
    pace: records how long runs took.
    """

    def __init__(self, reporter: Reporter, pace: Pace) -> None:
        self._is_hurried = False
        self._reporter = reporter
        self._pace = pace
        self._signalled_at: float | None = None
        self._unsettled: dict[Key, _Unsettled] = {}

    def __contains__(self, key: Key) -> bool:
        """Return whether this activation has ended and its end is not told yet."""
        return key in self._unsettled and self._unsettled[key].end is not None

    def held(self) -> list[Held]:
        """Return the activations that have ended, as `Hello` tells them."""
        return [Held(invocation_id=key[0], fence=key[1], is_started=True) for key in self._unsettled if key in self]

    # ---- what runs tell ----------------------------------------------------------------------------------------------

    def checkpointed(self, activation: Activation, progress: Progress, now: float) -> None:
        """Take a checkpoint of a run."""
        at = self._trusted_at(progress.taken_at, progress)
        if at == inf:
            return
        if at <= now and activation.key not in self._unsettled:
            self._tell_state(activation, progress.state)
            return
        states = self._of(activation).states
        states[1:] = [(at, progress.state)]

    def ended(self, activation: Activation, end: RunEnded, now: float) -> None:
        """Take the end of a run that was not cancelled."""
        key = activation.key
        if not self._unsettled and not (end.had_descendants or end.is_evicted or end.failure):
            self._tell_end(activation, end)  # the usual case, and the agent hears of thousands in a second
            return
        has_nothing_to_keep = end.is_evicted and key not in self._unsettled
        at = now if has_nothing_to_keep else self._trusted_at(now, end)
        if at == inf or self._is_broken(end):
            self.forget([key])
            self._reporter.give_back(key, ActivationEnd.EVICTED)
        elif at <= now:
            self._unsettled.pop(key, None)
            self._tell_end(activation, end)
        else:
            unsettled = self._of(activation)
            unsettled.end, unsettled.end_at = end, at

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop what these have told."""
        for key in keys:
            self._unsettled.pop(key, None)

    def clear(self) -> None:
        """Drop everything."""
        self._unsettled.clear()

    def _of(self, activation: Activation) -> _Unsettled:
        return self._unsettled.setdefault(activation.key, _Unsettled(activation))

    def _trusted_at(self, told_at: float, word: Progress | RunEnded) -> float:
        """Return when it is trusted; never if the signal may have caused it."""
        if not word.had_descendants:
            return told_at
        at = told_at + (DOUBT_S if word.is_signalled else SETTLE_S)
        return at if self._signalled_at is None or at <= self._signalled_at else inf

    def _is_broken(self, end: RunEnded) -> bool:
        """Return whether the signal may have failed a run without descendants, by interrupting a system call."""
        if end.failure is None or end.failure.kind is not FailureKind.EXCEPTION:
            return False
        return self._signalled_at is not None or (end.is_signalled and not end.had_descendants)

    def hurry(self) -> None:
        """Send each state at once from now on: the pilot leaves."""
        self._is_hurried = True

    # ---- the signal and the time -------------------------------------------------------------------------------------

    def signalled(self, now: float) -> None:
        """Record the scheduler's signal: what runs have told just before it, or tell from now on, may be wrong."""
        if self._signalled_at is None:
            self._signalled_at = now
            self.give_up(now)

    def give_up(self, now: float) -> None:
        """Wait no longer: what is not trusted by now goes back."""
        self.look_after(now)
        for key, unsettled in self._unsettled.items():
            if unsettled.end is not None:
                self._reporter.give_back(key, ActivationEnd.EVICTED)
        self._unsettled.clear()

    def look_after(self, now: float) -> None:
        """Tell what is trusted by now."""
        for key in [key for key, unsettled in self._unsettled.items() if unsettled.next_at <= now]:
            unsettled = self._unsettled[key]
            settled = [state for at, state in unsettled.states if at <= now]
            unsettled.states = unsettled.states[len(settled) :]
            if settled and (unsettled.end is None or unsettled.end.is_evicted):
                self._tell_state(unsettled.activation, settled[-1])
            if unsettled.end is not None and unsettled.end_at <= now:
                self._tell_end(unsettled.activation, unsettled.end)
                unsettled.end = None
                unsettled.states.clear()
            if unsettled.end is None and not unsettled.states:
                del self._unsettled[key]

    def next_at(self) -> float:
        """Return when `look_after` has something to tell."""
        return min((unsettled.next_at for unsettled in self._unsettled.values()), default=inf)

    def _tell_state(self, activation: Activation, state: bytes) -> None:
        activation.seq += 1
        self._reporter.checkpointed(activation, state, in_a_hurry=self._is_hurried)

    def _tell_end(self, activation: Activation, end: RunEnded) -> None:
        if end.is_evicted:
            self._reporter.give_back(activation.key, ActivationEnd.EVICTED)
        else:
            self._pace.ran(activation.pace_key, end.duration_s)
            self._reporter.finished(activation.key, end)
