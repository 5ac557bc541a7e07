"""Adapters over emulated clusters, and pilots that write down what they hear."""

import contextlib
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.model.resources import Resources
from harvester_adapters.local import step
from harvester_adapters.local.adapter import LocalAdapter

PILOT = """
import os, signal, subprocess, sys, time
mode = sys.argv[1]
def say(*words):
    print(*words, time.time(), flush=True)
def hear(number, frame):
    say("heard", signal.Signals(number).name)
    if mode != "stubborn":
        sys.exit(7 if mode == "failing" else 0)
signal.signal(signal.SIGTERM, hear)
signal.signal(signal.SIGINT, hear)
if mode == "orphans":
    subprocess.Popen(["/bin/sh", "-c", "setsid sleep 987 & sleep 988"])
    subprocess.Popen(["sleep", "989"], start_new_session=True)
say("up", os.getpid(), os.environ["HARVESTER_BATCH_JOB_ID"], os.environ["HARVESTER_NODE_NAME"],
    os.environ["HARVESTER_JOB_END_TIME"], os.environ.get("CUDA_VISIBLE_DEVICES", "unset") or "none", len(os.environ))
if mode == "short":
    sys.exit(0)
if mode == "crash":
    sys.exit(3)
while True:
    time.sleep(60)
"""


class Cluster:
    """An adapter with the settings of one test, and orders for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.adapters: list[LocalAdapter] = []

    def open(self, *, nodes=2, cpus=2, gpus=0, grace=5.0, kill_wait=5.0, **more) -> LocalAdapter:
        adapter = LocalAdapter(
            state_dir=self.folder / "state of it",  # a blank, which psij's own launcher does not survive
            nodes=nodes,
            node_resources=Resources(cpus=cpus, gpus=gpus),
            grace=timedelta(seconds=grace),
            kill_wait=timedelta(seconds=kill_wait),
            tick=timedelta(seconds=0.05),
            **more,
        )
        self.adapters.append(adapter)
        return adapter

    def order(self, name="pilot", mode="good", *, cpus=2, gpus=0, walltime=60.0, partition="harvest") -> PilotOrder:
        return PilotOrder(
            pilot_id=name,
            name=name,
            partition=partition,
            resources=Resources(cpus=cpus, gpus=gpus),
            walltime=timedelta(seconds=walltime),
            command=(sys.executable, "-c", PILOT, mode),
            output=self.output(name),
        )

    def output(self, name="pilot") -> Path:
        return self.folder / f"{name} output"

    def words(self, name="pilot") -> list[str]:
        """Return the first line of a pilot's output once it is up."""
        wait_for(lambda: self.output(name).exists() and "\n" in self.output(name).read_text())
        return self.output(name).read_text().splitlines()[0].split()

    def pid(self, name="pilot") -> int:
        return int(self.words(name)[1])


def wait_for(condition, timeout=10.0):
    """Return the first true value of `condition()`."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def batch_job(adapter, batch_job_id):
    return next(job for job in adapter.snapshot().batch_jobs if job.batch_job_id == batch_job_id)


def wait_for_state(adapter, batch_job_id, state, timeout=10.0):
    return wait_for(
        lambda: batch_job(adapter, batch_job_id).state is state and batch_job(adapter, batch_job_id), timeout
    )


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the living steps of one state folder and all processes below them."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if step.__file__ in words and any(str(folder) in word for word in words):
                found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(name="local")
def _local(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    for adapter in cluster.adapters:
        adapter.shutdown(patience=timedelta(0))
    for process in processes_of(tmp_path):  # what a failed test has left
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(process.pid, signal.SIGKILL)
