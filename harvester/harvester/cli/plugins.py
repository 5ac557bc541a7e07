"""Plugins: the policies and scheduler adapters that other installed packages add through entry points.

Owns the names of the two groups, the look-up, and the errors, which name the package at fault. Knows no configuration.
The domain scans nothing: `offer_policies` puts the policies that it finds where `policies.by_name` looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from harvester.domain.cluster.ports import AdapterSettings, SchedulerAdapter
from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import Policy

POLICIES = "harvester.policies"
"""The group of policies: each entry point names a class, or a function, that is called without arguments."""

SCHEDULERS = "harvester.schedulers"
"""The group of scheduler adapters: each entry point names what is called with `AdapterSettings`."""

_VERBS = tuple(name for name in vars(SchedulerAdapter) if not name.startswith("_"))


class PluginError(ValueError):
    """An installed package adds something that cannot be used.

    Parameters
    ----------
    problem: what was wrong, with the package's name.
    remedy: what to do.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


def offer_policies() -> None:
    """Let `policies.by_name` find the policies of other packages. Imports none of them yet. Raises `PluginError`."""
    for point in _points(POLICIES, taken=tuple(policies.POLICIES)).values():
        policies.add(point.name, _maker(point))


def scheduler_kinds(own: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all adapters: our `own`, then those of other packages. Raises `PluginError`."""
    return (*own, *sorted(_points(SCHEDULERS, taken=own)))


def make_adapter(kind: str, settings: AdapterSettings, own: Sequence[str]) -> SchedulerAdapter:
    """Return the adapter that another package adds as `kind`.

    Raises `PluginError` where the package is at fault, `ValueError` for settings that the adapter refuses.
    """
    point = _points(SCHEDULERS, taken=own)[kind]
    make = _loaded(point)
    try:
        adapter: object = make(settings)
    except ValueError:
        raise
    except Exception as error:
        raise _blame(point, f"cannot be made: {_told(error)}") from error
    missing = [name for name in _VERBS if not hasattr(adapter, name)]
    if missing:
        raise _blame(point, f"is not a SchedulerAdapter: it lacks {', '.join(missing)}")
    return cast("SchedulerAdapter", adapter)


def _points(group: str, *, taken: Sequence[str]) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in taken:
            raise _blame(point, "has a name that the harvester itself uses")
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise _blame(point, f"has a name that the package {_package(other)} uses too")
    return found


def _maker(point: EntryPoint) -> Callable[[], Policy]:
    def make() -> Policy:
        maker = _loaded(point)
        try:
            policy: object = maker()
        except Exception as error:
            raise _blame(point, f"cannot be made: {_told(error)}") from error
        if not callable(getattr(policy, "plan", None)):
            raise _blame(point, "is not a Policy: it lacks plan")
        return cast("Policy", policy)

    return make


def _loaded(point: EntryPoint) -> Callable[..., object]:
    try:
        loaded: object = point.load()
    except (Exception, SystemExit) as error:  # a module of another package may raise anything when it is imported
        raise _blame(point, f"cannot be imported: {_told(error)}") from error
    if not callable(loaded):
        raise _blame(point, "cannot be called")
    return loaded


def _blame(point: EntryPoint, what: str) -> PluginError:
    kind = "policy" if point.group == POLICIES else "scheduler adapter"
    name = point.dist.name if point.dist else "NAME"
    problem = f'the {kind} "{point.name}" ({point.value}) of the package {_package(point)} {what}'
    return PluginError(problem, f"update that package, or remove it with `pip uninstall {name}`")


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "(unknown)"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
