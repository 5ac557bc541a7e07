"""Dask distributed: a local cluster of two worker processes with one thread each."""

from __future__ import annotations

from benchmarks.peers.face import WORKERS, Base, Sizes, nothing, same


class DaskDistributed(Base):
    sizes = Sizes(submits=1_000)

    def start(self) -> None:
        from distributed import Client, LocalCluster  # noqa: PLC0415 - not everybody has it

        self._cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
        self._client = Client(self._cluster)
        self._client.gather([self._client.submit(nothing, number, pure=False) for number in range(20)])

    def submit_gather(self, count: int) -> None:
        self._client.gather([self._client.submit(nothing, number, pure=False) for number in range(count)])

    def map(self, count: int) -> None:
        futures = self._client.map(nothing, range(count), pure=False, batch_size=1000)
        assert len(self._client.gather(futures)) == count

    def round_trip(self) -> None:
        self._client.submit(nothing, 0, pure=False).result()

    def echo(self, payload: bytes) -> bytes:
        return self._client.submit(same, payload, pure=False).result()

    def stop(self) -> None:
        self._client.close()
        self._cluster.close()


def peer() -> DaskDistributed:
    return DaskDistributed()
