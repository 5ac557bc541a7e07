"""The context of a running function: what `harvester.context()` returns.

A slot sets `CURRENT` around a run. Outside a pilot the function finds a `DetachedContext`, so the same code runs on a
laptop without a harvester.
"""

from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Protocol, TypeVar

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


CURRENT: ContextVar[Context] = ContextVar("harvester_context", default=DetachedContext())  # noqa: B039 - it holds no state


def context() -> Context:
    """Return the context of the running function."""
    return CURRENT.get()
