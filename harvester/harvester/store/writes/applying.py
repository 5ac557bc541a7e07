"""One group of writes applied to an open transaction: which module does which kind."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, cast

from harvester.store.writes import pilots
from harvester.store.writes.changes import PilotMoved, PilotSeen, Write
from harvester.store.writes.folding import InvocationWrite
from harvester.store.writes.invocations import write_invocations
from harvester.store.writes.session import WriterSession
from harvester.store.writes.writer_memory import WriterMemory

_PILOT: dict[type[Write], Any] = {PilotMoved: pilots.move, PilotSeen: pilots.see}


def apply(session: WriterSession, memory: WriterMemory, writes: Iterable[Write]) -> None:
    """Execute `writes`; the result is as if they were executed one by one.

    Invocations and pilots never look at each other's rows, so only the order within each kind of subject matters.
    """
    invocations: list[InvocationWrite] = []
    pilots: list[PilotMoved | PilotSeen] = []
    for write in writes:
        if type(write) in _PILOT:
            pilots.append(cast("PilotMoved | PilotSeen", write))
        else:
            invocations.append(cast("InvocationWrite", write))
    if invocations:
        write_invocations(session, memory, invocations)
    # By id, so that gateway and daemon lock the rows of PostgreSQL in one order. The sort is stable, a pilot's own
    # writes stay in theirs.
    pilots.sort(key=lambda write: write.pilot_id)
    for kind, run in groupby(pilots, type):
        _PILOT[kind](session.connection, list(run))
