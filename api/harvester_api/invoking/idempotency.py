"""Repeated requests: what an earlier one made under the same idempotency key.

Owns how keys and ids are laid out, and the refusals for a key that meant something else. The ids of a batch are
consecutive, so its first invocation alone carries the key, and the others follow from it: that costs a batch of any
size one row in an index. Looks into the book and the store, changes nothing.
"""

from __future__ import annotations

import asyncio

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.payload.blobs import BlobRef
from harvester.store.records import InvocationRecord
from harvester.store.store import Store
from harvester_api.problems import Refusal, refusal
from harvester_api.runtime.open_invocations import Book, OpenInvocation
from harvester_api.storage.blobs import Blobs

_LAST_GROUP = 1 << 48  # of a UUID: 12 hexadecimal digits
_IDS = 5000  # that are made at a time


def ids_from(first: str, count: int, start: int = 0) -> list[str]:
    """Return `count` ids of a batch that begins with `first`, behind its first `start`."""
    head, last = first[:-12], int(first[-12:], 16) + start
    return [f"{head}{(last + number) % _LAST_GROUP:012x}" for number in range(count)]


async def all_ids(first: str, count: int) -> list[str]:
    """Return the ids of a batch of `count` that begins with `first`; others have the event loop in between."""
    ids: list[str] = []
    for start in range(0, count, _IDS):
        if start:
            await asyncio.sleep(0)
        ids += ids_from(first, min(_IDS, count - start), start)
    return ids


def batch_key(key: str) -> str:
    """Return what the first invocation of a batch carries: no header can hold a line's end, so no other has it."""
    return f"{key}\n"


class Repeats:
    """What is known of keys on one gateway."""

    def __init__(self, book: Book, store: Store, blobs: Blobs | None = None) -> None:
        self._book, self._store, self._blobs = book, store, blobs

    async def invocation(
        self, owner: str, key: str, function: FunctionVersion, arguments: bytes | BlobRef, *, is_version_asked: bool
    ) -> str | None:
        """Return the invocation that came under `key`, None for a key that is new.

        Without `is_version_asked` the caller meant the newest version, which may have been another one at first.
        Raises `Refusal` (409) where another function or other arguments came under it, `StoreError`.
        """
        record, entry = self._first(owner, key)
        if record is None:
            return None
        _check_function(record, key, function)
        if is_version_asked and record.function_id != function.function_id:
            raise _conflict(key, f"for {record.function_id}, not for {function.function_id}", "a new invocation")
        before = None if entry is None else entry.arguments
        if before is None:
            before = await asyncio.to_thread(self._store.arguments, record.invocation_id)
        if before is not None and not await self._are_equal(before, arguments):
            raise _conflict(key, "for other arguments", "a new invocation")
        return record.invocation_id

    async def batch(self, owner: str, key: str, function: FunctionVersion, count: int) -> list[str] | None:
        """Return the ids of the batch that came under `key`, once it is on disk; None for a key that is new.

        Raises `Refusal` (409), and the `StoreError` that keeps the batch from being accepted.
        """
        record, entry = self._first(owner, batch_key(key))
        if record is None:
            return None
        _check_function(record, key, function)
        if entry is not None:  # before it is written not all of the batch may be there
            await self._book.written(entry)
        last, behind = ids_from(record.invocation_id, 2, max(0, count - 1))
        if not count or not self._is_there(last) or self._is_there(behind):
            raise _conflict(key, f"for a batch of another length than {count}", "a new batch")
        return await all_ids(record.invocation_id, count)

    async def _are_equal(self, one: bytes | BlobRef, other: bytes | BlobRef) -> bool:
        if isinstance(one, BlobRef) and isinstance(other, BlobRef) and self._blobs is not None:
            return await asyncio.to_thread(self._blobs.are_equal, one, other)
        return one == other  # what is large lies in a file: one of either kind is the larger

    def _first(self, owner: str, key: str) -> tuple[InvocationRecord | None, OpenInvocation | None]:
        entry = self._book.by_key(owner, key)
        return (entry.record(), entry) if entry is not None else (self._store.by_idempotency_key(owner, key), None)

    def _is_there(self, invocation_id: str) -> bool:
        return self._book.find(invocation_id) is not None or self._store.invocation(invocation_id) is not None


def _check_function(record: InvocationRecord, key: str, function: FunctionVersion) -> None:
    before = record.function_id.rpartition("@")[0]
    if before not in {function.full_name, function.name}:  # without its owner: from before owners were known
        raise _conflict(key, f"for {record.function_id}, not for {function.full_name}", "a new invocation")


def _conflict(key: str, what: str, meant: str) -> Refusal:
    return refusal(
        409,
        "idempotency-conflict",
        f"the key {key!r} was used {what}",
        field="Idempotency-Key",
        remedy=f"Use a new key for {meant}, and the same key only to repeat the same request.",
    )
