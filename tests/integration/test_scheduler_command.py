"""A scheduler's command that nothing ends."""

import os
import signal
import time
from datetime import timedelta

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester_adapters import scheduler_command


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_command_that_cannot_be_killed_holds_nobody_up(monkeypatch):
    hanging = []
    with monkeypatch.context() as patch:
        patch.setattr(scheduler_command, "_REAP_S", 0.1)
        patch.setattr(os, "killpg", lambda group, _: hanging.append(group))  # as where it waits for a file server
        begun = time.monotonic()
        with pytest.raises(SchedulerUnavailable, match="did not answer within"):
            scheduler_command.run(["sleep", "60"], timeout=timedelta(seconds=0.1), environment=dict(os.environ))
        took_s = time.monotonic() - begun
    (group,) = hanging
    os.killpg(group, signal.SIGKILL)
    assert took_s < 20
