"""Settling: when a run that has had processes of its own is believed.

The scheduler's signal goes to every process of the pilot, so what a function has started dies of it, and the function
makes of that what it will: an exit code that it returns, half an output, a pool without a worker. It may have said so,
or saved it, before anybody here has heard of the signal. So what a run with descendants says is kept until a signal
that had come before it would have been heard. When one is heard meanwhile, it is dropped: the activation goes back, to
run again from its last checkpoint before the signal. Runs without descendants are believed at once.

Pure. How it is observed that there have been descendants is the slot's affair.
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
"""A scheduler sends its signal to one process after the other: for so long after a child the agent may have to wait."""

DOUBT_S = 2.0
"""And for so long where the slot has had a signal already. It may be the function's own doing; then none follows."""


class _Unsettled:
    """What one activation has said and is not believed yet."""

    __slots__ = ("activation", "end", "end_at", "states")

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.states: list[tuple[float, bytes]] = []  # when each is believed; the oldest and the newest one
        self.end: RunEnded | None = None
        self.end_at = inf

    @property
    def next_at(self) -> float:
        """When there is something to be believed."""
        return min(self.end_at, self.states[0][0] if self.states else inf)


class Settling:
    """What runs have said, until it is told.

    Parameters
    ----------
    reporter: who tells it.
    pace: to be told how long runs took.
    """

    def __init__(self, reporter: Reporter, pace: Pace) -> None:
        self._is_hurried = False
        self._reporter = reporter
        self._pace = pace
        self._signalled_at: float | None = None
        self._unsettled: dict[Key, _Unsettled] = {}

    def __contains__(self, key: Key) -> bool:
        """Tell whether this activation has ended and its end is not told yet."""
        return key in self._unsettled and self._unsettled[key].end is not None

    def held(self) -> list[Held]:
        """Return the activations that have ended, as `Hello` tells them."""
        return [Held(invocation_id=key[0], fence=key[1], is_started=True) for key in self._unsettled if key in self]

    # ---- what runs say -----------------------------------------------------------------------------------------------

    def checkpointed(self, activation: Activation, progress: Progress, now: float) -> None:
        """Take a checkpoint of a run."""
        at = self._believed_at(progress.taken_at, progress)
        if at == inf:
            return
        if at <= now and activation.key not in self._unsettled:
            self._tell_state(activation, progress.state)
            return
        states = self._of(activation).states
        states[1:] = [(at, progress.state)]

    def ended(self, activation: Activation, end: RunEnded, now: float) -> None:
        """Take the end of a run that nobody has cancelled."""
        key = activation.key
        if not self._unsettled and not (end.had_descendants or end.is_evicted or end.failure):
            self._tell_end(activation, end)  # the usual case, and the agent hears of thousands in a second
            return
        has_nothing_to_keep = end.is_evicted and key not in self._unsettled
        at = now if has_nothing_to_keep else self._believed_at(now, end)
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
        """Drop what these have said."""
        for key in keys:
            self._unsettled.pop(key, None)

    def clear(self) -> None:
        """Drop everything."""
        self._unsettled.clear()

    def _of(self, activation: Activation) -> _Unsettled:
        return self._unsettled.setdefault(activation.key, _Unsettled(activation))

    def _believed_at(self, said_at: float, word: Progress | RunEnded) -> float:
        """Return when it is to be believed; never if it may be the signal's doing."""
        if not word.had_descendants:
            return said_at
        at = said_at + (DOUBT_S if word.is_signalled else SETTLE_S)
        return at if self._signalled_at is None or at <= self._signalled_at else inf

    def _is_broken(self, end: RunEnded) -> bool:
        """Tell whether a run without descendants has failed of the signal: a system call of it was interrupted."""
        if end.failure is None or end.failure.kind is not FailureKind.EXCEPTION:
            return False
        return self._signalled_at is not None or (end.is_signalled and not end.had_descendants)

    def hurry(self) -> None:
        """Send each state at once from now on: the pilot leaves."""
        self._is_hurried = True

    # ---- the signal and the time -------------------------------------------------------------------------------------

    def signalled(self, now: float) -> None:
        """The scheduler has sent its signal: what runs have said just before it, or say from now on, may be wrong."""
        if self._signalled_at is None:
            self._signalled_at = now
            self.give_up(now)

    def give_up(self, now: float) -> None:
        """Wait no longer: what is not believed by now goes back."""
        self.look_after(now)
        for key, unsettled in self._unsettled.items():
            if unsettled.end is not None:
                self._reporter.give_back(key, ActivationEnd.EVICTED)
        self._unsettled.clear()

    def look_after(self, now: float) -> None:
        """Tell what is believed by now."""
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
