"""A fresh system to measure: `harvester up` with one pilot of two slots, or one gateway alone, in its own process.

Run as a module it is that gateway: `python -m benchmarks.gateway.system --state DIR [--lease-s S]`, as `harvester up`
makes it, without a daemon; it writes its URL to DIR/url when it listens.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from harvester.sdk.client import Client

USER, ADMIN = "user-token", "admin-token"
DEADLINE_S = 60.0


@contextmanager
def harvester_up(cpus: int = 2) -> Iterator[tuple[Client, str]]:
    """Yield a client and its token of a fresh `harvester up`, SQLite with fsync, one pilot of `cpus` slots."""
    with tempfile.TemporaryDirectory(prefix="harvester-bench-") as folder:
        wishes = ["--scheduler", "local", "--nodes", "1", "--cpus", str(cpus), "--ready", "1", "--port", "0"]
        process = subprocess.Popen(
            [sys.executable, "-m", "harvester.cli", "up", "--state", folder, *wishes], stdout=subprocess.DEVNULL
        )
        try:
            url = json.loads(_written(Path(folder, "endpoint.json"), process))["url"]
            token = Path(folder, "tokens/user").read_text().strip()
            with Client(url=url, token=token) as client:
                yield client, token
        finally:
            process.terminate()
            process.wait()


def _written(file: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while not file.exists() or not file.read_text():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline, f"it did not listen within {DEADLINE_S:.0f} s"
        time.sleep(0.01)
    return file.read_text()


class OneGateway:
    """One gateway process over the state folder `folder`; may be killed and started again."""

    def __init__(self, folder: Path, lease_s: float = 60.0) -> None:
        self.folder, self._lease_s = folder, lease_s
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder}/harvester.db"

    def start(self) -> str:
        """Start it and return its URL, once it listens."""
        self.folder.mkdir(exist_ok=True)
        said = self.folder / "url"
        said.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.gateway.system", "--state", str(self.folder)]
        self.process = subprocess.Popen([*command, "--lease-s", str(self._lease_s)])
        return _written(said, self.process)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def rss_mb(self) -> float:
        """Memory in use now, in MB."""
        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    @property
    def peak_mb(self) -> float:
        """The most memory that was ever in use, in MB."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6

    @property
    def cpu_s(self) -> float:
        """Processor time so far, in seconds."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def allow_files() -> None:
    """Raise the limit on open files, of this process and its children, as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(folder: Path, lease_s: float) -> None:
    from harvester.cli.up import build  # noqa: PLC0415 - only the gateway's process needs it
    from harvester.cli.up.build_gateway import gateway_settings  # noqa: PLC0415 - as above
    from harvester.cli.up.process import prepare_process  # noqa: PLC0415 - as above
    from harvester.config_file import load_config  # noqa: PLC0415 - as above
    from harvester_api.app import create_app  # noqa: PLC0415 - as above
    from harvester_api.server import listen  # noqa: PLC0415 - as above

    config = load_config(None, {"state": str(folder), "gateway.lease_s": lease_s, "scheduler.kind": "local"})
    store = build.open_store(config)
    settings = gateway_settings(config, build.shapes(config, None), "{}-token".format)
    server = listen(create_app(settings, store), "127.0.0.1", 0)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    (folder / "url").write_text(server.url)
    prepare_process()
    try:
        server.run()
    finally:
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--lease-s", type=float, default=60.0)
    chosen = parser.parse_args()
    _serve(chosen.state, chosen.lease_s)


if __name__ == "__main__":
    main()
