"""Warm slots: the processes that are idle and kept, because the function that they have loaded may be called again.

Owns which of them is taken and which has to go first. A process is taken only for its own tenant and in its own
surroundings, so that no user and no function finds anything of another. It must know a
process only by its number.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from harvester.domain.model.resources import Resources
from harvester_worker.core.effects import Tenant
from harvester_worker.isolation.slot_environment import Surroundings

SHARE = 0.25
"""The share of the pilot's memory that all of them together may have."""

USUAL_BYTES = 2 * 1024**3
"""Memory for each CPU where the pilot is told of none: HPC nodes have at least that."""

MOST = 256
"""The most that are kept, however many CPUs the pilot has."""

WEIGH_S = 1.0
"""Their memory is looked at no more often than this,"""

WEIGH_EACH = 16
"""but each time that so many for each CPU were started."""


class SlotKind(NamedTuple):
    """What a slot process is for, from its start to its end."""

    surroundings: Surroundings
    tenant: Tenant


class WarmSlots:
    """Idle slot processes by their numbers, the least recently used first.

    Parameters
    ----------
    capacity: the pilot's.
    for_each_cpu: so many are kept.
    """

    def __init__(self, capacity: Resources, for_each_cpu: int) -> None:
        cpus = max(1, capacity.cpus)
        self._most = cpus + min(MOST, cpus * for_each_cpu)  # processes, those that run included
        self._most_bytes = int(SHARE * (capacity.memory_mb * 1024**2 or cpus * USUAL_BYTES))
        self._weigh_at, self._unweighed = 0.0, 0
        self._most_unweighed = cpus * WEIGH_EACH
        self._kinds: dict[int, SlotKind] = {}
        self._numbers: dict[SlotKind, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, number: int, kind: SlotKind) -> None:
        """Keep a process that is idle from now on."""
        self._kinds[number] = kind
        self._numbers.setdefault(kind, {})[number] = None

    def take(self, kind: SlotKind) -> int | None:
        """Return the process of this kind that was used last, if there is one, and keep it no longer."""
        numbers = self._numbers.get(kind)
        if numbers is None:
            return None
        number = next(reversed(numbers))
        self.discard(number)
        return number

    def discard(self, number: int) -> None:
        """Stop keeping a process, if it was kept."""
        kind = self._kinds.pop(number, None)
        if kind is not None:
            numbers = self._numbers[kind]
            del numbers[number]
            if not numbers:
                del self._numbers[kind]

    def choose_surplus(self, count: int, now: float, weigh: Callable[[int], int]) -> list[int]:
        """Return those that have to go before one more process is started, of `count` that there are, idle or not.

        `weigh` returns the bytes that one has for itself.
        """
        too_many = max(0, count + 1 - self._most)
        numbers = list(self._kinds)
        self._unweighed += 1
        if now < self._weigh_at and self._unweighed < self._most_unweighed:
            return numbers[:too_many]
        self._weigh_at, self._unweighed = now + WEIGH_S, 0
        left = self._most_bytes
        for kept, number in enumerate(reversed(numbers)):
            left -= weigh(number)
            if left < 0:
                return numbers[: max(too_many, len(numbers) - kept)]
        return numbers[:too_many]

    def with_devices(self, devices: Iterable[str]) -> list[int]:
        """Return those that may hold memory of any of these devices."""
        wanted = set(devices)
        return [number for number, kind in self._kinds.items() if wanted & set(kind.surroundings.gpus or ())]
