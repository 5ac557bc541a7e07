"""Contention: which prime jobs would start sooner if our pilots were not there, and which nodes they would take.

Pure. The scheduler's own plan is made with our pilots in the picture: it may have a prime job wait for somebody else's
end although it would start at once without us. So this is a plan of our own over the snapshot with the pilots taken
away. In doubt a batch job wants every node that it could use.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from harvester.domain.cluster import ClusterSnapshot
from harvester.domain.windows import Claim


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """When and where a pending prime job would start without our pilots."""

    batch_job_id: str
    at: float  # Unix seconds; `now` where it would start at once
    nodes: tuple[str, ...]
    is_certain: bool = True  # False: we do not understand all of what it asks for, so `nodes` is all that it could use


class Contention(msgspec.Struct, frozen=True, kw_only=True):
    """What prime jobs want of the nodes, as if our pilots were not there."""

    starts: tuple[Start, ...] = ()
    claims: dict[str, Claim] = {}  # by node: the first start on it, or reservation; nodes that nobody wants are missing


def contention(snapshot: ClusterSnapshot, now: float, *, ours: Collection[str] = ()) -> Contention:
    """Return what pending prime jobs would take of the nodes without our pilots.

    Parameters
    ----------
    ours: ids or names of the batch jobs that are our pilots.
    """
    raise NotImplementedError
