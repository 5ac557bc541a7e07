"""The slow look: what changes so rarely on a site that it is asked once in a while.

Owns when partitions, configuration, QOSs and reservations are asked anew. Reservations have an interval of their own: a
pilot leaves before one begins, so it must be known well before that. Not safe for threads: the adapter has the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

import msgspec

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchJob, Node, NodeState, Partition, Reservation
from harvester_adapters.slurm.text.access import Submitter
from harvester_adapters.slurm.text.config import SiteConfig, site_config
from harvester_adapters.slurm.text.partitions import partitions
from harvester_adapters.slurm.text.preemption import PilotQos
from harvester_adapters.slurm.text.qos import (
    QOS_ARGUMENTS,
    admin_arguments,
    association_arguments,
    default_qos,
    is_operator,
    qos_table,
)
from harvester_adapters.slurm.text.reservations import reservations

_DOUBT_S = 60.0  # what looks unknown is asked for at most this often
_CONFIG = ("scontrol", "show", "config")
_PARTITIONS = ("scontrol", "--oneliner", "--all", "show", "partition")
_RESERVATIONS = ("scontrol", "--oneliner", "--all", "show", "reservation")

# Runs a command until `give_up_at` (monotonic) and returns its output, or raises `SchedulerUnavailable`.
Ask = Callable[[Sequence[str], float], str]


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """What the slow look showed."""

    site: SiteConfig
    partitions: tuple[Partition, ...]
    reservations: tuple[Reservation, ...]
    sees_all: bool = True  # whatever a site hides from others
    odd: tuple[str, ...] = ()  # reservations that could not be read, and why

    def misses(self, nodes: Iterable[Node], batch_jobs: Iterable[BatchJob]) -> bool:
        """Return whether nodes or batch jobs show a partition or a reservation that this does not know."""
        parts = {part.name for part in self.partitions}
        reserved = {name for reservation in self.reservations for name in reservation.nodes}
        named = {reservation.name for reservation in self.reservations}
        return any(
            not parts.issuperset(node.partitions) or (node.state is NodeState.RESERVED and node.name not in reserved)
            for node in nodes
        ) or any(_is_strange(batch, parts, named) for batch in batch_jobs)


def _is_strange(batch: BatchJob, parts: Collection[str], named: Collection[str]) -> bool:
    return not set(batch.partitions).issubset(parts) or bool(batch.reservation and batch.reservation not in named)


def floated(slow: Slow, age_s: float) -> Slow:
    """Return `slow`, read `age_s` seconds ago, with the starts of floating reservations where they are now."""
    if not any(each.is_floating for each in slow.reservations):
        return slow
    moved = tuple(_moved(each, age_s) if each.is_floating else each for each in slow.reservations)
    return msgspec.structs.replace(slow, reservations=moved)


def _moved(reservation: Reservation, by_s: float) -> Reservation:
    end_at = None if reservation.end_at is None else reservation.end_at + by_s
    return msgspec.structs.replace(reservation, start_at=reservation.start_at + by_s, end_at=end_at)


class SlowLook:
    """The slow look, and how long it is believed.

    Parameters
    ----------
    ask: runs one command.
    submitter: as whom pilots are submitted; where the site preempts by QOS, theirs decides who evicts them.
    keep_for: how long partitions, configuration and QOSs are believed.
    reservations_for: how long the reservations are believed.
    """

    def __init__(self, *, ask: Ask, submitter: Submitter, keep_for: timedelta, reservations_for: timedelta) -> None:
        self._ask = ask
        self._submitter = submitter
        self._keep_for = keep_for.total_seconds()
        self._reservations_for = min(reservations_for, keep_for).total_seconds()
        self._slow: Slow | None = None
        self._read_at = self._reserved_at = 0.0  # monotonic
        self._qos: PilotQos | None = None  # the last answer

    def look(self, give_up_at: float) -> Slow:
        """Return what is believed, asked anew where it is old. `give_up_at`: monotonic."""
        now = time.monotonic()
        slow = self._slow
        if slow is None or now - self._read_at >= self._keep_for:
            return self._look(give_up_at)
        if now - self._reserved_at >= self._reservations_for:
            reserved, odd = self._reservations(give_up_at)
            self._slow = slow = msgspec.structs.replace(slow, reservations=reserved, odd=odd)
        return floated(slow, time.monotonic() - self._reserved_at)

    def look_again(self, give_up_at: float) -> Slow:
        """Return it asked anew, because something was seen that it does not know; what is young stays."""
        if self._slow is not None and time.monotonic() - self._read_at < min(_DOUBT_S, self._keep_for):
            return floated(self._slow, time.monotonic() - self._reserved_at)
        return self._look(give_up_at)

    @property
    def known(self) -> Slow | None:
        """What the last look showed, however old."""
        return self._slow

    def _look(self, give_up_at: float) -> Slow:
        site = site_config(self._ask(_CONFIG, give_up_at))
        text = self._ask(_PARTITIONS, give_up_at)
        reserved, odd = self._reservations(give_up_at)
        qos = self._pilot_qos(give_up_at) if site.preempt_type == "preempt/qos" else PilotQos()
        parts = partitions(text, site, qos, self._submitter)
        sees_all = not site.private or self._sees_all(give_up_at)
        self._slow = Slow(site=site, partitions=parts, reservations=reserved, sees_all=sees_all, odd=odd)
        self._read_at = time.monotonic()
        if qos.why_unknown:  # ask again when the reservations are asked
            self._read_at -= max(0.0, self._keep_for - self._reservations_for)
        return self._slow

    def _sees_all(self, give_up_at: float) -> bool:
        """Return whether we are an operator; without an answer we are none."""
        if self._submitter.is_root:
            return True
        now = time.monotonic()
        try:
            return is_operator(self._ask(admin_arguments(self._submitter.user), now + (give_up_at - now) / 2))
        except SchedulerUnavailable:  # there may be no slurmdbd at all
            return False

    def _reservations(self, give_up_at: float) -> tuple[tuple[Reservation, ...], tuple[str, ...]]:
        """Return the reservations, and what could not be read of the answer."""
        odd: list[str] = []
        found = reservations(self._ask(_RESERVATIONS, give_up_at), odd=odd)
        self._reserved_at = time.monotonic()
        return found, tuple(odd)

    def _pilot_qos(self, give_up_at: float) -> PilotQos:
        """Return the QOSs; without an answer, the last ones, or why there is none."""
        now = time.monotonic()
        give_up_at = now + (give_up_at - now) / 2  # slurmdbd may hang; the nodes must be asked all the same
        try:
            table = qos_table(self._ask(QOS_ARGUMENTS, give_up_at))
            name, account = self._submitter.qos, self._submitter.account
            if not name:
                name = default_qos(self._ask(association_arguments(self._submitter.user), give_up_at), account)
        except SchedulerUnavailable as error:
            return self._qos or PilotQos(why_unknown=f"sacctmgr did not tell which QOS preempts which: {error}")
        if not name:
            unknown = f"sacctmgr tells no single default QOS of {self._submitter.user}; write it as scheduler.slurm.qos"
            return PilotQos(table=table, why_unknown=unknown)
        self._qos = PilotQos(name=name, table=table)
        return self._qos
