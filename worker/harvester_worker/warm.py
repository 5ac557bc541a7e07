"""Warm: the slot processes that are idle and kept, because the function that they have loaded may come again.

Owns which of them is taken and which has to go first. A process is taken for its own tenant only and in its own
surroundings: nothing of one user's, and of one function's, is there for another. Pure but for their numbers.
"""

from collections.abc import Iterable
from typing import NamedTuple

from harvester_worker.effects import Tenant
from harvester_worker.surroundings import Surroundings


class Kind(NamedTuple):
    """What a slot process is for, from its start to its end."""

    surroundings: Surroundings
    tenant: Tenant


class Warm:
    """Idle slot processes by their numbers, the least recently used first."""

    def __init__(self) -> None:
        self._kinds: dict[int, Kind] = {}
        self._numbers: dict[Kind, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, number: int, kind: Kind) -> None:
        """Keep a process that is idle from now on."""
        self._kinds[number] = kind
        self._numbers.setdefault(kind, {})[number] = None

    def take(self, kind: Kind) -> int | None:
        """Return the process of this kind that was used last, if there is one, and keep it no longer."""
        numbers = self._numbers.get(kind)
        if numbers is None:
            return None
        number = next(reversed(numbers))
        self.discard(number)
        return number

    def discard(self, number: int) -> None:
        """Keep a process no longer, if it was kept."""
        kind = self._kinds.pop(number, None)
        if kind is not None:
            numbers = self._numbers[kind]
            del numbers[number]
            if not numbers:
                del self._numbers[kind]

    def first(self) -> int | None:
        """Return the process that was not used for longest."""
        return next(iter(self._kinds), None)

    def numbers(self) -> list[int]:
        """Return all of them, the least recently used first."""
        return list(self._kinds)

    def with_devices(self, devices: Iterable[str]) -> list[int]:
        """Return those that may hold memory of any of these devices."""
        wanted = set(devices)
        return [number for number, kind in self._kinds.items() if wanted & set(kind.surroundings.gpus or ())]
