"""The gateway's directory of large payloads, for a client that sees it: arguments are left there, results read there.

Owns what is known of the directory, and its files on this side. Whatever does not work makes the caller take the way
over HTTP, which always does. A network's filesystem may hang for ever, so nothing touches one but threads that nobody
waits for at the end; on a local one a short write or read costs less than to wake a thread. Used on the line's event
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import mmap
import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from harvester.domain.payload import buffers
from harvester.domain.payload.blobs import DRAFTS, MARK, BlobRef, is_blob_name
from harvester.domain.payload.decoding import UNREADABLE
from harvester.sdk.errors import GatewayError
from harvester.sdk.http.drivers import AsyncDriver
from harvester.sdk.http.messages import LOG, Operation, Request, wrong_answer
from harvester.sdk.payload.daemon_threads import DaemonThreads
from harvester.sdk.payload.payloads import Body

T = TypeVar("T")
ASK_BYTES = 128 * 1024  # what is smaller goes over HTTP, whatever the gateway says
LOOK_S = 5.0  # to find out whether the directory is seen here; what comes meanwhile goes over HTTP
PATIENCE_S = 10.0  # with a file, and a second more for each BYTES_A_SECOND
BYTES_A_SECOND = 10_000_000
AT_ONCE_BYTES = 4 * 1024 * 1024  # on a local filesystem: to and from the page cache in about a millisecond
LOCAL = frozenset({"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"})
MOUNTS = Path("/proc/self/mountinfo")
_MAPPED = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)  # of Linux
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """What /v1/directory says."""

    path: str | None
    mark: str
    least: int
    boot: str


class SharedDirectory:
    """What one client knows of the gateway's directory. It asks when the first large payload comes."""

    def __init__(self, gateway: AsyncDriver) -> None:
        self._gateway = gateway
        self._hands = DaemonThreads("harvester-files")
        self._folder: Path | None = None  # once it is seen
        self._least: float = ASK_BYTES
        # The gateway runs on this kernel: what is written here is in its page cache, and it brings it to disk.
        self._is_near = False
        self._is_local = False
        self._looking: asyncio.Task[None] | None = None
        self._has_complained = False

    async def draft(self, content: bytes) -> str | None:
        """Leave the arguments of an invocation there. Return the draft's name; None to send them."""
        if len(content) < self._least or not (folder := await self._seen()) or len(content) < self._least:
            return None
        name = secrets.token_hex(16)
        write = partial(_write, folder / DRAFTS / name, content, is_durable=not self._is_near)
        if await self._done(write, len(content)) is None:
            self.discard(name)
            return None
        return name

    def discard(self, draft: str) -> None:
        """Delete a draft, in a moment; one that the gateway has taken is gone already."""
        if self._folder is not None:
            self._hands.do(partial(_delete, self._folder / DRAFTS / draft))

    async def read(self, blob: BlobRef) -> Body | None:
        """Return a result; None to fetch it. Where arrays will lie over it, it is a copy that can be written to."""
        if not is_blob_name(blob.name) or not (folder := await self._seen()):
            return None
        return await self._done(partial(_read, folder / blob.name, blob.size), blob.size)

    def doubt(self) -> None:
        """Look again before the next payload: the gateway did not find a draft, and may have another directory now."""
        if self._looking is not None and self._looking.done() and self._folder is not None:
            self._folder, self._least, self._looking, self._is_local = None, ASK_BYTES, None, False

    def close(self) -> None:
        """Give up what is under way."""
        if self._looking is not None:
            self._looking.cancel()
        self._hands.close()

    # ---- inside ------------------------------------------------------------------------------------------------------

    async def _seen(self) -> Path | None:
        """Return the directory if it is seen here."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        if not self._looking.done():
            await asyncio.wait({self._looking}, timeout=LOOK_S)
        return self._folder

    async def _look(self) -> None:
        self._least = ASK_BYTES
        try:
            place = await self._gateway.run(_place(), LOOK_S)
        except GatewayError as error:  # an older gateway has no such route
            LOG.debug("large payloads go over HTTP: %s", error)
            place = _NOWHERE
        if place.path is None or not await self._done(partial(_is_shared, place.path, place.mark), 0):
            self._least = math.inf
            return
        self._least = max(place.least, ASK_BYTES)
        self._is_near = bool(place.boot) and await self._done(_boot_id, 0) == place.boot
        self._is_local = bool(await self._done(partial(_is_local, place.path), 0))
        self._folder = Path(place.path)

    async def _done(self, work: Callable[[], T], size: int) -> T | None:
        """Return what `work` on `size` bytes returns; None when it fails, or takes too long."""
        try:
            if self._is_local and size <= AT_ONCE_BYTES:
                return work()
            return await asyncio.wait_for(self._hands.do(work), PATIENCE_S + size / BYTES_A_SECOND)
        except FileNotFoundError:
            return None  # a result whose time is over, or a directory that is not here
        except TimeoutError:
            self._folder, self._least = None, math.inf
            self._complain("it does not answer")
        except OSError as error:
            self._complain(str(error))
        return None

    def _complain(self, why: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            LOG.warning("the gateway's directory cannot be used from here, large payloads go over HTTP: %s", why)


_NOWHERE = _Place(path=None, mark="", least=0, boot="")


def _place() -> Operation[_Place]:
    answer = yield Request(method="GET", path="/v1/directory")
    try:
        return msgspec.json.decode(answer.body, type=_Place)
    except UNREADABLE as error:
        raise wrong_answer(answer.status, f"GET /v1/directory: {error}") from error


# ---- in the threads --------------------------------------------------------------------------------------------------


def _is_shared(path: str, mark: str) -> bool:
    try:
        return bool(mark) and Path(path, MARK).read_text(encoding="utf-8") == mark
    except (OSError, UnicodeDecodeError):
        return False  # another machine, or another Unix user: nothing to complain of


def _is_local(path: str) -> bool:
    device = Path(path).stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()  # see proc_pid_mountinfo(5)
        if fields[2] == number:
            return fields[fields.index("-") + 1] in LOCAL
    return False


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _write(path: Path, content: bytes, *, is_durable: bool) -> bool:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        if is_durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _read(path: Path, size: int) -> Body | None:
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != size:
            return None
        if not size or not buffers.is_joined(os.pread(file.fileno(), len(buffers.MAGIC), 0)):
            # Unpickling copies what it makes of it. The pages are fetched here, where it may take its time.
            return memoryview(mmap.mmap(file.fileno(), size, _MAPPED, mmap.PROT_READ)) if size else b""
        content = bytearray(size)
        left = memoryview(content)
        while left:
            count = file.readinto(left)
            if not count:
                return None  # it was cut meanwhile
            left = left[count:]
    return content


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
