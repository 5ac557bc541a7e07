"""One group of writes applied to an open transaction: which module does which kind."""

from __future__ import annotations

from collections.abc import Iterable

from harvester.store.writes.changes import PilotMoved, PilotSeen, Write
from harvester.store.writes.folding import InvocationWrite
from harvester.store.writes.invocations import write_invocations
from harvester.store.writes.pilots import PilotWrite, write_pilots
from harvester.store.writes.session import WriterSession
from harvester.store.writes.writer_memory import WriterMemory


def apply(session: WriterSession, memory: WriterMemory, writes: Iterable[Write]) -> None:
    """Execute `writes`; the result is as if they were executed one by one.

    Invocations and pilots never look at each other's rows, so only the order within each kind of subject matters.
    """
    invocations: list[InvocationWrite] = []
    pilots: list[PilotWrite] = []
    for write in writes:
        if type(write) is PilotMoved or type(write) is PilotSeen:
            pilots.append(write)
        else:  # a kind of write that is neither does not pass mypy here
            invocations.append(write)
    if invocations:
        write_invocations(session, memory, invocations)
    if pilots:
        write_pilots(session.connection, pilots)
