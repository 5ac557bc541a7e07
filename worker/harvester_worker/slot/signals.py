"""The signals of a slot: which it withstands, and the one that interrupts a run.

Owns the handlers, and what the run under way is told by them. Must not know orders or sockets.
"""

import _signal  # type: ignore[import-not-found] # what `signal` wraps into enums, which takes 2 µs for each of five signals before each run
import signal
import threading
from collections.abc import Callable
from types import FrameType

from harvester_worker.ipc.slot_messages import Run
from harvester_worker.slot.checkpointing import SlotContext, Stopped

STOP_SIGNAL = signal.SIGRTMIN
"""From the control thread to the main thread: interrupt the function. Libraries leave this signal alone."""

SCHEDULERS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends them to every process of the step. The agent decides what follows; a slot only records them."""

_IMPORTS = "<frozen importlib._bootstrap>"  # the file of an import's own frames; CPython cuts tracebacks by this name


class CurrentRun:
    """The run that a slot is at, as its two threads and its signals see it."""

    __slots__ = ("context", "is_interruptible", "is_signalled", "is_stopped", "run", "was_importing")

    context: SlotContext

    def __init__(self, run: Run) -> None:
        self.run = run
        self.is_interruptible = False
        self.is_stopped = False
        self.is_signalled = False
        self.was_importing = False  # when it was interrupted


class SlotSignals:
    """The signal handlers of one slot process.

    Parameters
    ----------
    current: returns the run under way, None between two.
    """

    def __init__(self, current: Callable[[], CurrentRun | None]) -> None:
        self._current = current
        # Handlers, not SIG_IGN: exec keeps what is ignored, and the programs of a function must find the defaults.
        # Bound once: each look at a method makes another object.
        record, interrupt = self._record, self._interrupt
        self._handlers: tuple[tuple[int, Callable[[int, FrameType | None], None]], ...] = (
            *((int(number), record) for number in SCHEDULERS_SIGNALS),
            (int(STOP_SIGNAL), interrupt),
        )

    def own(self) -> None:
        """Set the handlers: the function before may have installed its own, in C too, of which Python sees nothing.

        Without a look whether it is needed: all five cost 1.5 µs, and a run that began with another's could be lost.
        """
        for number, handler in self._handlers:
            _signal.signal(number, handler)

    def interrupt(self) -> None:
        """Interrupt the main thread. From the control thread."""
        signal.pthread_kill(threading.main_thread().ident or 0, STOP_SIGNAL)

    def disown(self) -> None:
        """Set the defaults, in a child that a function has forked."""
        for number, _ in self._handlers:
            signal.signal(number, signal.SIG_DFL)

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        if (current := self._current()) is not None:
            current.is_signalled = True

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        current = self._current()
        if current is not None and current.is_interruptible and current.is_stopped:
            current.is_interruptible = False  # once
            current.was_importing = _is_importing(frame)
            raise Stopped


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame is within an import: after half of one, modules in C (numpy's) refuse another."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False
