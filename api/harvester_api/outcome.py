"""Outcome: an invocation as it stands, with the result where it is at hand."""

from __future__ import annotations

import msgspec

from harvester.domain.payload.blobs import BlobRef
from harvester.store.records import InvocationRecord


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation as it stands: its record, and the result where it is at hand."""

    record: InvocationRecord
    value: bytes | BlobRef | None = None  # None: not ended, or to be read from the store

    @property
    def is_ended(self) -> bool:
        """Whether the invocation is over."""
        return self.record.ended_at is not None
