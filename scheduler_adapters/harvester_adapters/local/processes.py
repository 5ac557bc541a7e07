"""The processes of local pilots: start, signal, look whether they are still there, clean up.

Owns the folder `steps/` of the state folder, one folder a pilot. A pilot is found again by it after a restart: neither
memory nor parenthood is needed. Knows nothing of nodes and grace times.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil

from harvester_adapters.local.state import Exited, LocalBatchJob, Vanished
from harvester_adapters.local.step import EXIT, ORDER, PROCESS, start_ticks

PASSED_ON = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
# A step that has not written its pid this long after its start will not: the daemon died between order and start.
BOOT_LIMIT_S = 10.0


class Processes:
    """All local pilots' processes.

    Parameters
    ----------
    folder: where their folders are, made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = Path.cwd()
        self._launch: Callable[[Path, dict[str, str]], None]

    def warm_up(self) -> None:
        """Import psij and start its thread. Call it, as all of this class, from one thread, not the main one."""
        from harvester_adapters.local import psij  # noqa: PLC0415 - slow, and wants the thread that it runs in

        self._launch = partial(psij.submit, psij.executor(self._folder))

    def start(self, job: LocalBatchJob, gpus_on_node: int, kill_at: float) -> None:
        """Start a pilot's step, which itself kills the pilot at `kill_at`.

        Raises `OSError` or psij's `SubmitException` where no process can be started.
        """
        folder = self._folder / job.batch_job_id
        folder.mkdir(mode=0o700)
        order = {
            "command": job.command,
            "output": str(Path(job.output).absolute()),
            "directory": str(self._directory),
            "kill_at": kill_at,
        }
        (folder / ORDER).write_text(json.dumps(order))
        self._launch(folder, environment(job, gpus_on_node))

    def send(self, batch_job_id: str, number: signal.Signals) -> bool:
        """Send a signal to all processes of a pilot, not to its step; False where the pilot is not there yet."""
        step = self._step(batch_job_id)
        if step is None:
            return False
        processes = _below(step)
        for process in processes:
            try:
                if number is not signal.SIGKILL:
                    process.send_signal(signal.SIGCONT)  # as Slurm does: a stopped process hears nothing
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        return bool(processes) or start_ticks(step) is None or self._exit(batch_job_id) is not None

    def look(self, job: LocalBatchJob, now: float) -> Exited | Vanished | None:
        """Return how a running pilot ended; None while it is there."""
        step = self._step(job.batch_job_id)
        is_there = step is not None and self._is_alive(job.batch_job_id)
        code = self._exit(job.batch_job_id)  # asked after is_there: a step writes it before it ends
        if code is not None:
            return Exited(batch_job_id=job.batch_job_id, exit_code=code)
        if is_there:
            return None
        if step is None:
            if now < (job.started_at or now) + BOOT_LIMIT_S:
                return None
            self.forget(job.batch_job_id)  # should its step come after all, it finds no order
            return Vanished(batch_job_id=job.batch_job_id, reason="its process was never started")
        _kill_session(step)
        return Vanished(batch_job_id=job.batch_job_id, reason="its processes are gone without a recorded exit code")

    def forget(self, batch_job_id: str) -> None:
        """Remove what is on disk of a pilot that is over."""
        shutil.rmtree(self._folder / batch_job_id, ignore_errors=True)

    def forget_all_but(self, known: set[str]) -> None:
        """Remove the folders of pilots that nobody remembers."""
        for folder in self._folder.iterdir():
            if folder.name not in known:
                self.forget(folder.name)

    def _record(self, batch_job_id: str, name: str) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = msgspec.json.decode((self._folder / batch_job_id / name).read_bytes(), type=dict)
        except FileNotFoundError:
            return None
        return record

    def _step(self, batch_job_id: str) -> int | None:
        record = self._record(batch_job_id, PROCESS)
        return None if record is None else int(record["pid"])

    def _is_alive(self, batch_job_id: str) -> bool:
        record = self._record(batch_job_id, PROCESS)
        return record is not None and start_ticks(record["pid"]) == record["start_ticks"]

    def _exit(self, batch_job_id: str) -> int | None:
        record = self._record(batch_job_id, EXIT)
        return None if record is None else int(record["exit_code"])


def environment(job: LocalBatchJob, gpus_on_node: int) -> dict[str, str]:
    """Return a pilot's whole environment: little of ours, and what a scheduler tells its batch jobs."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    told = {
        "HARVESTER_BATCH_JOB_ID": job.batch_job_id,
        "HARVESTER_NODE_NAME": job.nodes[0],
        "HARVESTER_JOB_END_TIME": str(int(job.end_at or 0)),
    }
    if gpus_on_node:
        told["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, job.gpu_ids))
    return passed_on | told


def _below(step: int) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(step).children(recursive=True) if start_ticks(child.pid) is not None]
    except psutil.NoSuchProcess:
        return []


def _kill_session(leader: int) -> None:
    """Kill what is left of a session whose leader is gone."""
    if start_ticks(leader) is not None:
        return  # it lives, so the number was given away again, and the session is empty: it would have kept the number
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
