"""What tests on a real PBS share beside their fixtures: waiting, other users, and processes by their command line."""

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
SOMEBODY = "daemon"  # an ordinary user that every Unix has; the tests themselves submit as root


def wait_for(condition: Callable[[], T], seconds: float = 10, every_s: float = 0.1) -> T:
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every_s)
    return value


@contextmanager
def being(user: str) -> Iterator[None]:
    """Let what this process does, and the commands that it runs, be an ordinary user's for a while."""
    account = pwd.getpwnam(user)
    os.setresgid(account.pw_gid, account.pw_gid, 0)
    os.setresuid(account.pw_uid, account.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def processes(words: str) -> list[str]:
    """Return the command lines that hold `words`."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if words in line and "pytest" not in line.partition(" ")[0]]
