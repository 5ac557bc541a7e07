"""What a site decides about the dispatcher: how patient it is, and what it lets whom have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the dispatcher is, and what it lets whom have."""

    lease: timedelta = timedelta(seconds=4)  # silence after which a pilot is LOST
    margin: timedelta = timedelta(seconds=5)  # time that must be left of a pilot beyond what a run needs
    recovery: timedelta = timedelta(seconds=15)  # after a restart, how long pilots have to say hello
    poison_deaths: int = 3  # slot processes or pilots that one invocation may take down
    patience: timedelta = timedelta(seconds=30)  # then a pilot's room is kept for work that smaller work goes before
    horizon: timedelta = timedelta(milliseconds=20)  # of a pilot's work that is granted ahead of its free slots
    prefetch: int = 64  # leases ahead of free slots for each CPU, at most; 0: none
    weights: Mapping[str, float] = {}  # of owners' shares; 1 for who is not named
    max_running_per_owner: int | None = None  # activations of one owner at a time; None: no limit
    owner_limits: Mapping[str, int] = {}  # the same for single owners
