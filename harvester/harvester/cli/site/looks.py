"""A few looks at the scheduler, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from harvester.domain.cluster.ports import SchedulerAdapter
from harvester.domain.cluster.snapshot import ClusterSnapshot

Answer = TypeVar("Answer")
_APART_S = 1.1  # within a second an adapter may return the same look, and qstat sleeps


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The last look, and the seconds that each took."""

    snapshot: ClusterSnapshot
    looks: tuple[float, ...]
    glances: tuple[float, ...]


def look(
    adapter: SchedulerAdapter,
    *,
    count: int = 3,
    has_glances: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Looked:
    """Look once, and then `count` times for the time that it takes. Raises `SchedulerUnavailable`.

    The first look also asks what is asked rarely, and is not counted.

    Parameters
    ----------
    has_glances: glance as often, too.
    """
    snapshot = adapter.snapshot()
    looks, glances = [], []
    for _ in range(count):
        wait(_APART_S)
        took_s, snapshot = _timed(adapter.snapshot)
        looks.append(took_s)
        if has_glances:
            wait(_APART_S)
            glances.append(_timed(adapter.glance)[0])
    return Looked(snapshot=snapshot, looks=tuple(looks), glances=tuple(glances))


def _timed(ask: Callable[[], Answer]) -> tuple[float, Answer]:
    begun = time.monotonic()
    answer = ask()
    return time.monotonic() - begun, answer
