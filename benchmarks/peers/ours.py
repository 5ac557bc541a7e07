"""HPC Harvester: `harvester up` with one pilot of two slots, SQLite with fsync."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.gateway.system import harvester_up
from benchmarks.peers.face import WORKERS, Address, Base, Sizes, nothing, same


class Ours(Base):
    sizes = Sizes(submits=5_000)

    def start(self) -> None:
        self._stack = ExitStack()
        self._client, self._token = self._stack.enter_context(harvester_up(WORKERS))
        self._client.register(nothing)
        for _ in range(20):
            self._client.submit(nothing, None).result()
        self._client.submit(same, b"").result()

    def submit_gather(self, count: int) -> None:
        for future in [self._client.submit(nothing, None) for _ in range(count)]:
            future.result()

    def map(self, count: int) -> None:
        assert len(list(self._client.map(nothing, range(count)))) == count

    def round_trip(self) -> None:
        self._client.submit(nothing, None).result()

    def echo(self, payload: bytes) -> bytes:
        return self._client.submit(same, payload).result()

    def http(self) -> Address:
        return Address(self._client.url, "/v1/functions/nothing/invocations?wait_s=30", self._token)

    def stop(self) -> None:
        self._stack.close()


def peer() -> Ours:
    return Ours()
