"""Hosting: the slot that runs a function, as the SDK inside the function sees it.

A slot is the host of its process; elsewhere there is none. So the SDK finds address and credential of the run without
any setting, tells when it waits, and closes at the run's end what belongs to the run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import msgspec


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How a run calls the gateway back."""

    url: str  # as the pilot knows it
    token: str  # the run's own; see `run_tokens`
    invocation_id: str
    tls_ca: str = ""  # certificates in PEM by which the gateway's is verified; empty: by the system's authorities


class Host(Protocol):
    """The slot of this process."""

    def access(self) -> Access:
        """Return how the present run calls back. Raises `RunOver` where none is under way."""
        ...

    def waiting(self) -> AbstractContextManager[object]:
        """Tell, if it takes long, that the block waits for other invocations."""
        ...

    def function_id(self, plain: Callable[..., Any], /) -> str | None:
        """Return which registered function this is, where the slot has loaded it as one."""
        ...

    def at_end(self, close: Callable[[], None], /) -> None:
        """Have `close` called when the present run is over."""
        ...


class RunOver(RuntimeError):
    """A thread that outlived its run tried to act for the run."""


_hosts: list[Host] = []  # at most one: the process's


def provide(host: Host) -> None:
    """Set the host of this process."""
    _hosts[:] = [host]


def host() -> Host | None:
    """Return this process's host; None outside a slot."""
    return _hosts[0] if _hosts else None


def waiting() -> AbstractContextManager[object]:
    """Return a block in which this thread waits for other invocations. Costs nothing outside a slot."""
    return _hosts[0].waiting() if _hosts else _NOBODY


_NOBODY: AbstractContextManager[object] = nullcontext()
