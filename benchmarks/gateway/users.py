"""A user of one gateway who submits by batches and hears of the ends by a stream: load for `fleet` and `backlog`.

Counts each end once and keeps what never should be: an end that was not a success, or one that came twice.
"""

from __future__ import annotations

import asyncio
import time
import uuid

import msgspec

from benchmarks.gateway.http_load import Endpoint, Line, LoadError, request
from harvester.domain.model.invocations import InvocationState
from harvester.domain.protocol import stream

FUNCTION = "nothing"


class User:
    """One caller with one stream."""

    def __init__(self, endpoint: Endpoint, token: str) -> None:
        self._endpoint, self._token = endpoint, token
        self._lines = [Line(endpoint)]  # those that are free
        self.is_done = False
        self._stream_id = uuid.uuid4().hex
        self._listening: asyncio.Task[None] | None = None
        self._batches: dict[int, bytes] = {}
        self.accepted: set[str] = set()
        self.ended: set[str] = set()
        self.wrong: list[str] = []
        self.waits: list[float] = []  # seconds until a batch was accepted

    async def register(self) -> None:
        """Register a function that simulated pilots know how to do nothing with."""
        draft = {"name": FUNCTION, "kind": "source", "entry": FUNCTION, "body": f"def {FUNCTION}():\n    pass\n"}
        await self._ask(request(self._endpoint, "/v1/functions", token=self._token, body=msgspec.json.encode(draft)))

    async def listen(self) -> None:
        """Open the stream; submissions from now on name it."""
        reader, writer = await asyncio.open_connection(*self._endpoint, limit=2**26)
        headers = {"Accept": stream.STREAM_TYPE}
        path = f"/v1/streams/{self._stream_id}"
        writer.write(request(self._endpoint, path, method="GET", token=self._token, headers=headers))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise LoadError(head.decode(errors="replace") + (await reader.read(500)).decode(errors="replace"))
        self._listening = asyncio.create_task(self._hear(reader, writer))

    async def submit(self, count: int) -> None:
        """Submit one batch, and return when it is accepted and on disk."""
        if count not in self._batches:
            headers = {"Harvester-Stream": self._stream_id} if self._listening else {}
            path, body = f"/v1/functions/{FUNCTION}/batches", b"[" + b",".join([b"{}"] * count) + b"]"
            self._batches[count] = request(self._endpoint, path, token=self._token, body=body, headers=headers)
        sent_at = time.perf_counter()
        answer = msgspec.json.decode(await self._ask(self._batches[count]))
        self.waits.append(time.perf_counter() - sent_at)
        self.accepted.update(answer["invocation_ids"])

    @property
    def open(self) -> int:
        return len(self.accepted) - len(self.ended)

    async def get(self, path: str) -> dict[str, object]:
        """Read a JSON document."""
        found: dict[str, object] = msgspec.json.decode(
            await self._ask(request(self._endpoint, path, method="GET", token=self._token))
        )
        return found

    def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        for line in self._lines:
            line.close()

    async def _ask(self, what: bytes) -> bytes:
        line = self._lines.pop() if self._lines else Line(self._endpoint)
        try:
            return await line.ask(what)
        finally:
            self._lines.append(line)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the ends out of the frames, and these out of the chunks of HTTP."""
        buffer = bytearray()
        try:
            while size := int(await reader.readline(), 16):
                buffer += await reader.readexactly(size)
                await reader.readexactly(2)
                at = 0
                while len(buffer) - at >= stream.HEADER_BYTES:
                    length = int.from_bytes(buffer[at : at + stream.HEADER_BYTES], "big")
                    end = at + stream.HEADER_BYTES + length
                    if end > len(buffer):
                        break
                    self._take(stream.decode(bytes(buffer[at + stream.HEADER_BYTES : end])))
                    at = end
                del buffer[:at]
        finally:
            writer.close()

    def _take(self, ends: list[stream.Ended]) -> None:
        for end in ends:
            if end.state is not InvocationState.SUCCEEDED:
                self.wrong.append(f"{end.invocation_id} is {end.state}: {end.failure}")
            if end.invocation_id in self.ended:
                self.wrong.append(f"{end.invocation_id} ended twice")
            self.ended.add(end.invocation_id)
