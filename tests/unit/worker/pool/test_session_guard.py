"""How the guard of a pilot's session learns that the agent has gone."""

import errno
import os
import subprocess

import pytest

from harvester_worker.pool import session_guard


def test_it_looks_at_its_parent_where_the_kernel_does_not_tell(monkeypatch):
    def absent(pid):
        raise OSError(errno.ENOSYS, "Function not implemented")

    parents, slept = [7, 7, 1], []
    monkeypatch.setattr(os, "pidfd_open", absent)
    monkeypatch.setattr(os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(session_guard.time, "sleep", slept.append)
    session_guard.wait_for_the_end_of(7)
    assert (parents, len(slept)) == ([], 2)


@pytest.mark.timeout(10)
def test_it_does_not_wait_for_a_process_that_has_taken_the_agents_number():
    with subprocess.Popen(["sleep", "60"]) as other:
        session_guard.wait_for_the_end_of(other.pid)
        other.kill()
