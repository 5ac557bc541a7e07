"""Policies: each is one way to decide how many pilots there should be. All of them are pure, and know no scheduler."""

from __future__ import annotations

from collections.abc import Callable

from harvester.domain.harvest.planning import Policy
from harvester.domain.harvest.policies.demand import DemandPolicy
from harvester.domain.harvest.policies.fib import FibPolicy
from harvester.domain.harvest.policies.gap import GapPolicy
from harvester.domain.harvest.policies.var import VarPolicy

POLICIES: dict[str, Callable[[], Policy]] = {
    "demand": DemandPolicy,
    "fib": FibPolicy,
    "gap": GapPolicy,
    "var": VarPolicy,
}
"""Our own, by the name that a config or a command gives."""

_added: dict[str, Callable[[], Policy]] = {}  # of other packages


def add(name: str, make: Callable[[], Policy]) -> None:
    """Let `by_name` find a policy of another package; a second call with the same name replaces the first."""
    _added[name] = make


def known() -> list[str]:
    """Return the names that `by_name` takes."""
    return sorted(POLICIES | _added)


def by_name(name: str) -> Policy:
    """Return the policy called `name`. Raises `ValueError` that lists those there are."""
    make = POLICIES.get(name) or _added.get(name)
    if make is None:
        raise ValueError(f'there is no policy "{name}"; there are {", ".join(known())}')
    return make()
