"""Parsl: its HighThroughputExecutor on this machine with two workers; `map` is its executor's, with chunks."""

from __future__ import annotations

import tempfile

from benchmarks.peers.face import WORKERS, Base, nothing, same


class ParslHtex(Base):
    def start(self) -> None:
        import parsl  # noqa: PLC0415 - not everybody has it
        from parsl.concurrent import ParslPoolExecutor  # noqa: PLC0415 - as above
        from parsl.config import Config  # noqa: PLC0415 - as above
        from parsl.executors import HighThroughputExecutor  # noqa: PLC0415 - as above
        from parsl.providers import LocalProvider  # noqa: PLC0415 - as above

        self._folder = tempfile.TemporaryDirectory(prefix="parsl-bench-")
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            max_workers_per_node=WORKERS,
            cores_per_worker=1,
            encrypted=False,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        config = Config(
            executors=[executor], run_dir=self._folder.name, strategy="none", usage_tracking=0, initialize_logging=False
        )
        self._kernel = parsl.load(config)
        self._nothing = parsl.python_app(nothing, data_flow_kernel=self._kernel)
        self._same = parsl.python_app(same, data_flow_kernel=self._kernel)
        self._pool = ParslPoolExecutor(dfk=self._kernel)
        for future in [self._nothing() for _ in range(50)] + [self._same(b"")]:
            future.result()

    def submit_gather(self, count: int) -> None:
        for future in [self._nothing() for _ in range(count)]:
            future.result()

    def map(self, count: int) -> None:
        assert len(list(self._pool.map(nothing, range(count), chunksize=100))) == count

    def round_trip(self) -> None:
        self._nothing().result()

    def echo(self, payload: bytes) -> bytes:
        return self._same(payload).result()

    def stop(self) -> None:
        self._kernel.cleanup()
        self._folder.cleanup()


def peer() -> ParslHtex:
    return ParslHtex()
