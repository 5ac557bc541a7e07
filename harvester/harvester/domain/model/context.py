"""The context of a running function: what `harvester.context()` returns.

A slot sets `CURRENT` around a run, and begins and ends the run for the process, so that threads which the function
starts find its context too. Outside a pilot the function finds a `DetachedContext`, so the same code runs on a laptop
without a harvester.
"""

import threading
import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from harvester.domain.model.hosting import RunOver

T = TypeVar("T")


class Context(Protocol):
    """What a running function may ask."""

    @property
    def invocation_id(self) -> str:
        """The invocation that runs; empty outside a pilot."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first activation of this invocation, 2 for the second …"""
        ...

    @property
    def time_left(self) -> timedelta | None:
        """Time until the pilot has to leave, as far as anybody knows; None outside a pilot."""
        ...

    @property
    def is_leaving(self) -> bool:
        """Whether the pilot was asked to leave: checkpoint as soon as you can."""
        ...

    def restore(self, default: T) -> T:
        """Return the newest checkpoint, or `default` on a first run."""
        ...

    def checkpoint(self, state: Any) -> None:  # noqa: ANN401 - a user's state is anything that pickles
        """Save `state`, so that a later activation starts from it. Cheap enough to call often.

        When the pilot has been asked to leave, this call hands the state over and does not return: the function is
        resumed elsewhere.
        """
        ...


class DetachedContext:
    """The context outside a pilot: nothing to restore, nowhere to save."""

    invocation_id = ""
    attempt = 1
    time_left: timedelta | None = None
    is_leaving = False

    def restore(self, default: T) -> T:
        """Return `default`."""
        return default

    def checkpoint(self, state: Any) -> None:  # noqa: ANN401 - as in the protocol
        """Do nothing."""


CURRENT: ContextVar[Context | None] = ContextVar("harvester_context", default=None)
"""The context of this thread or task, where it has one of its own."""


class ProcessContext:
    """What threads without a context of their own find: a slot runs one activation at a time."""

    def __init__(self) -> None:
        self._present: Context | None = DetachedContext()  # None: between two runs of a slot
        self._left_over: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def begin(self, context: Context | None) -> Context | None:
        """Begin a run, or one of its many calls; return the context before."""
        before, self._present = self._present, context
        return before

    def end(self, left_over: Iterable[threading.Thread] = ()) -> None:
        """End the run; these threads of it still run, and must not act for the next one."""
        self._present = None
        for thread in left_over:
            self._left_over.add(thread)

    def find(self) -> Context:
        """Return the context of the present run. Raises `RunOver` in a thread that outlived its own."""
        present = self._present
        if present is None or (self._left_over and threading.current_thread() in self._left_over):
            raise RunOver(
                f"the run that started the thread {threading.current_thread().name!r} is over: "
                "let a function wait for its threads before it returns"
            )
        return present


PROCESS = ProcessContext()


def context() -> Context:
    """Return the context of the running function, also in a thread that it has started.

    Raises `RunOver` in a thread whose run is over.
    """
    return CURRENT.get() or PROCESS.find()
