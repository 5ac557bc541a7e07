"""What tests on a real PBS share beside their fixtures: waiting, users, and processes by their command line.

PBS's moms leave root's processes alone: of what a batch job of root's has started they signal the first process only.
So the tests' pilots are an ordinary user's, as any site's are.
"""

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
# Ordinary users that every Debian has: whose the pilots are, and whose the other batch jobs.
PILOTS, OTHERS = "daemon", "games"


def wait_for(condition: Callable[[], T], seconds: float = 10, every_s: float = 0.1) -> T:
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every_s)
    return value


@contextmanager
def being(user: str) -> Iterator[None]:
    """Let what this process does, and the commands that it runs, be an ordinary user's for a while; it is root's."""
    account, groups = pwd.getpwnam(user), os.getgroups()
    os.setgroups([account.pw_gid])
    os.setresgid(account.pw_gid, account.pw_gid, 0)
    os.setresuid(account.pw_uid, account.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


class AsUser:
    """Something whose every method is called as an ordinary user."""

    def __init__(self, user: str, make: Callable[[], Any]) -> None:
        self._user = user
        with being(user):
            self._own = make()

    def __getattr__(self, name: str) -> Any:
        with being(self._user):
            found = getattr(self._own, name)

        def call(*arguments: Any) -> Any:
            with being(self._user):
                return found(*arguments)

        return call if callable(found) else found


def processes(words: str) -> list[str]:
    """Return the command lines that hold `words`."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if words in line and "pytest" not in line.partition(" ")[0]]
