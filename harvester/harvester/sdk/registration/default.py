"""The default client of this process: made at its first use by the maker that was provided.

Owns the one client that decorated functions go through. Knows no client: `harvester` hands the maker over, so that a
decorated function needs not import what it is submitted with.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from harvester.domain.model import hosting


class CallingClient(Protocol):
    """What a decorated function asks of the client; see `harvester.Client`."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any function, any result
        """Invoke `fn`."""
        ...

    def map(self, fn: Any, /, *iterables: Any, timeout: float | None, chunksize: int | None) -> Any:  # noqa: ANN401 - as above
        """Invoke `fn` for each set of arguments."""
        ...

    def register(self, fn: Any, /) -> Any:  # noqa: ANN401 - as above
        """Register `fn`."""
        ...


_clients: dict[int, CallingClient] = {}  # by process id: a forked process makes its own
_makers: list[Callable[[], CallingClient]] = []
_lock = threading.Lock()


def provide(maker: Callable[[], CallingClient]) -> None:
    """Have default clients made by `maker` from now on."""
    _makers[:] = [maker]


def default_caller() -> CallingClient:
    """Return this process's client. Raises what making it raises."""
    with _lock:
        if os.getpid() not in _clients:
            _clients[os.getpid()] = _makers[0]()
            if (host := hosting.host()) is not None:
                host.at_end(forget)  # the client closes itself when the run ends
        return _clients[os.getpid()]


@contextmanager
def replaced_by(client: CallingClient) -> Iterator[None]:
    """Make `client` this process's default within the block; the one from before comes back."""
    with _lock:
        before = dict(_clients)
        _clients[os.getpid()] = client
    try:
        yield
    finally:
        with _lock:
            _clients.clear()
            _clients.update(before)


def forget() -> None:
    """Let the next use make another client; the old one stays open."""
    with _lock:
        _clients.clear()
