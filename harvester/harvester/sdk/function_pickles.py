"""How a decorated function is pickled: as itself for other programs of its user, as the plain one for pilots.

Owns the three ways: pickle, which finds it by its name; cloudpickle, which other libraries use and whose `__main__` is
another one on the other side; and our own pickler, whose reader has nothing of ours.
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle

from harvester.sdk import pickler

if TYPE_CHECKING:
    from harvester.sdk.functions import Function

Reduced = str | tuple[Any, ...]


def install(kind: type[Function[..., Any]]) -> None:
    """Have cloudpickle and our pickler write decorated functions."""
    cloudpickle.Pickler.dispatch_table[kind] = _by_cloudpickle
    pickler.written_as(kind, _for_pilots)


def by_name_or_parts(function: Function[..., Any]) -> Reduced:
    """Return what `__reduce__` is to return."""
    try:
        found = operator.attrgetter(function.__qualname__)(sys.modules[function.__module__])
    except (AttributeError, KeyError):
        found = None
    return function.__qualname__ if found is function else _parts(function, is_named=found is function.origin)


def _parts(function: Function[..., Any], *, is_named: bool) -> tuple[Any, ...]:
    if function.bound_to:
        return _bound, (function.origin, *function.bound_to), {"asked": function.asked}
    if is_named:
        return _twin, (function.origin,), {"asked": function.asked}
    state = {name: getattr(function, name) for name in ("asked", "ship_module", "packages")}
    return type(function), (function.__wrapped__, function.traits), state


def _bound(origin: Function[..., Any], instance: object) -> Function[..., Any]:
    return origin.__get__(instance)


def _twin(origin: Function[..., Any]) -> Function[..., Any]:
    return origin.options()


def _by_cloudpickle(function: Function[..., Any]) -> Reduced:
    reduced = by_name_or_parts(function)
    is_elsewhere = function.__module__ == "__main__" and not function.bound_to
    return _parts(function, is_named=False) if is_elsewhere else reduced


def _for_pilots(function: Function[..., Any]) -> tuple[Any, ...]:
    pickler.reached(function.packages)
    # operator.getitem is the identity function that every Python has: ((f,), 0) unpickles to f.
    return (operator.getitem, ((function.__wrapped__,), 0))
