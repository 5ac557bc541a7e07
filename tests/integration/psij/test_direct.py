"""Pilots through an executor of PSI/J that runs no commands, as Flux's does: here PSI/J's own `local` one."""

import sys
import threading
import time
from datetime import timedelta

import pytest
from msgspec.structs import replace
from psij.executors.local import LocalJobExecutor

from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable, SubmissionRejected, SubmissionUnsent
from harvester.domain.cluster.snapshot import BatchState
from harvester.domain.model.resources import Resources
from harvester_adapters.psij.flux import DirectPilots

SAYS = "import os, sys, time; print(dict(os.environ), flush=True); time.sleep(float(sys.argv[1]))"


class Local(LocalJobExecutor):
    """PSI/J's own, which leaves pipes to the garbage collector."""

    def _process_done(self, entry):
        super()._process_done(entry)
        if getattr(entry.process, "stdout", None) is not None:
            entry.process.stdout.close()


def direct(make=Local, seconds=5.0):
    return DirectPilots("local", make, environment={"GREETING": "good day"}, timeout=timedelta(seconds=seconds))


@pytest.fixture
def pilots(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # PSI/J keeps its launcher below it
    return direct()


def order(folder, seconds):
    return PilotOrder(
        pilot_id="p1",
        name="hv-p1",
        partition="idle",
        resources=Resources(cpus=1),
        walltime=timedelta(minutes=1),
        command=(sys.executable, "-c", SAYS, str(seconds)),
        output=folder / "output.txt",
    )


def state(pilots, batch_job_id):
    return [batch.state for batch in pilots.hints([batch_job_id])]


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pilot_runs_with_its_own_environment_and_is_cancelled(pilots, tmp_path):
    batch_job_id = pilots.submit_pilot(order(tmp_path, 60))
    assert state(pilots, batch_job_id) == [BatchState.RUNNING]
    output = tmp_path / "output.txt"
    wait_for(lambda: output.exists() and output.read_text())
    assert "good day" in output.read_text()
    assert "PYTEST_CURRENT_TEST" not in output.read_text()
    pilots.cancel_pilots([batch_job_id])
    wait_for(lambda: state(pilots, batch_job_id) == [BatchState.CANCELLED])
    pilots.cancel_pilots([batch_job_id])  # it is over: no error


def test_the_end_of_a_pilot_is_told_and_one_of_an_earlier_process_is_found_again(pilots, tmp_path):
    batch_job_id = pilots.submit_pilot(order(tmp_path, 3))
    assert state(direct(), batch_job_id) == [BatchState.RUNNING]
    wait_for(lambda: state(pilots, batch_job_id) == [BatchState.COMPLETED])


def test_what_the_executor_does_not_know_is_not_told(pilots):
    assert pilots.hints([str(2**31 - 1)]) == ()
    assert pilots.listed() == ()


def test_a_refused_submission_is_told_apart_from_one_that_takes_too_long(pilots, tmp_path):
    with pytest.raises(SubmissionRejected, match="local: the submission of hv-p1 failed"):
        pilots.submit_pilot(replace(order(tmp_path, 1), output=tmp_path / "missing" / "output.txt"))

    class Slow(Local):
        def submit(self, job):
            time.sleep(1)

    with pytest.raises(SchedulerUnavailable, match="the submission of hv-p1 was not answered in time"):
        direct(Slow, seconds=0.2).submit_pilot(order(tmp_path, 1))


def test_what_is_given_up_behind_calls_that_hang_is_not_done_later(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    submitted, answers = [], threading.Event()

    class Hangs(Local):
        def submit(self, job):
            submitted.append(job)
            answers.wait(30)

    hanging = direct(Hangs, seconds=0.1)
    for _ in range(4):
        with pytest.raises(SchedulerUnavailable, match="was not answered in time"):
            hanging.submit_pilot(order(tmp_path, 1))
    with pytest.raises(SubmissionUnsent, match="4 calls before it are not answered yet"):
        hanging.submit_pilot(order(tmp_path, 1))
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "psij-local")
    answers.set()
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "psij-local"])
    assert len(submitted) == 4
