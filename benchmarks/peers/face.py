"""The face that each peer shows: two workers, and functions that do nothing.

A module of a peer has a function `peer()` that returns one of these. What a peer does not have raises `NotOffered`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

WORKERS = 2


class NotOffered(Exception):
    """This peer has no such thing."""


class Address(NamedTuple):
    """Where a no-op is invoked and waited for over HTTP: a whole request, and the answer's status."""

    url: str
    path: str
    token: str = ""
    body: bytes = b"{}"


class Sizes(NamedTuple):
    """How much of each work a peer is given, such that it takes seconds and not minutes."""

    submits: int = 2_000
    maps: int = 10_000
    round_trips: int = 200
    echoes: int = 50


class Peer(Protocol):
    """One system with two workers."""

    sizes: Sizes

    def start(self) -> None:
        """Return once both workers have run something."""

    def submit_gather(self, count: int) -> None:
        """Submit no-ops one by one, then gather all results."""

    def map(self, count: int) -> None:
        """Map a no-op over `count` items, in the way this peer offers for many."""

    def round_trip(self) -> None:
        """Submit one no-op and wait for its result."""

    def echo(self, payload: bytes) -> bytes:
        """Send `payload` to a worker and back."""

    def http(self) -> Address:
        """Return where a no-op can be invoked over HTTP."""

    def stop(self) -> None:
        """End all that was started."""


def nothing(_: object = None) -> None:
    return None


def same(payload: bytes) -> bytes:
    return payload


class Base:
    """What a peer does unless it says otherwise."""

    sizes = Sizes()

    def map(self, count: int) -> None:
        raise NotOffered

    def echo(self, payload: bytes) -> bytes:
        raise NotOffered

    def http(self) -> Address:
        raise NotOffered
