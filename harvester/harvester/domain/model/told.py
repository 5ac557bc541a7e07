"""Bounded values: what processes that run users' code may tell, so that it cannot spoil the sums that it goes into."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""A length of time; not NaN, not infinite."""

Serial = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A number that only grows, as a fencing token does; within what a database column takes."""

Word = Annotated[str, Meta(max_length=255, pattern=r"\A[^\x00]*\Z")]
"""A name or a version, which a database takes and a list shows."""
