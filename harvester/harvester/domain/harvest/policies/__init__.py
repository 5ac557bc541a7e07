"""Policies: each is one way to decide how many pilots there should be. All of them are pure, and know no scheduler."""

from __future__ import annotations

from harvester.domain.harvest.planning import Policy
from harvester.domain.harvest.policies.demand import DemandPolicy
from harvester.domain.harvest.policies.fib import FibPolicy
from harvester.domain.harvest.policies.gap import GapPolicy
from harvester.domain.harvest.policies.var import VarPolicy

POLICIES: dict[str, type[Policy]] = {
    "demand": DemandPolicy,
    "fib": FibPolicy,
    "gap": GapPolicy,
    "var": VarPolicy,
}
"""All of them, by the name that a config or a command gives."""


def by_name(name: str) -> Policy:
    """Return the policy called `name`. Raises `ValueError` that lists those there are."""
    try:
        return POLICIES[name]()
    except KeyError:
        raise ValueError(f'there is no policy "{name}"; there are {", ".join(sorted(POLICIES))}') from None
