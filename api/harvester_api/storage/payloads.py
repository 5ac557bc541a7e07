"""Payloads, wherever they lie: in memory, in the store, or as files. Owns the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from harvester.domain.payload.blobs import BlobRef
from harvester.store.store import Store, StoreError
from harvester_api.outcome import Outcome
from harvester_api.storage.blobs import Blobs


class Payloads:
    """The payloads of one gateway."""

    def __init__(self, store: Store, blobs: Blobs | None) -> None:
        self._store, self._blobs = store, blobs

    async def value(self, outcome: Outcome) -> bytes:
        """Return the result of an invocation that has succeeded. Raises `StoreError`."""
        value = await self.located(outcome)
        return await self._files().read(value) if isinstance(value, BlobRef) else value

    async def located(self, outcome: Outcome) -> bytes | BlobRef:
        """Return the result of an invocation that has succeeded, or where it lies. Raises `StoreError`."""
        if outcome.value is not None:
            return outcome.value
        return await asyncio.to_thread(self._store.result, outcome.record.invocation_id) or b""

    def path(self, blob: BlobRef) -> Path:
        """Return the file of a payload. Raises `StoreError`."""
        return self._files().path(blob)

    def discard(self, payloads: Iterable[bytes | BlobRef | None]) -> None:
        """Delete, in a moment, those of some payloads that lie in files."""
        large = [payload for payload in payloads if isinstance(payload, BlobRef)]
        if large:
            asyncio.get_running_loop().run_in_executor(None, self._files().delete, large)

    def _files(self) -> Blobs:
        if self._blobs is None:
            raise StoreError("a large payload lies in a directory, and this gateway is configured without one")
        return self._blobs
