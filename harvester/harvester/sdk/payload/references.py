"""What a function refers to: the globals that its code names, its closure's variables, its defaults.

Owns how they are found, without calling anything. Who pickles a function by value sends these along.
"""

from __future__ import annotations

import builtins
import dis
import importlib.util
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"})


class Missing:
    """Stands for a global that is named and not there, and for a closure's variable that has no value yet."""


MISSING = Missing()
Finder = Callable[[types.FunctionType], Any]


class Reference(NamedTuple):
    """One thing that a function refers to."""

    words: str  # what to call it
    of: Finder  # finds its present value
    name: str = ""  # of a global


def references_of(fn: types.FunctionType) -> Iterator[Reference]:
    """Yield the globals and the closure's variables of a function; not builtins, nor what is in the values."""
    for name in global_names(fn.__code__):
        yield Reference(f"its global {name!r}", _global(name), name)
    for index, name in enumerate(fn.__code__.co_freevars):
        yield Reference(f"its closure's variable {name!r}", _cell(index))


def defaults_of(fn: types.FunctionType) -> Iterator[Reference]:
    """Yield the defaults of a function's parameters."""
    for index in range(len(fn.__defaults__ or ())):
        yield Reference("a default", _default(index))
    for name in fn.__kwdefaults__ or ():
        yield Reference(f"the default of {name!r}", _keyword_default(name))


def attributes_of(fn: types.FunctionType) -> Iterator[Reference]:
    """Yield what was set on a function itself, `fn.n = 1`, which travels with it."""
    for name in vars(fn):
        yield Reference(f"its attribute {name!r}", _attribute(name))


def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the globals that code names, functions inside it included. Builtins are none."""
    return tuple(dict.fromkeys(name for name in _names(code) if not hasattr(builtins, name)))


def _names(code: types.CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in _GLOBAL:
            yield step.argval
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def imported_names(fn: types.FunctionType) -> Iterator[str]:
    """Yield the modules that a function imports when it runs, and what it takes from them, which may be modules too."""
    package = fn.__globals__.get("__package__") or ""
    for level, wanted, name in _imports(fn.__code__):
        try:
            module = importlib.util.resolve_name("." * level + name, package)
        except ImportError:
            continue  # it goes beyond its top package, and will say so when it runs
        yield module
        yield from (f"{module}.{each}" for each in wanted or ())


def _imports(code: types.CodeType) -> Iterator[tuple[int, tuple[str, ...] | None, str]]:
    level = wanted = None
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            yield level or 0, wanted, step.argval
        level, wanted = wanted, step.argval
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _imports(const)


def _global(name: str) -> Finder:
    return lambda fn: fn.__globals__.get(name, MISSING)


def _cell(index: int) -> Finder:
    def find(fn: types.FunctionType) -> object:
        try:
            return (fn.__closure__ or ())[index].cell_contents
        except ValueError:  # it has no value yet
            return MISSING

    return find


def _default(index: int) -> Finder:
    return lambda fn: (*(fn.__defaults__ or ())[index : index + 1], MISSING)[0]


def _attribute(name: str) -> Finder:
    return lambda fn: vars(fn).get(name, MISSING)


def _keyword_default(name: str) -> Finder:
    return lambda fn: (fn.__kwdefaults__ or {}).get(name, MISSING)
