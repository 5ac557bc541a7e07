"""Entries: what the dispatcher knows of one open invocation, and of one pilot.

They are mutable, and only `ledger` and `dispatcher` write to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from harvester.domain.effects import Work
from harvester.domain.invocations import INVOCATION, InvocationEvent, InvocationState
from harvester.domain.pilots import DrainReason
from harvester.domain.resources import Resources
from harvester.domain.wire import Held


class QueueKey(msgspec.Struct, frozen=True, kw_only=True):
    """What invocations must have in common to wait in one queue: any pilot that suits one suits all."""

    resources: Resources
    python: str
    needs_s: float  # time that a pilot must have left: the declared walltime, 0 where checkpoints make it no matter


def queue_key(work: Work) -> QueueKey:
    """Return the queue in which `work` waits."""
    needs_s = 0.0 if work.checkpoints or work.walltime_s is None else work.walltime_s
    return QueueKey(resources=work.resources, python=work.python, needs_s=needs_s)


@dataclass(slots=True, eq=False)  # an entry is itself, not its fields
class Entry:
    """An open invocation."""

    work: Work
    state: InvocationState = InvocationState.ACCEPTED
    fence: int = 0  # of the lease that is valid now; 0 while there is none
    last_fence: int = 0  # of the newest lease ever granted
    pilot_id: str | None = None
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    has_checkpoint: bool = False
    key: QueueKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = queue_key(self.work)

    def advance(self, event: InvocationEvent) -> None:
        """Move along the lifecycle table."""
        self.state = INVOCATION.advance(self.state, event)

    @property
    def is_over(self) -> bool:
        """Whether the invocation has ended, though a slot may still be in use for it."""
        return self.state in INVOCATION.final


@dataclass(slots=True, eq=False)
class PilotEntry:
    """A pilot that is alive, or that held work when we last knew."""

    pilot_id: str
    capacity: Resources
    free: Resources
    python: str
    ends_at: float
    last_seen_at: float
    expires_at: float  # LOST when nothing is heard until then
    is_connected: bool = True
    is_known: bool = True  # False: only the store told of it; it has not called since the gateway started
    drain: DrainReason | None = None
    leases: dict[str, Entry] = field(default_factory=dict)
    warm: set[str] = field(default_factory=set)  # function ids it has loaded

    @classmethod
    def remembered(cls, pilot_id: str, now: float, expires_at: float) -> PilotEntry:
        """A pilot that has not told anything yet; it has until `expires_at` to call."""
        nothing = Resources(cpus=0)
        return cls(pilot_id, nothing, nothing, "", expires_at, now, expires_at, is_connected=False, is_known=False)

    @property
    def is_open(self) -> bool:
        """Whether it may be given work at all."""
        return self.is_connected and self.drain is None

    def add(self, entry: Entry) -> None:
        """Put an invocation onto this pilot."""
        self.leases[entry.work.invocation_id] = entry
        self.warm.add(entry.work.function_id)
        self.free -= entry.key.resources

    def remove(self, entry: Entry) -> None:
        """Take an invocation off this pilot."""
        del self.leases[entry.work.invocation_id]
        self.free += entry.key.resources

    def recount(self) -> None:
        """Work the free room out anew, after the capacity became known."""
        self.free = self.capacity
        for entry in self.leases.values():
            self.free -= entry.key.resources

    def held(self) -> tuple[Held, ...]:
        """Its leases, as the wire names them."""
        return tuple(
            Held(
                invocation_id=entry.work.invocation_id,
                fence=entry.fence,
                is_started=entry.state is InvocationState.RUNNING,
            )
            for entry in self.leases.values()
        )
