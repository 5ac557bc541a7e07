"""Large bodies, read by a process beside the gateway: how it is started, and what its verdict means to a caller.

Which body is one of those `http.bodies.is_quick` tells; what the process does is `body_reader`'s.
"""

from __future__ import annotations

import array
import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import msgspec

from harvester_api.problems import Refusal, malformed, refusal, too_many
from harvester_api.validation.body_reader import MEMORY_BYTES, BodyVerdict
from harvester_api.validation.functions import Opened

LONGEST_SOURCE = 2048  # characters that are parsed on the event loop
_PATIENCE_S = 60  # the process ends itself before, by its limit of CPU time
_READERS = 3  # at a time
_READERS_EACH = 2  # of one caller: hostile bodies take half a minute each, and others' must not wait for them

Span = tuple[int, int]
Rest = Callable[[int], bytes]  # reads so many bytes from behind a verdict
T = TypeVar("T")


class Body(Protocol):
    """A body in a file."""

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def fileno(self) -> int:
        """Return the open file."""
        ...


class LargeBodies:
    """The readers of one gateway."""

    def __init__(self) -> None:
        # Threads of their own, which only wait: a queue of large bodies must not keep others from the store.
        self._threads = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="harvester-large-bodies")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def of_one(self) -> BodiesOf:
        """Return what reads the bodies of one caller, a few at a time, in the order in which they came."""
        return BodiesOf(self._threads)


class BodiesOf:
    """The readers, for one caller.

    Parameters
    ----------
    threads: everybody's, which wait for the processes.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._turns = asyncio.Semaphore(_READERS_EACH)

    async def check_one(self, body: Body) -> None:
        """Check the JSON arguments of one invocation. Raises `Refusal` (400, 413, 422)."""
        await self._read("one", body, "arguments", 0, lambda _verdict, _rest: None)

    async def spans_of_array(self, body: Body, most: int) -> list[Span]:
        """Return where in a batch its elements lie. Raises `Refusal` (400, 413, 422)."""
        return await self._read("array", body, "batch", most, _spans)

    async def spans_of_lines(self, body: Body, most: int) -> list[Span]:
        """Return where in a batch its lines lie. Raises `Refusal` (400, 413, 422)."""
        return await self._read("lines", body, "batch", most, _spans)

    async def function(self, body: Body) -> Opened:
        """Return a function that is to be registered. Raises `Refusal` (400, 413, 422)."""
        return await self._read("function", body, "body", 0, _opened)

    async def _read(self, kind: str, body: Body, field: str, most: int, take: Callable[[BodyVerdict, Rest], T]) -> T:
        await self._turns.acquire()
        try:
            file = os.dup(body.fileno())  # a caller may go, and what they sent with them, while it is read
        except OSError:  # no descriptor is free
            self._turns.release()
            raise
        asked = _Asked(kind=kind, size=body.size, field=field, most=most)
        reading = asyncio.get_running_loop().run_in_executor(self._threads, _read, file, asked, take)
        reading.add_done_callback(self._is_read)
        return await asyncio.shield(reading)  # the process of a caller who goes reads on, and is still theirs

    def _is_read(self, reading: asyncio.Future[Any]) -> None:
        self._turns.release()
        if not reading.cancelled():
            reading.exception()  # nobody may be there any more to take it


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    size: int
    field: str
    most: int  # elements


def _read(file: int, asked: _Asked, take: Callable[[BodyVerdict, Rest], T]) -> T:
    said = os.memfd_create("harvester-verdict", os.MFD_CLOEXEC)
    try:
        command = [sys.executable, "-P", "-m", "harvester_api.validation.body_reader", asked.kind, str(asked.most)]
        ended = subprocess.run(
            command, stdin=file, stdout=said, stderr=subprocess.PIPE, timeout=_PATIENCE_S, check=False
        )
        if ended.returncode:
            raise _failure(ended, asked)
        length = int.from_bytes(os.pread(said, 8, 0), "little")
        verdict = msgspec.msgpack.decode(os.pread(said, length, 8), type=BodyVerdict)
        trouble = _refusal(verdict, asked)
        if trouble is not None:
            raise trouble
        return take(verdict, lambda count: os.pread(said, count, 8 + length))
    except subprocess.TimeoutExpired:
        raise _too_costly(asked.field, asked.size, _SLOW) from None
    finally:
        os.close(said)
        os.close(file)


def _failure(ended: subprocess.CompletedProcess[bytes], asked: _Asked) -> Exception:
    if ended.returncode < 0:  # by the limit of its time, or by a system that is short of memory
        return _too_costly(asked.field, asked.size, _SLOW)
    said = ended.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {ended.returncode}"]
    if said[-1].startswith("MemoryError"):
        return _too_costly(asked.field, asked.size, _HUNGRY)
    return RuntimeError(f"the process that reads large bodies failed: {said[-1]}")


_SLOW = "it takes too long"
_HUNGRY = f"decoded it takes more than {MEMORY_BYTES // 1024**2} MB of memory"


def _refusal(verdict: BodyVerdict, asked: _Asked) -> Refusal | None:
    where = f"{asked.field} line {verdict.line}" if verdict.line else asked.field
    if verdict.is_crowded:
        return too_many(None, asked.most)
    if verdict.is_hungry:
        return _too_costly(where, asked.size, _HUNGRY)
    if verdict.is_deep:
        return malformed(RecursionError(), where)
    if verdict.malformed:
        return malformed(msgspec.DecodeError(verdict.malformed), where)
    if verdict.invalid:
        return malformed(msgspec.ValidationError(verdict.invalid), where)
    return None


def _too_costly(field: str, size: int, why: str) -> Refusal:
    return refusal(
        413,
        "payload-too-costly",
        f"{field}: {size} bytes of JSON cannot be read here: {why}",
        field=field,
        remedy="Send fewer and larger elements, or a file that the compute nodes see by its path.",
    )


def _spans(verdict: BodyVerdict, _rest: Rest) -> list[Span]:
    ends = array.array("Q", verdict.spans)
    return list(zip(ends[::2], ends[1::2], strict=True))


def _opened(verdict: BodyVerdict, rest: Rest) -> Opened:
    assert verdict.function is not None  # noqa: S101 - it has no trouble, so it has this
    body = None if verdict.body_size is None else rest(verdict.body_size)
    return Opened(draft=verdict.function, body=body, trouble=verdict.trouble, names=verdict.names)
