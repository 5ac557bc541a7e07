"""A proxy that understands the pilots' frames: it repeats results, and delays them behind what was said later."""

import asyncio
import random

from websockets.frames import Frame, Opcode
from websockets.utils import apply_mask

from harvester.domain.protocol import wire
from support.proxy import Pipe, Proxy

REPEATED, DELAYED = 0.15, 0.15  # shares of the results
LONGEST_S = 0.8


class UnrulyPipe(Pipe):
    """One pilot's connection; what the gateway says passes as it is."""

    def __init__(
        self,
        writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        choose: random.Random,
        done: dict[str, int],
    ) -> None:
        super().__init__(writers)
        self._choose, self._done = choose, done

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer is self.writers[0]:
            await super().carry(reader, writer)
            return
        try:
            writer.write(await reader.readuntil(b"\r\n\r\n"))
            while True:
                frame = await self._frame(reader)
                await self.flows.wait()
                if self.cuts_next:
                    data = frame.serialize(mask=True)
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    break
                self._pass_on(frame, writer)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        self.abort()

    @staticmethod
    async def _frame(reader: asyncio.StreamReader) -> Frame:
        first, second = await reader.readexactly(2)
        assert first & 0x80, "a pilot sends whole messages"
        assert second & 0x80, "a client masks what it sends"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        mask = await reader.readexactly(4)
        return Frame(Opcode(first & 0x0F), apply_mask(await reader.readexactly(size), mask))

    def _pass_on(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if frame.opcode is not Opcode.BINARY:
            writer.write(frame.serialize(mask=True))
            return
        now: list[wire.ToGateway] = []
        later: list[wire.ToGateway] = []
        for message in wire.decode_to_gateway(bytes(frame.data)):
            is_delayed = isinstance(message, wire.Finished) and self._choose.random() < DELAYED
            (later if is_delayed else now).append(message)
            if isinstance(message, wire.Finished) and self._choose.random() < REPEATED:
                later.append(message)
                self._done["repeated"] += 1
            self._done["delayed"] += is_delayed
        if now:
            writer.write(_framed(now))
        for message in later:
            delay_s = self._choose.uniform(0, LONGEST_S)
            asyncio.get_running_loop().call_later(delay_s, self._write, writer, _framed([message]))

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.transport.is_closing():
            writer.write(data)


def _framed(messages: list[wire.ToGateway]) -> bytes:
    return Frame(Opcode.BINARY, wire.encode(messages)).serialize(mask=True)


class UnrulyProxy(Proxy):
    """Listens at `port`, passes on to `target`; `done` counts what it did."""

    def __init__(self, port: int, target: int, seed: int) -> None:
        super().__init__(port, target)
        self._choose = random.Random(seed)  # noqa: S311 - to be repeated, not a secret
        self.done = {"repeated": 0, "delayed": 0}

    def pipe(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> Pipe:
        return UnrulyPipe(writers, self._choose, self.done)
