"""How a decorated function is pickled: as itself for its user; for pilots so that it is the plain one without an SDK.

Owns the three ways: pickle, which finds it by its name; cloudpickle, which other libraries use and whose `__main__` is
another one on the other side; and our own pickler, whose reader may have nothing of ours.
"""

from __future__ import annotations

import copyreg
import functools
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle
import msgspec

from harvester.sdk.options import Options
from harvester.sdk.payload import pickler
from harvester.sdk.payload.shipping import Traits
from harvester.sdk.registration.functions import Function

Reduced = str | tuple[Any, ...]


def install() -> None:
    """Have pickle, cloudpickle and our pickler write decorated functions."""
    copyreg.pickle(Function, _by_name_or_parts)
    cloudpickle.Pickler.dispatch_table[Function] = _by_cloudpickle
    pickler.written_as(Function, _for_pilots)


def _by_name_or_parts(function: Function[..., Any]) -> Reduced:
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
    reduced = _by_name_or_parts(function)
    is_elsewhere = function.__module__ == "__main__" and not function.bound_to
    return _parts(function, is_named=False) if is_elsewhere else reduced


def _for_pilots(function: Function[..., Any]) -> tuple[Any, ...]:
    pickler.reached(function.packages)
    said = _Said(
        traits=function.traits,
        ship_module=function.ship_module,
        packages=tuple(sorted(function.packages)),
        asked=function.asked,
    )
    return (_arrive(), (function.__wrapped__, msgspec.json.encode(said)))


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a pickle holds beside the plain function; as JSON, so that its strings are nobody else's too."""

    traits: Traits
    ship_module: bool
    packages: tuple[str, ...]
    asked: Options


def restored(plain: Callable[..., Any], said: bytes) -> Function[..., Any]:
    """Return a decorated function that has arrived on a pilot; for `_arrive`."""
    install()  # nobody has decorated anything there
    found = msgspec.json.decode(said, type=_Said)
    function: Function[..., Any] = Function(plain, found.traits)
    function.ship_module, function.packages = found.ship_module, frozenset(found.packages)
    function.asked, function.is_restored = found.asked, True
    return function


@functools.cache
def _arrive() -> Callable[..., Any]:
    """Return what makes a decorated function of its pickle; an inner function, which travels whole and needs no SDK."""

    def arrive(plain: Callable[..., Any], said: bytes) -> Callable[..., Any]:
        try:
            from harvester.sdk.registration.function_pickles import restored  # noqa: PLC0415 - there
        except ImportError:
            return plain
        return restored(plain, said)

    # Without a word of where this package lies, so that the same function is the same pickle on laptop and node.
    code = arrive.__code__.replace(co_filename="<harvester>", co_firstlineno=1)
    return types.FunctionType(code, {"__name__": "harvester_arrival"}, "arrive")
