"""One command of a scheduler, run so that it can neither hang its caller nor leave a process behind.

Owns the subprocess, its time limit and its environment. Knows no scheduler's words: what an exit code means is the
caller's to judge.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from harvester.domain.cluster.ports import SchedulerAbsent, SchedulerUnavailable

_REAP_S = 2.0  # how long the pipes of a killed command may stay open


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a command that ended in time has said."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """What it said of itself: its errors, or else its output, on one line."""
        return " ".join((self.stderr.strip() or self.stdout.strip()).split())

    def expect_success(self) -> str:
        """Return the output. Raises `SchedulerUnavailable` where the exit code is not 0."""
        if self.exit_code:
            raise SchedulerUnavailable(
                f"{_brief(self.argv)} ended with {self.exit_code}: {self.words or 'it said nothing'}"
            )
        return self.stdout

    def expect_done(self, over: re.Pattern[str]) -> None:
        """Raise `SchedulerUnavailable` where a change of batch jobs has failed, unless it did for those that are over.

        Parameters
        ----------
        over: what the scheduler says of one that is over; every line of its complaints must hold it.
        """
        complaints = [line for line in self.stderr.splitlines() if line.strip()] or [self.words]
        if not all(over.search(line) for line in complaints):
            self.expect_success()


def run(argv: Sequence[str], *, timeout: timedelta, environment: Mapping[str, str]) -> CommandResult:
    """Run a command and return its answer, whatever its exit code.

    Parameters
    ----------
    argv: the command; never passed to a shell.
    timeout: after this the command and everything that it started are killed.
    environment: all of its environment.

    Raises `SchedulerUnavailable` when it cannot be started or did not end in time: then nobody knows what it has done.
    """
    try:
        # A session of its own: a Ctrl-C for the daemon must not end an sbatch half way, and a killed command must not
        # leave children behind that hold its pipes open.
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        kind = SchedulerAbsent if isinstance(error, FileNotFoundError) else SchedulerUnavailable
        raise kind(f"{argv[0]} cannot be run: {error.strerror}; is it on the PATH of this process?") from error
    try:
        stdout, stderr = process.communicate(timeout=timeout.total_seconds())
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise SchedulerUnavailable(
            f"{_brief(argv)} did not answer within {timeout.total_seconds():.2g} s and was killed"
        ) from error
    except BaseException:
        _kill(process)
        raise
    return CommandResult(
        argv=tuple(argv),
        exit_code=process.returncode,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )


def own_name() -> str:
    """Return who we are to a scheduler that goes by the uid: LOGNAME may still be somebody else's after `su`."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=_REAP_S)
    except subprocess.TimeoutExpired:
        # A grandchild left the session and holds the pipe; or the command hangs in the kernel, at a file server that is
        # away, and dies when that is back: nobody waits for it.
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.poll()


def _brief(argv: Sequence[str]) -> str:
    """Return the command line, printable, and short enough for a message."""
    text = "".join(char if char.isprintable() else "?" for char in shlex.join(argv))
    return text if len(text) <= 80 else text[:77] + "..."
