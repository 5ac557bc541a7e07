"""Asking a scheduler: its commands, counted and within one time limit, and the last look while it is fresh.

Owns what every adapter that talks by commands does alike. Knows no scheduler's words and no command's name.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester_adapters.scheduler_command import CommandResult, run


def malformed(what: str, line: str) -> SchedulerUnavailable:
    """Return the error for an answer that is not understood: `what` it is, and the place."""
    shown = repr(line[:300])
    shown = shown if len(line) <= 300 and len(shown) <= 400 else shown[:300] + "..."
    return SchedulerUnavailable(f"{what} cannot be read, so the whole answer is ignored: {shown}")


class SchedulerCommands:
    """Runs the commands of one scheduler, and counts them.

    Parameters
    ----------
    timeout: for one look, however many commands it takes; for one submission, one cancellation.
    asking: returns the environment for questions, in which nothing may change their answers.
    exported: the variables of this process's environment that every other command gets, and with it a pilot.
    """

    def __init__(self, *, timeout: timedelta, asking: Callable[[], Mapping[str, str]], exported: Sequence[str]) -> None:
        self._timeout = timeout
        self._asking = asking
        self._exported = tuple(exported)
        self._count = 0
        self._counting = threading.Lock()

    @property
    def timeout(self) -> timedelta:
        """For one look, one submission, one cancellation."""
        return self._timeout

    @property
    def count(self) -> int:
        """How many commands have been run so far."""
        return self._count

    def give_up_at(self) -> float:
        """Return when a look that begins now is given up (monotonic)."""
        return time.monotonic() + self._timeout.total_seconds()

    def ask(self, argv: Sequence[str], give_up_at: float) -> str:
        """Return what a command prints. Raises `SchedulerUnavailable` where it fails or there is no time left."""
        return self.answer(argv, give_up_at).expect_success()

    def answer(self, argv: Sequence[str], give_up_at: float) -> CommandResult:
        """Return what a command answers, whatever its exit code. Raises `SchedulerUnavailable` without an answer."""
        left = timedelta(seconds=give_up_at - time.monotonic())
        if left <= timedelta(0):
            raise SchedulerUnavailable(
                f"asking for the state of the cluster took longer than {self._timeout.total_seconds():g} s;"
                f" {argv[0]} was not run"
            )
        self._counted()
        return run(argv, timeout=left, environment=self._asking())

    def act(self, argv: Sequence[str]) -> CommandResult:
        """Run a command that changes something, with the environment that a pilot may have."""
        self._counted()
        environment = {name: os.environ[name] for name in self._exported if name in os.environ}
        return run(argv, timeout=self._timeout, environment=environment)

    def _counted(self) -> None:
        with self._counting:  # looks and submissions may come from two threads
            self._count += 1


class CachedLook:
    """The last look, and how long it is returned again.

    Parameters
    ----------
    look: looks at the cluster.
    cache_for: a look younger than this is returned again; after `forget` it is old.
    """

    def __init__(self, look: Callable[[], ClusterSnapshot], *, cache_for: timedelta) -> None:
        self._look = look
        self._cache_for = cache_for.total_seconds()
        self._lock = threading.Lock()  # one look at a time; whoever waits for it gets the cached one
        self._snapshot: ClusterSnapshot | None = None
        self._read_at = 0.0  # monotonic

    def get(self) -> ClusterSnapshot:
        """Return a fresh look, or the last one while it is fresh. Raises `SchedulerUnavailable`."""
        with self._lock:
            if self._snapshot is None or time.monotonic() - self._read_at >= self._cache_for:
                self._snapshot = self._look()
                self._read_at = time.monotonic()
            return self._snapshot

    def forget(self) -> None:
        """Make the last look old: something was submitted, cancelled, held or released."""
        with self._lock:
            self._snapshot = None
