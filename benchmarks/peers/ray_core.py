"""Ray: remote functions on a local cluster of two CPUs; `map` is its multiprocessing pool."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers.face import WORKERS, Base, nothing, same


class RayCore(Base):
    def start(self) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray  # noqa: PLC0415 - not everybody has it

        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=500_000_000,
            configure_logging=False,
        )
        self._ray = ray
        self._nothing, self._same = ray.remote(nothing), ray.remote(same)
        self._pool: Any = None
        ray.get([self._nothing.remote() for _ in range(200)])
        ray.get([self._same.remote(b"") for _ in range(20)])

    def submit_gather(self, count: int) -> None:
        self._ray.get([self._nothing.remote() for _ in range(count)])

    def map(self, count: int) -> None:
        if self._pool is None:
            from ray.util.multiprocessing import Pool  # noqa: PLC0415 - as above

            self._pool = Pool(WORKERS)
            self._pool.map(nothing, range(100))
        assert len(self._pool.map(nothing, range(count))) == count

    def round_trip(self) -> None:
        self._ray.get(self._nothing.remote())

    def echo(self, payload: bytes) -> bytes:
        return self._ray.get(self._same.remote(payload))

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
        self._ray.shutdown()


def peer() -> RayCore:
    return RayCore()
