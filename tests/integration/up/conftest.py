"""`harvester up` as a process of its own, over the local scheduler."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

UP = (sys.executable, "-c", "from harvester.cli import main; main()", "up")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class System:
    """One state folder, and the `harvester up` that runs over it."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.port = port
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        here = ("--scheduler", "local", "--nodes", "2", "--cpus", "2")
        argv = (*UP, *here, "--state", str(self.state), "--port", str(self.port), *options)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.until(self._is_ready, "the gateway answers")

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"harvester up ended: {self.process.communicate()[0]}")
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def client(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {(self.state / 'tokens' / 'user').read_text().strip()}"}
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=90)

    def until(self, holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        give_up_at = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > give_up_at:
                pytest.fail(f"not within {seconds:g} s: {what}\n{self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        path = self.state / "harvester.log"
        return path.read_text()[-4000:] if path.exists() else ""

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        """End it as Ctrl-C does; return the exit code and what it printed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        printed, _ = self.process.communicate(timeout=60)
        return self.process.returncode, printed

    def pilot_processes(self) -> list[psutil.Process]:
        """The processes of this system's pilots, found by the state folder in their command line."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if any(part.startswith(str(self.state / "pilots")) for part in command):
                found.append(process)
        return found

    def clean_up(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        for process in self.pilot_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "state", free_port())
    yield system
    system.clean_up()


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run an `up` that must end by itself; return its exit code and the line that it printed."""

    def run(*options: str) -> tuple[int, str]:
        environment = {**os.environ, "COLUMNS": "80"}
        argv = (*UP, "--state", str(tmp_path / "refused"), *options)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environment)
        assert done.stdout == ""
        return done.returncode, done.stderr

    return run
