"""A TCP proxy that cuts and stalls what it carries, for tests of what a bad network does."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

CHUNK = 16 * 1024

T = TypeVar("T")


class Pipe:
    """One connection that goes through the proxy."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.flows, self.answers = asyncio.Event(), asyncio.Event()  # both ways; towards who has called
        self.flows.set()
        self.answers.set()
        self.cuts_next = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, one direction; a cut goes through the middle of what comes next."""
        while data := await reader.read(CHUNK):
            await self.flows.wait()
            if writer is self.writers[0]:
                await self.answers.wait()
            writer.write(data[: len(data) // 2] if self.cuts_next else data)
            await writer.drain()
            if self.cuts_next:
                break
        self.abort()

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Listens at `port`, passes on to `target`; runs in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.pipes: list[Pipe] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, choose: random.Random, *, in_the_middle: bool) -> bool:
        """Cut one connection, now or in the middle of its next message; False where there is none."""
        return self._call(self._cut(choose, in_the_middle))

    def stall(self, choose: random.Random, seconds: float) -> bool:
        """Let nothing through one connection for so long, and then everything."""
        return self._call(self._stall(choose, seconds))

    def mute(self) -> None:
        """Let nothing through any more to those who have called, on the connections of now; what they say passes."""
        self._call(self._mute())

    def pipe(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> Pipe:
        """Make what carries a connection: towards the caller, and onward."""
        return Pipe(writers)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pipe = self.pipe((writer, onward))
        self.pipes.append(pipe)
        with contextlib.suppress(OSError):
            async with asyncio.TaskGroup() as both:
                both.create_task(self._one_way(pipe, reader, onward))
                both.create_task(self._one_way(pipe, onward_reader, writer))
        self.pipes.remove(pipe)

    async def _one_way(self, pipe: Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await pipe.carry(reader, writer)
        except OSError:
            pipe.abort()

    async def _cut(self, choose: random.Random, in_the_middle: bool) -> bool:
        if not self.pipes:
            return False
        pipe = choose.choice(self.pipes)
        if in_the_middle:
            pipe.cuts_next = True
        else:
            pipe.abort()
        return True

    async def _stall(self, choose: random.Random, seconds: float) -> bool:
        flowing = [pipe for pipe in self.pipes if pipe.flows.is_set()]
        if not flowing:
            return False
        pipe = choose.choice(flowing)
        pipe.flows.clear()
        self._loop.call_later(seconds, pipe.flows.set)
        return True

    async def _mute(self) -> None:
        for pipe in self.pipes:
            pipe.answers.clear()

    async def _close(self) -> None:
        self._server.close()
        for pipe in self.pipes:
            pipe.flows.set()
            pipe.answers.set()
            pipe.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)
