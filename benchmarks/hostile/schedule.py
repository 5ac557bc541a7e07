"""The soak's faults, drawn from a seed: what happens when, and for how long. Pure."""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec

LAST_S = 20.0  # nothing new so long before the end


class Kind(StrEnum):
    """What is done to the system."""

    SLOT = "kill -9 of a slot"
    AGENT = "kill -9 of an agent"
    ZYGOTE = "kill -9 of a zygote"
    UP = "kill -9 of gateway and daemon"
    SLURMD = "kill -9 of a slurmd"
    SLURMCTLD = "slurmctld stopped"
    DRAIN = "node drained"
    RESERVATION = "reservation"
    PRIME = "prime job"


_OFTEN = {
    Kind.SLOT: 6,
    Kind.AGENT: 4,
    Kind.ZYGOTE: 4,
    Kind.UP: 2,
    Kind.SLURMD: 2,
    Kind.SLURMCTLD: 1,
    Kind.DRAIN: 3,
    Kind.RESERVATION: 2,
    Kind.PRIME: 8,
}
_LASTS_S = {
    Kind.UP: (0.0, 3.0),
    Kind.SLURMD: (2.0, 15.0),
    Kind.SLURMCTLD: (5.0, 20.0),
    Kind.DRAIN: (15.0, 40.0),
    Kind.RESERVATION: (10.0, 30.0),
    Kind.PRIME: (3.0, 15.0),
}
_NEEDS_CONTROLLER = {Kind.DRAIN, Kind.RESERVATION, Kind.PRIME, Kind.SLURMCTLD}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `pick` in 0..1 says whom it hits, of those that are there then."""

    at_s: float
    kind: Kind
    pick: float
    lasts_s: float = 0.0
    nodes: int = 1


def draw(seed: int, minutes: float, nodes: int, every_s: float) -> list[Fault]:
    """Return faults for `minutes`, each kind once at first if there is time, about one in `every_s` seconds.

    While slurmctld is stopped nothing is done that needs it.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, no secret
    owed = list(Kind)
    chance.shuffle(owed)
    found: list[Fault] = []
    at_s, back_s = chance.uniform(5.0, 10.0), 0.0
    while at_s < 60 * minutes - LAST_S:
        kind = _next(chance, owed, is_controlled=at_s >= back_s)
        low, high = _LASTS_S.get(kind, (0.0, 0.0))
        fault = Fault(
            at_s=at_s,
            kind=kind,
            pick=chance.random(),
            lasts_s=chance.uniform(low, high),
            nodes=chance.randint(2, max(2, nodes - 2)) if kind is Kind.PRIME else 1,
        )
        if kind is Kind.SLURMCTLD:
            back_s = at_s + fault.lasts_s + 5.0
        found.append(fault)
        at_s += chance.uniform(0.3, 1.7) * every_s
    return found


def _next(chance: random.Random, owed: list[Kind], *, is_controlled: bool) -> Kind:
    possible = [kind for kind in owed if is_controlled or kind not in _NEEDS_CONTROLLER]
    if possible:
        owed.remove(possible[0])
        return possible[0]
    kinds = [kind for kind in Kind if is_controlled or kind not in _NEEDS_CONTROLLER]
    return chance.choices(kinds, [_OFTEN[kind] for kind in kinds])[0]
