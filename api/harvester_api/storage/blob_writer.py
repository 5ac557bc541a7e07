"""Large payloads, brought to disk before the group of writes that speaks of them.

Owns the thread that does it. Arguments are in a file already, and are secured here, while a pilot may have begun to
read them. Results that came over a pilot's connection are put into files; a pilot that sees the directory has done so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester.store.db.errors import StoreError
from harvester.store.writes.changes import Concluded, NewInvocation, Write
from harvester_api.storage.blobs import Blobs

_MANY = 1000  # writes: more of them are looked through in the thread


class Spilling:
    """A store's `write` for one journal, which has one group in flight at a time."""

    def __init__(self, write: Callable[[Sequence[Write]], Future[None]], blobs: Blobs) -> None:
        self._write, self._blobs = write, blobs
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="harvester-spilling")

    def __call__(self, writes: Sequence[Write]) -> Future[None]:
        """Queue `writes` as the store does, large payloads brought to disk first. Ends in the same errors."""
        if len(writes) <= _MANY and not any(self._is_large(write) or self._is_unsecured(write) for write in writes):
            return self._write(writes)
        committed: Future[None] = Future()
        self._thread.submit(self._spill, writes, committed)
        return committed

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)

    def _is_large(self, write: Write) -> bool:
        return type(write) is Concluded and type(write.value) is bytes and len(write.value) >= self._blobs.least

    def _is_unsecured(self, write: Write) -> bool:
        if type(write) is not NewInvocation or type(write.arguments) is not BlobRef:
            return False
        return not self._blobs.is_secure(write.arguments)

    def _spill(self, writes: Sequence[Write], committed: Future[None]) -> None:
        try:
            future = self._write([self._spilt(write) for write in writes])
        except StoreError as error:
            committed.set_exception(error)
        else:
            future.add_done_callback(lambda done: _hand_on(done, committed))

    def _spilt(self, write: Write) -> Write:
        if isinstance(write, NewInvocation) and isinstance(write.arguments, BlobRef):
            self._blobs.secure(write.arguments)
        if not self._is_large(write):
            return write
        assert isinstance(write, Concluded) and isinstance(write.value, bytes)  # noqa: S101, PT018 - what is large is both
        name = blob_name(write.invocation_id, f"r{write.fence}")
        return msgspec.structs.replace(write, value=self._blobs.write_now(name, write.value))


def _hand_on(done: Future[None], committed: Future[None]) -> None:
    error = done.exception()
    if error is None:
        committed.set_result(None)
    else:
        committed.set_exception(error)
