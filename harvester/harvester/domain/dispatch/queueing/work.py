"""Work: an invocation as the dispatcher is told of it."""

from __future__ import annotations

import msgspec

from harvester.domain.model.resources import Resources


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation as the dispatcher is told of it, new or recovered from the store."""

    invocation_id: str
    function_id: str
    resources: Resources
    accepted_at: float
    python: str = ""  # the minor version it needs; empty where any will do
    walltime_s: float | None = None
    checkpoints: bool = False
    max_retries: int = 0
    owner: str = ""  # whose share of the slots it takes
    priority: int = 0  # among the waiting invocations of its owner; higher goes first
    start_by: float | None = None  # its first start has to come before this, or it is EXPIRED
    end_by: float | None = None  # its end has to come before this, or it is EXPIRED
    max_running: int | None = None  # activations of its function at a time
    parent: str = ""  # the invocation that has submitted this one, if it is open and of the same owner
    # recovered from the store:
    fence: int = 0
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    has_checkpoint: bool = False
    pilot_id: str | None = None  # who held it
    is_started: bool = False
