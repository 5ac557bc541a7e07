"""joblib's loky: a process pool in the caller's own machine, without a network, a queue that lasts or other users."""

from __future__ import annotations

from benchmarks.peers.face import WORKERS, Base, nothing, same


class LokyPool(Base):
    def start(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor  # noqa: PLC0415 - not everybody has it

        self._pool = ProcessPoolExecutor(WORKERS)
        list(self._pool.map(nothing, range(20)))

    def submit_gather(self, count: int) -> None:
        for future in [self._pool.submit(nothing) for _ in range(count)]:
            future.result()

    def map(self, count: int) -> None:
        assert len(list(self._pool.map(nothing, range(count), chunksize=100))) == count

    def round_trip(self) -> None:
        self._pool.submit(nothing).result()

    def echo(self, payload: bytes) -> bytes:
        return self._pool.submit(same, payload).result()

    def stop(self) -> None:
        self._pool.shutdown(kill_workers=True)


def peer() -> LokyPool:
    return LokyPool()
