"""Whether a function still is what was sent: what it referred to when it was pickled, held against what it does now.

Owns the comparison, which is made at each call and so must cost about a microsecond. Functions, classes and what else
is found by identity is compared so; small lists, dicts and sets by their content. Of anything else nobody can tell
cheaply whether it was changed in place: such a function is *opaque*, and to be pickled again from time to time.
"""

from __future__ import annotations

import functools
import marshal
import types
import weakref
from collections.abc import Callable
from typing import Any

from harvester.domain.model.callables import DEEPEST
from harvester.sdk.payload import pickler
from harvester.sdk.payload.references import MISSING, Reference, attributes_of, defaults_of, references_of
from harvester.sdk.registration.functions import Function

LARGEST = 4096
"""Bytes of a container that is compared by its content at each call, which takes up to 10 µs."""

MOST_FUNCTIONS = 32
"""Functions that are compared at each call; half a microsecond each."""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(MISSING)})
_CONTAINERS = frozenset({list, dict, set, bytearray, tuple, frozenset})
_FIXED = frozenset({types.FunctionType, types.BuiltinFunctionType, type(functools.lru_cache(len)), Function})
_MARSHAL = 2  # the last version that writes equal values alike, whoever else refers to them


class Footprint:
    """Of one function that travels by value, and of those that it uses which no module has under their names.

    It holds the values only where they hold no others, so that it keeps nothing alive, least of all the function.

    Parameters
    ----------
    fn: as it is now.
    """

    __slots__ = ("_atoms", "_attributes", "_code", "_defaults", "_inner", "_of", "_others", "_referred", "unseen")

    def __init__(self, fn: types.FunctionType, known: set[int] | None = None) -> None:
        known = {id(fn)} if known is None else known
        self._of = weakref.ref(fn)
        self._code = fn.__code__
        # Nearly always they are numbers and texts, and one look tells; else each is looked at by itself.
        self._defaults = fn.__defaults__ if _are_atoms(fn.__defaults__) else MISSING
        self._atoms: list[tuple[str, object]] = []  # globals, as are the next
        self._referred: list[tuple[str, weakref.ref[Any]]] = []
        self._others: list[Callable[[types.FunctionType], bool]] = []
        self._inner: list[Footprint] = []
        self.unseen: list[str] = []  # what may be changed in place, as its user calls it
        is_each = fn.__kwdefaults__ or self._defaults is MISSING
        self._attributes = len(vars(fn))
        for reference in (*references_of(fn), *(defaults_of(fn) if is_each else ()), *attributes_of(fn)):
            value = reference.of(fn)
            if not self._mark(reference, value):
                self.unseen.append(reference.words)
            inner = _function_in(value)
            if inner is None or id(inner) in known or pickler.name_of(inner) is not None:
                continue
            if len(known) == MOST_FUNCTIONS:
                self.unseen.append(reference.words)
                continue
            known.add(id(inner))
            self._inner.append(Footprint(inner, known))
            self.unseen += self._inner[-1].unseen

    def _mark(self, reference: Reference, value: Any) -> bool:  # noqa: ANN401 - whatever a function refers to
        """Record a value; return whether changes in place will be seen too."""
        of, kind = reference.of, type(value)
        if kind in _ATOMS:
            if reference.name:
                self._atoms.append((reference.name, value))
            else:
                self._others.append(lambda fn: of(fn) is value)
            return True
        if kind in _CONTAINERS and (content := _content(value)) is not None:
            self._others.append(lambda fn: type(now := of(fn)) is kind and _content(now) == content)
            return True
        try:
            known = weakref.ref(value)
        except TypeError:
            identity = id(value)
            self._others.append(lambda fn: id(of(fn)) == identity)
            return False
        if reference.name:
            self._referred.append((reference.name, known))
        else:
            self._others.append(lambda fn: known() is of(fn))
        return _is_fixed(value)

    def fits(self) -> bool:
        """Whether the function is what it was, as far as can be seen. Part of each call, and written for that."""
        fn = self._of()
        return (
            fn is not None
            and fn.__code__ is self._code
            and (self._defaults is MISSING or fn.__defaults__ is self._defaults)
            and len(fn.__dict__) == self._attributes
            and self._do_globals_fit(fn.__globals__.get)
            and self._do_others_fit(fn)
        )

    def _do_globals_fit(self, now: Callable[..., object]) -> bool:
        for name, value in self._atoms:
            if now(name, MISSING) is not value:
                return False
        for name, known in self._referred:
            found = now(name)
            if found is None or known() is not found:
                return False
        return True

    def _do_others_fit(self, fn: types.FunctionType) -> bool:
        for fits in self._others:
            if not fits(fn):
                return False
        for inner in self._inner:  # noqa: SIM110 - a generator costs as much as all the rest
            if not inner.fits():
                return False
        return True


def footprint_of(fn: Callable[..., Any]) -> Footprint | None:
    """Return the footprint of a function that is about to be sent; None where a module has it under its name."""
    inner = _function_in(fn)
    return Footprint(inner) if inner is not None and pickler.name_of(inner) is None else None


def _are_atoms(values: tuple[Any, ...] | None) -> bool:
    return all(type(value) in _ATOMS for value in values or ())


def _content(value: Any) -> bytes | None:  # noqa: ANN401 - as above
    try:
        content = marshal.dumps(value, _MARSHAL)
    except ValueError:  # there is something else in it
        return None
    return content if len(content) <= LARGEST else None


def _is_fixed(value: object) -> bool:
    """Whether it is taken to stay as it is: a module, what a module names, a function with its own footprint."""
    if isinstance(value, types.ModuleType):
        return True  # also where it is sent along: what programs keep in their modules changes all the time
    if isinstance(value, type):
        return pickler.name_of(value) is not None
    return type(value) in _FIXED


def _function_in(value: Any) -> types.FunctionType | None:  # noqa: ANN401 - as above
    """Return the function that `value` calls, None for a callable whose inside is not known."""
    for _ in range(DEEPEST):
        kind = type(value)
        if kind is types.FunctionType:
            function: types.FunctionType = value
            return function
        if kind is functools.partial:
            value = value.func
        elif kind is types.MethodType:
            value = value.__func__
        elif kind in _FIXED and hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            break
    return None
