"""Entries: what the dispatcher knows of one pilot, and, from `lanes`, of one open invocation.

They are mutable, and only the dispatcher and its rooms write to them.
"""

from __future__ import annotations

from harvester.domain.dispatch.queueing.lanes import Entry, Lease, Waiting
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources

__all__ = ["Entry", "Lease", "PilotEntry"]


MOST_WARM = 1024
"""Function versions of which it is remembered that a pilot has loaded them."""


class PilotEntry:
    """A pilot that is alive, or that held work when we last knew.

    Its free room is its capacity less all its leases. It is below zero where leases were granted ahead of free slots:
    as many of the pilot's leases wait for room there. What fits into free room that is not below zero starts at once.
    """

    __slots__ = (
        "ahead",
        "ahead_from",
        "ahead_s",
        "capacity",
        "drain",
        "ends_at",
        "expires_at",
        "free_cpus",
        "free_gpus",
        "free_memory_mb",
        "has_alone",
        "is_connected",
        "is_known",
        "kept_for",
        "last_seen_at",
        "leases",
        "pilot_id",
        "python",
        "slow_cpus",
        "suspects",
        "warm",
    )

    def __init__(  # noqa: PLR0917 - a record, and this the order of its fields
        self,
        pilot_id: str,
        capacity: Resources,
        free: Resources,
        python: str,
        ends_at: float,
        last_seen_at: float,
        expires_at: float,
        *,
        is_connected: bool = True,
        is_known: bool = True,
    ) -> None:
        """It is LOST when nothing is heard until `expires_at`.

        Not `is_known`: only the store told of it; it has not called since the gateway started.
        """
        self.pilot_id, self.python = pilot_id, python
        self.capacity = capacity
        self.free_cpus, self.free_gpus, self.free_memory_mb = free.cpus, free.gpus, free.memory_mb
        self.ends_at, self.last_seen_at, self.expires_at = ends_at, last_seen_at, expires_at
        self.is_connected, self.is_known = is_connected, is_known
        self.drain: DrainReason | None = None
        self.leases: dict[str, Entry] = {}  # in the order of their grants
        self.warm: dict[str, None] = {}  # function ids it has loaded, those that came last
        self.slow_cpus = 0  # taken by leases that are not known to be over soon
        self.ahead = 0  # leases that were granted ahead of a free slot, and have not told that they began
        self.ahead_s = 0.0  # CPU-seconds that those are expected to take
        self.ahead_from = 0.0  # nothing is granted ahead before this instant
        self.suspects: frozenset[str] = frozenset()  # what it held when it was lost or broke
        self.has_alone = False  # what it runs must not have neighbours
        self.kept_for: Waiting | None = None  # its room is kept for one shape that has waited for too long

    @classmethod
    def remembered(cls, pilot_id: str, now: float, expires_at: float) -> PilotEntry:
        """A pilot that has not told anything yet; it has until `expires_at` to call."""
        nothing = Resources(cpus=0)
        return cls(pilot_id, nothing, nothing, "", expires_at, now, expires_at, is_connected=False, is_known=False)

    def renew(self, lease_s: float, time_left_s: float, now: float) -> None:
        """Note that it was heard: its leases hold for `lease_s` more seconds, and it leaves in `time_left_s`."""
        self.last_seen_at = now
        self.expires_at, self.ends_at = now + lease_s, now + time_left_s

    @property
    def is_open(self) -> bool:
        """Whether it may be given work at all."""
        return self.is_connected and self.drain is None

    @property
    def free(self) -> Resources:
        """What of its capacity nothing takes."""
        cpus, gpus, memory_mb = self.free_cpus, self.free_gpus, self.free_memory_mb
        return Resources(cpus=max(0, cpus), gpus=max(0, gpus), memory_mb=max(0, memory_mb))

    def add(self, entry: Entry, lease: Lease) -> None:
        """Put an invocation onto this pilot."""
        function = entry.lane.function
        resources = function.resources
        self.leases[entry.invocation_id] = entry
        self.has_alone |= entry.lane.is_alone
        if function.function_id not in self.warm:
            self.warm[function.function_id] = None
            if len(self.warm) > MOST_WARM:
                del self.warm[next(iter(self.warm))]
        self.free_cpus -= resources.cpus
        self.free_gpus -= resources.gpus
        self.free_memory_mb -= resources.memory_mb
        if not lease.is_brief:
            self.slow_cpus += resources.cpus
        if lease.is_ahead:
            self.ahead += 1
            self.ahead_s += lease.expected_s * resources.cpus

    def remove(self, entry: Entry, lease: Lease) -> None:
        """Take an invocation off this pilot."""
        resources = entry.lane.function.resources
        del self.leases[entry.invocation_id]
        if self.has_alone:
            self.has_alone = any(other.lane.is_alone for other in self.leases.values())
        self.free_cpus += resources.cpus
        self.free_gpus += resources.gpus
        self.free_memory_mb += resources.memory_mb
        if not lease.is_brief:
            self.slow_cpus -= resources.cpus
        if lease.is_ahead:
            self.began(entry, lease)

    def lend(self, entry: Entry, lease: Lease) -> None:
        """Count the CPUs of a lease that waits for others as free."""
        lease.is_lent = True
        cpus = entry.lane.function.resources.cpus
        self.free_cpus += cpus
        if not lease.is_brief:
            self.slow_cpus -= cpus

    def take_up(self, entry: Entry, lease: Lease) -> None:
        """Count them as taken again; there may be none free by now."""
        lease.is_lent = False
        cpus = entry.lane.function.resources.cpus
        self.free_cpus -= cpus
        if not lease.is_brief:
            self.slow_cpus += cpus

    def began(self, entry: Entry, lease: Lease) -> None:
        """Note that a lease which was granted ahead has its slot."""
        lease.is_ahead = False
        self.ahead -= 1
        self.ahead_s = self.ahead_s - lease.expected_s * entry.lane.function.resources.cpus if self.ahead else 0.0

    def recount(self) -> None:
        """Work the free room out anew, after the capacity became known, and what of the leases has no slot yet."""
        free = self.capacity
        for entry in self.leases.values():
            free -= entry.lane.function.resources
        self.free_cpus, self.free_gpus, self.free_memory_mb = free.cpus, free.gpus, free.memory_mb
        held = [(entry, entry.lease) for entry in self.leases.values() if entry.lease is not None]
        room = self.capacity
        for entry, lease in sorted(held, key=lambda pair: pair[1].begun_at is None):  # those that began come first
            resources = entry.lane.function.resources
            if lease.begun_at is not None or (resources.fits(room) and not lease.is_ahead):
                room -= resources
            elif not lease.is_ahead:
                lease.is_ahead = True
                self.ahead += 1
                self.ahead_s += lease.expected_s * resources.cpus
