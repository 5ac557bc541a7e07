"""The pickler for what travels to the pilots: functions and arguments, of which a pilot has only its own modules.

Owns what it writes otherwise than cloudpickle does: decorated functions as the plain ones, the standard library's
wrappers that cloudpickle would look up in the `__main__` of the other side, and modules that are shipped whole. What it
writes is read by pickle and cloudpickle alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import pickle
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cloudpickle

from harvester.domain.payload.buffers import Part
from harvester.domain.payload.pickles import pickled
from harvester.sdk.payload import own_classes

T = typing.TypeVar("T")
Reduced = str | tuple[Any, ...]
Reducer = Callable[[Any], Reduced]

NO_PACKAGES: frozenset[str] = frozenset()

_by_value = threading.RLock()  # cloudpickle's list of modules to pickle by value belongs to the whole process
_reached = threading.local()  # .packages: those whose functions want their package along, of the pickle being written


def pieces(value: object, packages: frozenset[str] = NO_PACKAGES) -> list[Part]:
    """Return the pieces of one payload, these packages sent by value. Raises whatever pickling raises."""
    if not packages:  # as nearly always, and at each call
        _reached.packages = NO_PACKAGES
        found = pickled(value, _dumps)
        if not _reached.packages:
            return found
        packages = _reached.packages
    return settled(lambda _: pickled(value, _dumps), packages)


def settled(write: Callable[[frozenset[str]], T], packages: frozenset[str]) -> T:
    """Return what `write` makes with these packages sent by value, and with those that functions in it want along."""
    while True:
        _reached.packages = NO_PACKAGES
        with sending_by_value(packages):
            found = write(packages)
        if _reached.packages <= packages:
            return found
        packages |= _reached.packages  # begin again: what came before may be of such a package


def reached(packages: frozenset[str]) -> None:
    """Record, while pickling, that a function wants these packages sent by value."""
    _reached.packages |= packages


@contextlib.contextmanager
def sending_by_value(packages: frozenset[str]) -> Iterator[None]:
    """Pickle these packages, and what is in them, by value inside this block."""
    if not packages:
        yield
        return
    with _by_value:  # again where users' code runs in here: their `__reduce__`, a module that is imported
        ours = packages.intersection(sys.modules) - cloudpickle.list_registry_pickle_by_value() - {"__main__"}
        for package in ours:
            cloudpickle.register_pickle_by_value(_module(package))
        try:
            yield
        finally:
            for package in ours:
                cloudpickle.unregister_pickle_by_value(_module(package))


def is_by_value(module: str) -> bool:
    """Whether functions and classes of this module are sent by value just now."""
    parts = module.split(".")
    registered = cloudpickle.list_registry_pickle_by_value()
    return module == "__main__" or any(".".join(parts[:end]) in registered for end in range(1, len(parts) + 1))


def name_of(found: object) -> str | None:
    """Return the name in its module under which the other side finds this object; None where it must go by value."""
    module, name = getattr(found, "__module__", None) or "", getattr(found, "__qualname__", "")
    if not name or is_by_value(module) or module not in sys.modules:
        return None
    try:
        return name if operator.attrgetter(name)(sys.modules[module]) is found else None
    except AttributeError:
        return None


class _Table:
    """Who writes which class: ours, else cloudpickle's, else what `copyreg` has been told.

    Looked up for every object without a reducer of its own, so it is quicker than a `ChainMap`, and looks at them all
    anew: modules that are imported later add to them.
    """

    def __init__(self, *theirs: Mapping[type, Reducer]) -> None:
        self.ours: dict[type, Reducer] = {}
        self._theirs = theirs

    def __getitem__(self, kind: type) -> Reducer:
        if (found := self.ours.get(kind)) is not None:
            return found
        for reducers in self._theirs:
            if (found := reducers.get(kind)) is not None:
                return found
        raise KeyError(kind)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Writes for a pilot."""

    dispatch_table = _Table(*cloudpickle.Pickler.dispatch_table.maps)

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - whatever is pickled
        """Write as cloudpickle does, and record classes that go by value."""
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented and isinstance(obj, type):
            own_classes.sent(obj)
            if len(reduced) > 2:  # with its attributes, among which pickle keeps this once it has written an instance
                reduced[2][0].pop("__slotnames__", None)
        return reduced


def written_as(kind: type, reduce: Reducer) -> None:
    """Have objects of this very class written by `reduce`, as `copyreg.pickle` does it for every pickler."""
    Pickler.dispatch_table.ours[kind] = reduce


def _dumps(
    value: object, /, *, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], bool] | None = None
) -> bytes:
    with io.BytesIO() as file:
        Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


def _module(name: str) -> types.ModuleType:
    return types.ModuleType(name)  # cloudpickle looks at its name alone, and the module may be gone meanwhile


# ---- what cloudpickle cannot write, or writes by the name in a `__main__` that the other side has not ---------------


def _cached(fn: functools._lru_cache_wrapper[Any]) -> Reduced:
    """Write a function under `functools.lru_cache` as what makes one, its cache empty."""
    if (name := name_of(fn)) is not None:
        return name
    parameters = fn.cache_parameters()
    # What it caches comes with its state: it may refer to itself, as a recursive one does.
    state = {name: value for name, value in vars(fn).items() if name != "cache_parameters"}
    return _remake(), (parameters["maxsize"], parameters["typed"]), state


def _remake() -> Callable[[int | None, bool], object]:
    """Return the function that makes one there; an inner one, which travels whole and needs nothing of ours."""

    def remake(maxsize: int | None, typed: bool) -> object:
        def call(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - any function's
            return cached.__wrapped__(*args, **kwargs)

        cached = functools.lru_cache(maxsize, typed)(call)
        return cached

    return remake


def _cached_property(prop: functools.cached_property[Any]) -> Reduced:
    return functools.cached_property, (prop.func,), {"attrname": prop.attrname}  # without its lock, which 3.11 has


def _new_type(made: typing.NewType) -> Reduced:
    if (name := name_of(made)) is not None:
        return name
    return typing.NewType, (made.__name__, made.__supertype__), {"__module__": made.__module__}


def _of_module(module: types.ModuleType) -> Reduced:
    if module.__name__ == "__main__" or not is_by_value(module.__name__):
        reduced: Reduced = cloudpickle.Pickler.dispatch_table[types.ModuleType](module)
        return reduced
    # Its content as its state, because modules of a package refer to one another.
    state = {name: value for name, value in vars(module).items() if name not in _OF_THE_IMPORT}
    return _placing(), (module.__name__,), state


def _placing() -> Callable[[str], types.ModuleType]:
    """Return the function that makes a module there, for imports to find; an inner one, as in `_remake`."""

    def place(name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        if getattr(sys.modules.get(name), "__spec__", None) is None:  # none, or one that was sent as well
            sys.modules[name] = module
        return module

    return place


_OF_THE_IMPORT = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__"})

written_as(type(functools.lru_cache(len)), _cached)
written_as(functools.cached_property, _cached_property)
written_as(typing.NewType, _new_type)
written_as(types.ModuleType, _of_module)
