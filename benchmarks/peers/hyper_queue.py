"""HyperQueue: a local server with one worker of two CPUs, Python functions of one batch job; results stay in files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.peers.face import WORKERS, Base, NotOffered, Sizes, nothing


class HyperQueue(Base):
    sizes = Sizes(submits=40, round_trips=10)

    def start(self) -> None:
        from hyperqueue import Job, LocalCluster  # noqa: PLC0415 - not everybody has it
        from hyperqueue.cluster import WorkerConfig  # noqa: PLC0415 - as above

        self._folder = tempfile.TemporaryDirectory(prefix="hq-bench-")
        self._job = Job
        self._cluster = LocalCluster()
        self._cluster.start_worker(WorkerConfig(cores=WORKERS))
        self._client = self._cluster.client()
        self.submit_gather(2)

    def submit_gather(self, count: int) -> None:
        batch = self._job(default_workdir=Path(self._folder.name))
        for _ in range(count):
            batch.function(nothing)
        self._client.wait_for_jobs([self._client.submit(batch)])

    def round_trip(self) -> None:
        self.submit_gather(1)

    def echo(self, payload: bytes) -> bytes:
        raise NotOffered

    def stop(self) -> None:
        self._cluster.stop()
        self._folder.cleanup()


def peer() -> HyperQueue:
    return HyperQueue()
