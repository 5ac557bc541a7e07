"""Mom: the processes of batch jobs, where a test wants them to be real.

Owns sessions and signals. A batch job is one session; it is over when the whole session is empty, as PBS has it: what a
pilot leaves behind there keeps the nodes until it is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from support.fake_cluster.model.records import FakeBatchJob


@dataclass(eq=False)
class Session:
    """The processes of one batch job, and when each signal was sent and the last process ended (monotonic)."""

    number: int
    leader: subprocess.Popen[bytes]
    told_at: float | None = None
    empty_at: float | None = None

    def members(self) -> list[int]:
        """Return the processes of the session that are not zombies."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.leader.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found

    def send(self, number: int) -> None:
        """Send a signal to every process of the session."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class Mom:
    """Starts batch jobs as processes on this machine, and ends them.

    Parameters
    ----------
    variables: returns what the scheduler tells a batch job in its environment.
    """

    def __init__(self, variables: Callable[[FakeBatchJob], Mapping[str, str]]) -> None:
        self._variables = variables
        self.sessions: dict[int, Session] = {}  # by batch job; the newest run
        self.told: list[Session] = []  # those that got SIGTERM, in order
        self._open: list[Session] = []

    def start(self, batch: FakeBatchJob) -> None:
        """Start the command of a batch job as the leader of a session of its own."""
        wish = batch.wish
        output = os.devnull if wish.output is None else str(wish.output)
        with open(output, "ab") as file:  # noqa: PTH123 - os.devnull is a text
            leader = subprocess.Popen(
                wish.command,
                env={**dict(wish.environment), **self._variables(batch)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        session = Session(batch.number, leader)
        self.sessions[batch.number] = session
        self._open.append(session)

    def terminate(self, batch: FakeBatchJob) -> None:
        """SIGTERM to every process of the session."""
        session = self.sessions[batch.number]
        if session.told_at is None:
            session.told_at = time.monotonic()
            self.told.append(session)
        session.send(signal.SIGTERM)

    def kill(self, batch: FakeBatchJob) -> None:
        """SIGKILL to every process of the session."""
        self.sessions[batch.number].send(signal.SIGKILL)

    def stop(self, batch: FakeBatchJob) -> None:
        """SIGSTOP to every process of the session."""
        self.sessions[batch.number].send(signal.SIGSTOP)

    def go_on(self, batch: FakeBatchJob) -> None:
        """SIGCONT to every process of the session."""
        self.sessions[batch.number].send(signal.SIGCONT)

    def ended(self) -> list[tuple[int, int, int]]:
        """Return the batch jobs whose session is empty since the last call: number, exit code, signal."""
        found = []
        for session in list(self._open):
            code = session.leader.poll()
            if code is None:
                continue
            if session.told_at is None:
                session.send(signal.SIGKILL)  # the leader has ended by itself: its leftovers are killed at once
            elif session.members():
                continue
            session.empty_at = time.monotonic()
            self._open.remove(session)
            found.append((session.number, max(code, 0), max(-code, 0)))
        return found

    def close(self) -> None:
        """Kill what is left."""
        for session in self._open:
            session.send(signal.SIGKILL)
            session.leader.wait()
        self._open.clear()
