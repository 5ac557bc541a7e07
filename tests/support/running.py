"""A whole harvester as its users start it: `harvester up` in a process of its own, to be killed and started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import psutil

import harvester

T = TypeVar("T")


def free_port() -> int:
    """Return a port that nobody listens at now, for a system that is started again at the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """One `harvester up` over one state folder."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.log = state.parent / f"{state.name}.log"

    def start(self, timeout_s: float = 20.0) -> "Running":
        self.endpoint_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "harvester.cli", "up", "--state", str(self.state), *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.wait_for(self.endpoint_file.exists, "the gateway to listen", timeout_s)
        return self

    @property
    def endpoint_file(self) -> Path:
        return self.state / "endpoint.json"

    @property
    def url(self) -> str:
        return str(json.loads(self.endpoint_file.read_text())["url"])

    def token(self, role: str = "admin") -> str:
        return (self.state / "tokens" / role).read_text().strip()

    def client(self, role: str = "admin") -> harvester.Client:
        return harvester.Client(url=self.url, token=self.token(role))

    def wait_for(self, condition: Callable[[], T], what: str, timeout_s: float = 20.0, interval_s: float = 0.02) -> T:
        """Wait until `condition()` is true and return its value; on a time-out show the log's end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := condition():
                return value
            assert self.process is None or self.process.poll() is None, f"harvester up ended:\n{self.tail()}"
            time.sleep(interval_s)
        raise AssertionError(f"waited {timeout_s:.0f} s for {what}\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def kill(self) -> None:
        """kill -9, gateway and daemon alike; pilots live on."""
        assert self.process is not None, "it does not run"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self, timeout_s: float = 60.0) -> int:
        """Ctrl-C."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process = None

    def agents(self) -> list[psutil.Process]:
        """The pilots' agent processes on this machine that serve this state folder; not what they forked."""
        mine = {}
        for process in psutil.process_iter(["cmdline", "ppid"]):
            line = process.info["cmdline"] or []
            if "harvester_worker" in line and any(str(self.state) in word for word in line) and "srun" not in line[0]:
                mine[process.pid] = process
        return [process for process in mine.values() if process.info["ppid"] not in mine]

    def agent(self, pilot_id: str) -> psutil.Process:
        """The agent process of one pilot."""
        (found,) = [each for each in self.agents() if any(pilot_id in word for word in each.info["cmdline"])]
        return found

    @staticmethod
    def below(agents: Iterable[psutil.Process]) -> list[psutil.Process]:
        """What these agents have forked: zygotes, slots, and what functions started."""
        found = []
        for agent in agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += agent.children(recursive=True)
        return found

    def kill_pilots(self) -> None:
        """kill -9 of what is left of the pilots, after a test that failed."""
        agents = self.agents()
        for process in [*self.below(agents), *agents]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
