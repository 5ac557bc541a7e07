"""The order of a group of writes: as few batches of one kind as keep each subject's own order. Pure.

A group holds many subjects' writes (a subject is an invocation or a pilot), and two subjects never look at each other's
rows, so only the order within a subject matters. A sweep goes once through the kinds in the order of a usual life; a
write that comes too late for its subject's sweep goes into the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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

KINDS: tuple[type[Write], ...] = (
    NewInvocation,
    Granted,
    Started,
    CheckpointKept,
    Requeued,
    Concluded,
    PilotMoved,
    PilotSeen,
)
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}

# Kinds of which one batch may hold several for one subject: their statements run row after row, in order. The others'
# statements look at a row before they change it, all rows by the first statement, then all by the second.
_REPEATABLE = frozenset({CheckpointKept, PilotMoved, PilotSeen})


def batches(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """Yield the writes in batches of one kind each; applied in turn they amount to `writes` applied one by one."""
    last: dict[str, tuple[int, int]] = {}  # subject -> (sweep, rank) of its latest write
    sweeps: list[dict[int, list[Write]]] = []
    for write in writes:
        subject = write.pilot_id if isinstance(write, PilotMoved | PilotSeen) else write.invocation_id
        rank = _RANK[type(write)]
        sweep, before = last.get(subject, (0, -1))
        if rank < before or (rank == before and type(write) not in _REPEATABLE):
            sweep += 1
        last[subject] = (sweep, rank)
        if sweep == len(sweeps):
            sweeps.append({})
        sweeps[sweep].setdefault(rank, []).append(write)
    for kinds in sweeps:
        for rank in sorted(kinds):
            yield kinds[rank]
