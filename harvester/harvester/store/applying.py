"""One group of writes applied to an open transaction: which function does which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection

from harvester.store import invocation_writes, pilot_writes
from harvester.store.batches import batches
from harvester.store.writes import (
    CheckpointKept,
    Concluded,
    Granted,
    NewInvocation,
    PilotMoved,
    PilotSeen,
    Requeued,
    Started,
    Write,
)

_APPLY: dict[type[Write], Callable[[Connection, Any], None]] = {
    NewInvocation: invocation_writes.accept,
    Granted: invocation_writes.grant,
    Started: invocation_writes.start,
    CheckpointKept: invocation_writes.keep_checkpoints,
    Requeued: invocation_writes.requeue,
    Concluded: invocation_writes.conclude,
    PilotMoved: pilot_writes.move,
    PilotSeen: pilot_writes.see,
}


def apply(connection: Connection, writes: Iterable[Write]) -> None:
    """Execute `writes`; the result is as if they were executed one by one."""
    for batch in batches(writes):
        _APPLY[type(batch[0])](connection, batch)
