"""One `harvester up` over a one-machine Slurm: started, killed, started again; its commands to Slurm are counted.

Owns the process and its state folder. What the daemon shall do is said by settings, as on its command line.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.site.command_count import CommandCount
from benchmarks.site.slurm import Site
from harvester.sdk.client import Client

START_S, STOP_S = 60.0, 60.0


class HarvestError(Exception):
    """It did not start; the message has its words."""


class HarvestUp:
    """A harvester over `site`, with its state in `folder`, always at the same port."""

    def __init__(self, site: Site, folder: Path, *options: str) -> None:
        self._site = site
        self.state = folder / "state"
        self.commands = CommandCount(folder)
        self.log = folder / "up.log"
        self._environment = site.environment | {"PATH": self.commands.path(os.environ["PATH"])}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._options = ("--scheduler", "slurm", "--state", str(self.state), "--port", str(port), *options)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens. Raises `HarvestError`."""
        endpoint = self.state / "endpoint.json"
        endpoint.unlink(missing_ok=True)
        command = [sys.executable, "-m", "harvester.cli", "up", *self._options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not endpoint.exists():
            if not self.is_running:
                raise HarvestError(f"harvester up ended: {self.log.read_text()[-500:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise HarvestError(f"harvester up did not listen within {START_S:.0f} s")
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def client(self) -> Client:
        """Return an admin's client."""
        url = json.loads((self.state / "endpoint.json").read_text())["url"]
        return Client(url=url, token=(self.state / "tokens/admin").read_text().strip())

    def kill(self) -> None:
        """kill -9 of gateway and daemon; pilots live on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it; pilots leave first."""
        if self.process is None or not self.is_running:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def keep(self, folder: Path) -> None:
        """Copy what tells how it went into `folder`: its log, its commands, and the controller's log."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*self.state.glob("*.log"), self.log, self.commands.log, self._site.controller_log):
            shutil.copy(path, folder / path.name)

    def agents(self) -> list[psutil.Process]:
        """Return the pilots' agent processes on this machine, not what they forked."""
        mine: dict[int, psutil.Process] = {}
        for process in psutil.process_iter(["cmdline", "ppid"]):
            line = process.info["cmdline"] or []
            if "harvester_worker" in line and any(str(self.state) in word for word in line) and "srun" not in line[0]:
                mine[process.pid] = process
        return [process for process in mine.values() if process.info["ppid"] not in mine]


@contextmanager
def harvest_up(site: Site, *options: str) -> Iterator[HarvestUp]:
    """Yield a harvester that runs, and end it."""
    with tempfile.TemporaryDirectory(prefix="harvester-up-", ignore_cleanup_errors=True) as folder:
        harvest = HarvestUp(site, Path(folder), *options)
        try:
            harvest.start()
            yield harvest
        finally:
            harvest.stop()


def settings(**values: object) -> list[str]:
    """Return `--set harvest.NAME=VALUE` for each."""
    return [
        word
        for name, value in values.items()
        for word in ("--set", f"harvest.{name}={str(value).lower() if isinstance(value, bool) else value}")
    ]
