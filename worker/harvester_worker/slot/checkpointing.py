"""Checkpointing: the context of a running function inside a slot.

Owns when a state is pickled and when it is sent. Must not know sockets: it is given a function that sends.
"""

import contextlib
import pickle
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import cloudpickle

from harvester.domain.model.hosting import RunOver
from harvester_worker.isolation.forks import is_copy

T = TypeVar("T")

COST_SHARE = 20
"""A state is pickled again when this many times the duration of the last pickling has passed: about 5 % of the run."""


class Evicted(BaseException):
    """Unwinds a function whose state has been handed over. Not an `Exception`, so that no user's handler catches it."""


class Stopped(BaseException):
    """Unwinds a function that was cancelled."""


class CheckpointTooLarge(ValueError):
    """The state is over the pilot's limit: the function has to save less."""


class Saved(NamedTuple):
    """A pickled state, and what may have disturbed the run before it was pickled."""

    state: bytes
    taken_at: float
    had_descendants: bool
    is_signalled: bool


def _say_nothing(_saved: Saved) -> None:
    """Drop what a thread that outlived its run was about to send."""


def _do_nothing() -> None:
    pass


def _see_nothing() -> tuple[bool, bool]:
    return False, False


class SlotContext:
    """What `harvester.context()` returns inside a slot; it implements `harvester.domain.model.context.Context`.

    `checkpoint` is called by the function, `hand_over` and `flush` by the slot's listening thread.

    Parameters
    ----------
    invocation_id, attempt: of the activation.
    restored: the newest checkpoint's bytes, None on a first run.
    send: takes a checkpoint to the agent; may block.
    interval_s: in quiet times, checkpoints travel this often.
    limit_bytes: the largest checkpoint.
    leave_in_s: for how long the pilot expects to stay.
    on_kept: called when a state waits to be sent: `flush` is to be called from time to time.
    evidence: tells whether the run has had descendants by now, and whether the slot has had a scheduler's signal.
    clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        invocation_id: str,
        attempt: int,
        restored: bytes | None,
        send: Callable[[Saved], None],
        interval_s: float,
        limit_bytes: int,
        leave_in_s: float,
        on_kept: Callable[[], None] = _do_nothing,
        evidence: Callable[[], tuple[bool, bool]] = _see_nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.invocation_id = invocation_id
        self.attempt = attempt
        self.is_leaving = False
        self.was_handed_over = False
        self._restored = restored
        self._send = send
        self._on_kept = on_kept
        self._evidence = evidence
        self._interval_s = interval_s
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._leave_at = clock() + leave_in_s
        self._pickle_at = 0.0  # not before
        self._send_at = 0.0  # not before
        self._unsent: Saved | None = None  # newer than what was sent
        self._standing: Callable[[], object] | None = None
        self._is_over = False
        self._lock = threading.Lock()  # over what the function's and the listening thread share: the two above

    @property
    def time_left(self) -> timedelta:
        """Time until the pilot leaves, or until this activation is killed when it is leaving already."""
        return timedelta(seconds=max(0.0, self._leave_at - self._clock()))

    def restore(self, default: T) -> T:
        """Return the checkpoint that this activation was started from, or `default` on a first run."""
        if self._restored is None:
            return default
        restored: T = pickle.loads(self._restored)  # noqa: S301 - the user's own state, made by this very function
        return restored

    def checkpoint(self, state: Any) -> None:  # noqa: ANN401 - a user's state is anything that pickles
        """Save `state`.

        Raises `CheckpointTooLarge`, whatever pickling raises, and `Evicted` when the pilot has been asked to leave;
        `RunOver` in a thread that outlived the run.
        """
        if is_copy():
            return  # the state of a fork of the slot is not the run's
        if self._is_over:
            raise RunOver(
                f"the run of {self.invocation_id} is over: a thread that outlives it cannot save a checkpoint"
            )
        began_at = self._clock()
        if began_at < self._pickle_at and not self.is_leaving:
            return
        pickled = self._pickled(state)
        with self._lock:
            # Looked at again: the listening thread may have been asked meanwhile, and has nothing else to send.
            is_kept = not self.is_leaving and began_at < self._send_at
            if is_kept:
                self._unsent = pickled
            else:
                self._send_now(pickled)
            self.was_handed_over = self.is_leaving
        if is_kept:
            self._on_kept()
        ended_at = self._clock()
        self._pickle_at = ended_at + COST_SHARE * (ended_at - began_at)
        if self.was_handed_over:
            raise Evicted

    def end(self) -> None:
        """End with the run, and drop what refers to it: its arguments may be large, and it refers to this."""
        self._is_over = True
        self._send, self._on_kept, self._evidence = _say_nothing, _do_nothing, _see_nothing

    def hand_over(self, within_s: float) -> None:
        """Send the newest state that there is, and stop the function at its next checkpoint."""
        with self._lock:
            self.is_leaving = True
            self._leave_at = self._clock() + within_s
            if self._standing is not None:
                with contextlib.suppress(CheckpointTooLarge):
                    self._unsent = self._pickled(self._standing())
            if self._unsent is not None:
                self._send_now(self._unsent)

    def stand_by(self, state: Callable[[], object]) -> None:
        """Record how to get a state at any time, so that `hand_over` need not wait for the next checkpoint."""
        self._standing = state

    @property
    def has_unsent(self) -> bool:
        """Whether a state waits to be sent."""
        return self._unsent is not None

    def flush(self) -> None:
        """Send the newest state if it is due: the next call of the function may come late."""
        with self._lock:
            if self._unsent is not None and self._clock() >= self._send_at:
                self._send_now(self._unsent)

    def _send_now(self, saved: Saved) -> None:
        self._unsent = None
        self._send(saved)
        self._send_at = self._clock() + self._interval_s

    def _pickled(self, state: object) -> Saved:
        # cloudpickle, because the classes of a function that came as a pickle can't be imported by name.
        pickled: bytes = cloudpickle.dumps(state, protocol=5)
        if len(pickled) > self._limit_bytes:
            raise CheckpointTooLarge(
                f"a checkpoint of {len(pickled)} bytes is over this pilot's limit of {self._limit_bytes}: "
                "save less, or write the large part to a file that every node sees and save its path"
            )
        return Saved(pickled, self._clock(), *self._evidence())  # after it: another thread may have changed the state


class CallContext:
    """What `harvester.context()` returns to one of the many calls of an invocation: between them is its checkpoint.

    Parameters
    ----------
    whole: of the activation that makes the calls.
    """

    def __init__(self, whole: SlotContext) -> None:
        self._whole = whole
        self.invocation_id = whole.invocation_id
        self.attempt = whole.attempt

    @property
    def time_left(self) -> timedelta:
        """As for the whole activation."""
        return self._whole.time_left

    @property
    def is_leaving(self) -> bool:
        """As for the whole activation."""
        return self._whole.is_leaving

    def restore(self, default: T) -> T:
        """Return `default`: a call that was not over is made again from its beginning."""
        return default

    def checkpoint(self, state: Any) -> None:  # noqa: ANN401 - as in the protocol
        """Do nothing: a call runs to its end."""
