"""The slow look at a PBS: what changes so rarely on a site that it is asked once in a while.

Owns when queues, server, scheduler and reservations are asked anew. Reservations have an interval of their own: a pilot
leaves before one begins, so it must be known well before that. Not safe for threads: the adapter has the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, Reservation
from harvester_adapters.pbs.nodes import Vnode
from harvester_adapters.pbs.partitions import QSTAT_QUEUES, QueueList, queue_list
from harvester_adapters.pbs.preemption import is_rerunnable
from harvester_adapters.pbs.reservations import PBS_RSTAT, reservations
from harvester_adapters.pbs.site import LIST_SCHED, LIST_SERVER, PbsSched, PbsServer, sched_of, scheds, server

_DOUBT_S = 60.0  # what looks unknown is asked for at most this often

# Runs a command until `give_up_at` (monotonic) and returns its output, or raises `SchedulerUnavailable`.
Ask = Callable[[Sequence[str], float], str]


class PbsSlow(msgspec.Struct, frozen=True, kw_only=True):
    """What the slow look showed."""

    server: PbsServer
    scheds: tuple[PbsSched, ...]
    queues: QueueList
    reservations: tuple[Reservation, ...]

    @property
    def reservation_names(self) -> frozenset[str]:
        """The reservations' names, which are those of their queues, too."""
        return frozenset(reservation.name for reservation in self.reservations)

    def is_rerunnable(self, queue: str) -> bool:
        """Return whether pilots in a queue are submitted as such that may be put back into it."""
        own = next((each.sched_partition for each in self.queues.execution if each.name == queue), "")
        return is_rerunnable(sched_of(own, self.scheds).preempt_order)

    def misses(self, vnodes: Sequence[Vnode], batch_jobs: Sequence[BatchJob]) -> bool:
        """Return whether nodes or batch jobs show a queue or a reservation that this does not know."""
        known = {queue.name for queue in self.queues.execution} | self.queues.routing | self.reservation_names
        reserved = {name for reservation in self.reservations for name in reservation.nodes}
        return (
            any(batch.partition and batch.partition not in known for batch in batch_jobs)
            or any(vnode.queue and vnode.queue not in known for vnode in vnodes)
            or any("resv-exclusive" in vnode.states and vnode.host not in reserved for vnode in vnodes)
        )


class PbsSlowLook:
    """The slow look, and how long it is believed.

    Parameters
    ----------
    ask: runs one command.
    user: who submits pilots.
    keep_for: how long queues, server and scheduler are believed.
    reservations_for: how long the reservations are believed.
    """

    def __init__(self, *, ask: Ask, user: str, keep_for: timedelta, reservations_for: timedelta) -> None:
        self._ask = ask
        self._user = user
        self._keep_for = keep_for.total_seconds()
        self._reservations_for = min(reservations_for, keep_for).total_seconds()
        self._slow: PbsSlow | None = None
        self._read_at = self._reserved_at = 0.0  # monotonic

    @property
    def known(self) -> PbsSlow | None:
        """What the last look showed, however old."""
        return self._slow

    def look(self, give_up_at: float, host_of: Mapping[str, str]) -> PbsSlow:
        """Return what is believed, asked anew where it is old.

        Parameters
        ----------
        give_up_at: monotonic.
        host_of: the host of each vnode.
        """
        now = time.monotonic()
        slow = self._slow
        if slow is None or now - self._read_at >= self._keep_for:
            return self._look(give_up_at, host_of)
        if now - self._reserved_at >= self._reservations_for:
            reserved = self._reservations(give_up_at, host_of)
            self._slow = slow = msgspec.structs.replace(slow, reservations=reserved)
        return slow

    def look_again(self, give_up_at: float, host_of: Mapping[str, str]) -> PbsSlow:
        """Return it asked anew, because something was seen that it does not know; what is young stays."""
        if self._slow is not None and time.monotonic() - self._read_at < min(_DOUBT_S, self._keep_for):
            return self._slow
        return self._look(give_up_at, host_of)

    def doubt(self) -> None:
        """Have it asked anew at the next look, because PBS refused what it allows; what is young stays."""
        if time.monotonic() - self._read_at >= _DOUBT_S:
            self._read_at = float("-inf")

    def _look(self, give_up_at: float, host_of: Mapping[str, str]) -> PbsSlow:
        # One call each: `qmgr -c a -c b` runs only the last.
        self._slow = PbsSlow(
            server=server(self._ask(LIST_SERVER, give_up_at)),
            scheds=scheds(self._ask(LIST_SCHED, give_up_at)),
            queues=queue_list(self._ask(QSTAT_QUEUES, give_up_at), self._user),
            reservations=self._reservations(give_up_at, host_of),
        )
        self._read_at = time.monotonic()
        return self._slow

    def _reservations(self, give_up_at: float, host_of: Mapping[str, str]) -> tuple[Reservation, ...]:
        found = reservations(self._ask(PBS_RSTAT, give_up_at), host_of)
        self._reserved_at = time.monotonic()
        return found
