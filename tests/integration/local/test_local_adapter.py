"""The local scheduler with real processes."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import psutil
import pytest

from harvester.domain.cluster.ports import SchedulerAdapter, SchedulerError, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState
from harvester_adapters.local.files import read_state, request_prime

from .conftest import batch_job, processes_of, wait_for, wait_for_state

SECOND = timedelta(seconds=1)


def test_a_pilot_runs_on_a_node_and_is_told_about_itself(local):
    adapter: SchedulerAdapter = local.open(gpus=2)
    started = time.time()
    batch_job_id = adapter.submit(local.order(gpus=1, walltime=60.0))
    _, pid, told_id, node, end, gpus, variables, *_ = local.words()
    seen = batch_job(adapter, batch_job_id)
    assert (seen.state, seen.name, seen.nodes) == (BatchState.RUNNING, "pilot", (node,))
    assert told_id == batch_job_id
    assert started + 59 <= int(end) <= time.time() + 60
    assert gpus == "0"
    assert int(variables) < 20, "the daemon's environment must not leak"
    assert os.getsid(int(pid)) != os.getsid(0)
    assert {n.name: n.state for n in adapter.snapshot().nodes} == {"n1": NodeState.ALLOCATED, "n2": NodeState.IDLE}


def test_the_exit_code_decides_how_a_pilot_ended(local):
    adapter = local.open()
    short, crash = adapter.submit(local.order("a", "short")), adapter.submit(local.order("b", "crash"))
    wait_for_state(adapter, short, BatchState.COMPLETED)
    assert wait_for_state(adapter, crash, BatchState.FAILED).reason == "exit code 3"


def test_a_command_that_does_not_exist_fails_and_says_so_in_its_output(local):
    adapter = local.open()
    order = local.order()
    batch_job_id = adapter.submit(
        type(order)(**{f: getattr(order, f) for f in order.__struct_fields__} | {"command": ("/no/such",)})
    )
    wait_for_state(adapter, batch_job_id, BatchState.FAILED)
    assert "cannot start /no/such" in local.output().read_text()


def test_several_pilots_on_a_node_have_different_gpus(local):
    adapter = local.open(nodes=1, cpus=4, gpus=2)
    for name in ("a", "b"):
        adapter.submit(local.order(name, cpus=1, gpus=1))
    third = adapter.submit(local.order("c", cpus=2))
    assert {local.words(name)[3] for name in "abc"} == {"n1"}
    assert {local.words(name)[5] for name in "ab"} == {"0", "1"}
    wait_for_state(adapter, third, BatchState.RUNNING)
    assert local.words("c")[5] == "none"


def test_a_prime_batch_job_evicts_a_pilot_and_starts_when_it_is_gone(local):
    adapter = local.open(nodes=1)
    pilot = adapter.submit(local.order(mode="failing"))
    local.words()
    prime = adapter.submit_prime(1, timedelta(seconds=0.3))
    wait_for_state(adapter, prime, BatchState.RUNNING)
    assert "heard SIGTERM" in local.output().read_text()
    gone = batch_job(adapter, pilot)
    assert gone.state is BatchState.PREEMPTED  # never FAILED, whatever its exit code
    assert gone.preempt_at is not None
    wait_for_state(adapter, prime, BatchState.COMPLETED)


def test_a_stubborn_pilot_is_killed_when_the_grace_time_is_over(local):
    adapter = local.open(nodes=1, grace=2.0)
    pilot = adapter.submit(local.order(mode="stubborn"))
    local.words()
    asked = time.time()
    prime = adapter.submit_prime(1, SECOND)
    wait_for(lambda: "heard SIGTERM" in local.output().read_text())
    assert batch_job(adapter, pilot).state is BatchState.RUNNING
    started = wait_for_state(adapter, prime, BatchState.RUNNING).start_at
    assert 2.0 <= started - asked < 30  # a stubborn pilot lives for a minute
    assert batch_job(adapter, pilot).state is BatchState.PREEMPTED


def test_nothing_that_a_pilot_started_outlives_it(local, tmp_path):
    adapter = local.open(grace=0.2)
    pilot = adapter.submit(local.order(mode="orphans"))
    pid = local.pid()
    wait_for(lambda: len([p for p in processes_of(tmp_path) if p.name() == "sleep"]) == 3)
    sleepers = [p for p in processes_of(tmp_path) if p.name() == "sleep"]
    os.kill(pid, signal.SIGKILL)
    assert wait_for_state(adapter, pilot, BatchState.FAILED).reason == "killed by signal 9"
    assert not any(p.is_running() for p in sleepers)


def test_a_cancelled_pilot_hears_sigterm_and_a_waiting_one_never_starts(local):
    adapter = local.open(nodes=1)
    running, waiting = adapter.submit(local.order("a")), adapter.submit(local.order("b"))
    local.words("a")
    adapter.cancel(waiting)
    adapter.cancel(running)
    wait_for_state(adapter, running, BatchState.CANCELLED)
    assert batch_job(adapter, waiting).state is BatchState.CANCELLED
    assert "heard SIGTERM" in local.output("a").read_text()
    assert not local.output("b").exists()
    adapter.cancel(running)
    adapter.cancel("4711")


def test_a_held_pilot_waits_until_it_is_released_and_a_running_one_cannot_be_held(local):
    adapter = local.open(nodes=1)
    running, waiting = adapter.submit(local.order("a")), adapter.submit(local.order("b"))
    local.words("a")
    adapter.hold(running, waiting, "4711")
    assert (batch_job(adapter, waiting).is_held, batch_job(adapter, running).is_held) == (True, False)
    adapter.cancel(running)
    wait_for_state(adapter, running, BatchState.CANCELLED)
    assert batch_job(adapter, waiting).state is BatchState.PENDING, "its node is free"
    assert {job.batch_job_id for job in adapter.glance()} == {waiting}
    assert [job.state for job in adapter.ended([running])] == [BatchState.CANCELLED]
    adapter.release(waiting)
    wait_for_state(adapter, waiting, BatchState.RUNNING)


def test_a_pilot_that_is_cancelled_before_its_process_is_up_ends_all_the_same(local):
    adapter = local.open()
    pilot = adapter.submit(local.order())
    wait_for(lambda: batch_job(adapter, pilot).state is not BatchState.PENDING)
    adapter.cancel(pilot)
    wait_for_state(adapter, pilot, BatchState.CANCELLED)


def test_a_stopped_pilot_hears_its_eviction(local):
    adapter = local.open(nodes=1)
    adapter.submit(local.order())
    os.kill(local.pid(), signal.SIGSTOP)
    prime = adapter.submit_prime(1, SECOND)
    wait_for_state(adapter, prime, BatchState.RUNNING, timeout=2.0)


def test_the_walltime_ends_a_pilot_by_sigterm_and_a_stubborn_one_by_sigkill(local):
    adapter = local.open(kill_wait=0.3)
    good = adapter.submit(local.order("a", walltime=0.8))
    stubborn = adapter.submit(local.order("b", "stubborn", walltime=0.8))
    for batch_job_id, name in ((good, "a"), (stubborn, "b")):
        wait_for_state(adapter, batch_job_id, BatchState.TIMEOUT)
        assert "heard SIGTERM" in local.output(name).read_text()


def test_what_can_never_run_is_refused(local):
    adapter = local.open(cpus=2)
    with pytest.raises(
        SubmissionRejected, match="asks for 3 CPUs, more than any node has: the largest, n1, has 2 CPUs"
    ):
        adapter.submit(local.order(cpus=3))
    with pytest.raises(SubmissionRejected, match="not in 'short'"):
        adapter.submit(local.order(partition="short"))
    with pytest.raises(SubmissionRejected, match="ask for 1 to 2"):
        adapter.submit_prime(3, SECOND)
    assert adapter.snapshot().batch_jobs == ()


def test_another_process_can_ask_for_a_prime_batch_job_and_watch_it(local):
    adapter = local.open(nodes=2)
    folder = local.folder / "state of it"
    pilot = adapter.submit(local.order())
    local.words()
    code = (
        "import sys, datetime, pathlib; from harvester_adapters.local.files import request_prime;"
        "print(request_prime(pathlib.Path(sys.argv[1]), 2, datetime.timedelta(seconds=0.3), 'big'))"
    )
    prime = subprocess.check_output([sys.executable, "-c", code, str(folder)], text=True).strip()
    wait_for(lambda: any(j.batch_job_id == prime and j.state.is_ended for j in read_state(folder).batch_jobs))
    assert batch_job(adapter, pilot).state is BatchState.PREEMPTED
    with pytest.raises(SubmissionRejected, match="ask for 1 to 2"):
        request_prime(folder, 3, SECOND)


def test_a_request_that_cannot_be_read_harms_nobody(local, caplog):
    adapter = local.open()
    bad = local.folder / "state of it" / "spool" / "bad.json"
    bad.write_text("{")
    wait_for(lambda: not bad.exists())
    assert "is not a request" in caplog.text
    wait_for_state(adapter, adapter.submit_prime(1, SECOND), BatchState.RUNNING)


def test_without_a_running_scheduler_a_request_is_refused(local):
    with pytest.raises(SchedulerUnavailable, match="no local scheduler runs"):
        request_prime(local.folder / "state of it", 1, SECOND)
    with pytest.raises(SchedulerUnavailable, match="no local cluster"):
        read_state(local.folder / "state of it")
    local.open().close()
    with pytest.raises(SchedulerUnavailable, match="no local scheduler runs"):
        request_prime(local.folder / "state of it", 1, SECOND)


def test_one_state_folder_has_one_scheduler(local):
    local.open()
    with pytest.raises(SchedulerError, match="already runs"):
        local.open()


def test_close_leaves_pilots_and_the_next_adapter_takes_them_up_with_their_exit_code(local):
    first = local.open()
    pilot = first.submit(local.order("a"))
    crash = first.submit(local.order("b", "failing"))
    pids = [local.pid(name) for name in "ab"]
    first.close()
    first.close()
    with pytest.raises(SchedulerUnavailable, match="was closed"):
        first.submit(local.order())
    os.kill(pids[1], signal.SIGTERM)  # ends while nobody looks
    wait_for(lambda: not psutil.pid_exists(pids[1]))
    second = local.open()
    assert wait_for_state(second, crash, BatchState.FAILED).reason == "exit code 7"
    assert batch_job(second, pilot).state is BatchState.RUNNING
    assert second.submit(local.order("c", "short")) not in {pilot, crash}
    second.shutdown()
    assert not psutil.pid_exists(pids[0])
    assert batch_job(second, pilot).state is BatchState.CANCELLED


def test_pilots_are_not_taken_up_on_nodes_of_another_shape(local):
    first = local.open(nodes=2)
    first.submit(local.order())
    local.words()
    first.close()
    with pytest.raises(SchedulerError, match=r"1 running pilots on 2 nodes of 2 CPUs.*with 3 nodes of 2 CPUs"):
        local.open(nodes=3)
    local.open(nodes=2).shutdown()
    local.open(nodes=3)


def test_a_pilot_whose_daemon_died_before_it_started_is_not_waited_for(local, monkeypatch):
    monkeypatch.setattr(
        "harvester_adapters.local.adapter.Processes.start", lambda *_: None
    )  # as kill -9 at that moment
    first = local.open()
    batch_job_id = first.submit(local.order())
    first.close()
    monkeypatch.setattr("harvester_adapters.local.processes.BOOT_LIMIT_S", 0.3)
    second = local.open()
    assert "never started" in wait_for_state(second, batch_job_id, BatchState.NODE_FAIL).reason


def test_a_step_ends_a_pilot_that_nobody_else_ends(local):
    adapter = local.open(kill_wait=0.0)
    adapter.submit(local.order(mode="stubborn", walltime=0.5))
    pid = local.pid()
    adapter.close()
    wait_for(lambda: not psutil.pid_exists(pid), timeout=10.0)
    assert "heard" not in local.output().read_text()


DAEMON = """
import sys, time, datetime, pathlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from harvester.domain.model.resources import Resources
from harvester_adapters.local.adapter import LocalAdapter
from harvester.domain.cluster.ports import PilotOrder
import msgspec
folder, output, *command = sys.argv[1:]
adapter = LocalAdapter(state_dir=pathlib.Path(folder), nodes=2, node_resources=Resources(cpus=2),
    grace=datetime.timedelta(seconds=5), tick=datetime.timedelta(seconds=0.05))
print(adapter.submit(PilotOrder(pilot_id="p", name="p", partition="harvest", resources=Resources(cpus=2),
    walltime=datetime.timedelta(seconds=60), command=tuple(command), output=pathlib.Path(output))), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_pilots_outlive_the_death_of_the_daemon_and_its_terminal(local, number):
    order = local.order()
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(local.folder / "state of it"), str(order.output), *order.command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with daemon:
        batch_job_id = daemon.stdout.readline().strip()
        pid = local.pid()
        os.killpg(daemon.pid, number)  # Ctrl-C goes to the whole foreground group
    adapter = local.open()
    time.sleep(0.2)
    assert batch_job(adapter, batch_job_id).state is BatchState.RUNNING
    assert "heard" not in local.output().read_text()
    prime = adapter.submit_prime(2, SECOND)
    wait_for_state(adapter, prime, BatchState.RUNNING)
    assert batch_job(adapter, batch_job_id).state is BatchState.PREEMPTED
    assert "heard SIGTERM" in local.output().read_text()
    assert not psutil.pid_exists(pid)


def test_a_pilot_whose_step_was_killed_too_is_a_node_failure_and_leaves_nothing(local, tmp_path):
    adapter = local.open()
    batch_job_id = adapter.submit(local.order(mode="stubborn"))
    pid = local.pid()
    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
    wait_for_state(adapter, batch_job_id, BatchState.NODE_FAIL)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_shutdown_ends_stubborn_pilots_within_its_patience(local, tmp_path):
    adapter = local.open()
    adapter.submit(local.order(mode="stubborn"))
    local.words()
    began = time.monotonic()
    adapter.shutdown(patience=timedelta(seconds=0.3))
    assert 0.3 <= time.monotonic() - began < 30  # a stubborn pilot lives for a minute
    assert processes_of(tmp_path) == []


def test_ended_pilots_are_forgotten_and_their_files_removed(local):
    adapter = local.open(keep_ended=timedelta(seconds=0.3))
    adapter.submit(local.order(mode="short"))
    wait_for(lambda: adapter.snapshot().batch_jobs == ())
    wait_for(lambda: list((local.folder / "state of it" / "steps").iterdir()) == [])


def test_importing_the_local_scheduler_does_not_import_psij():
    code = "import sys, harvester_adapters.local.adapter; sys.exit('psij' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
