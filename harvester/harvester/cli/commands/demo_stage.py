"""The demo's stage: a `harvester up` in a process of its own, and a prime batch job that takes the nodes back.

Owns the difference between the embedded local scheduler, a real Slurm and a real PBS, as far as the demo sees it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from harvester.sdk.errors import HarvesterError

Say = Callable[[str], None]

NODES, CPUS = 2, 2


class DemoError(HarvesterError):
    """The story went another way."""


class Stage:
    """A running harvester, as a user knows it: a URL and a token."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        endpoint = json.loads((folder / "endpoint.json").read_text())
        self.folder = folder
        self.url: str = endpoint["url"]
        self.token_file = folder / "tokens" / "admin"
        self.token = self.token_file.read_text().strip()
        self._process = process

    @property
    def is_alive(self) -> bool:
        """Whether `harvester up` still runs."""
        return self._process.poll() is None

    def reclaim(self, duration_s: float, say: Say) -> float:
        """Take all nodes with a prime batch job for `duration_s`; return the seconds until it ran."""
        raise NotImplementedError

    def _measure(self, is_running: Callable[[], bool]) -> float:
        begun_at = time.monotonic()
        while not is_running():
            if time.monotonic() - begun_at > 90:
                raise DemoError("the prime batch job did not start within 90 s")
            time.sleep(0.05)
        return time.monotonic() - begun_at


class LocalStage(Stage):
    """On the embedded local scheduler."""

    def reclaim(self, duration_s: float, say: Say) -> float:
        """As `Stage.reclaim`."""
        from harvester.domain.cluster.snapshot import BatchState  # noqa: PLC0415 - the demo starts faster without
        from harvester_adapters.local.files import read_state, request_prime  # noqa: PLC0415 - as above

        scheduler = self.folder / "local"
        prime = request_prime(scheduler, NODES, timedelta(seconds=duration_s))
        say(f"a prime batch job wants all {NODES} nodes")
        states = (BatchState.RUNNING, BatchState.COMPLETED)
        return self._measure(
            lambda: any(j.batch_job_id == prime and j.state in states for j in read_state(scheduler).batch_jobs)
        )


class SlurmStage(Stage):
    """On the Slurm that answers here."""

    def reclaim(self, duration_s: float, say: Say) -> float:
        """As `Stage.reclaim`."""
        nodes = len(_output("sinfo", "--noheader", "--Node", "--format=%N", "--partition=prime").split())
        wrap = f"sleep {duration_s:.0f}"
        command = ("sbatch", "--parsable", "--partition=prime", f"--nodes={nodes}", "--exclusive")
        prime = _output(*command, "--job-name=prime-demo", "--output=/dev/null", f"--wrap={wrap}").strip()
        say(f"prime batch job {prime} wants all {nodes} nodes")
        started = ("RUNNING", "COMPLETING", "COMPLETED")
        return self._measure(lambda: _output("squeue", "-h", "-t", "all", "-j", prime, "-o", "%T").strip() in started)


class PbsStage(Stage):
    """On the PBS that answers here."""

    def reclaim(self, duration_s: float, say: Say) -> float:
        """As `Stage.reclaim`."""
        found = json.loads(_output("pbsnodes", "-a", "-F", "json"))["nodes"].values()
        cpus = [each["resources_available"]["ncpus"] for each in found if _is_in_service(str(each["state"]))]
        # The smallest of the nodes decides what each chunk may ask for.
        chunks = ("-l", f"select={len(cpus)}:ncpus={min(cpus)}", "-l", "place=scatter")
        where = ("-N", "prime-demo", "-q", "prime", "-o", "/dev/null", "-e", "/dev/null")
        command = ("qsub", "-f", *where, *chunks, "-l", f"walltime={duration_s + 60:.0f}")
        prime = _output(*command, "--", "/bin/sleep", f"{duration_s:.0f}").strip()
        say(f"prime batch job {prime} wants all {len(cpus)} nodes")
        return self._measure(lambda: re.search("job_state = [REF]", _output("qstat", "-x", "-f", prime)) is not None)


def _is_in_service(state: str) -> bool:
    return not {"offline", "down", "state-unknown", "Stale"} & set(state.split(","))


STAGES: dict[str, type[Stage]] = {"local": LocalStage, "slurm": SlurmStage, "pbs": PbsStage}


@contextmanager
def open_stage(scheduler: str, folder: Path, say: Say) -> Iterator[Stage]:
    """Start a harvester over `folder` and yield its stage; end it, and remove the folder, at the end."""
    kind = answering() if scheduler == "auto" else scheduler
    options = ["--scheduler", kind, "--state", str(folder), "--port", "0", "--ready", "2"]
    size = ["--nodes", str(NODES), "--cpus", str(CPUS)] if kind == "local" else []
    say(" ".join(["harvester up", *options[:2], "--ready 2", *size]))
    log = folder / "demo.log"
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches the demo, which ends it in order.
        process = subprocess.Popen(
            [sys.executable, "-m", "harvester.cli", "up", *options, *size],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for_endpoint(folder, process, log)
        stage = STAGES[kind](folder, process)
        say(f"the gateway listens on {stage.url}")
        yield stage
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_endpoint(folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while not (folder / "endpoint.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"harvester up did not start:\n{log.read_text(errors='replace').strip()}")
        time.sleep(0.05)


def answering() -> str:
    """Return the scheduler that answers here and has `prime` and `harvest`, as partitions or as queues."""
    questions = {"slurm": ("sinfo", "--noheader", "--format=%R"), "pbs": ("qstat", "-Q")}
    for kind, command in questions.items():
        if shutil.which(command[0]) is None:
            continue
        with contextlib.suppress(DemoError):
            if {"prime", "harvest"} <= set(_output(*command).split()):
                return kind
    return "local"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", "") or str(error)
        raise DemoError(f"{command[0]} failed: {words.strip()}") from error
    return done.stdout
