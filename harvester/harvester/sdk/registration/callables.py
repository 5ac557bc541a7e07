"""Callables around a function: partials and bound methods.

Owns when a call of one is told as a call of what is beneath it. With a few numbers and texts bound to it, it is: so the
function is registered once, whatever they are. With more it is registered as it is, so that what is bound travels once,
not with every call. Either way it has the traits of the decorator beneath.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

from harvester.sdk.registration.functions import Function

_LAYERS = frozenset({functools.partial, types.MethodType})
_NUMBERS = frozenset({type(None), bool, int, float, complex})
_TEXTS = frozenset({str, bytes})
LONGEST_TEXT = 1000


def innermost_function(fn: Any) -> Any:  # noqa: ANN401 - whatever may be invoked
    """Return what is beneath all partials and bound methods."""
    while type(fn) in _LAYERS:
        fn = _inner(fn)
    return fn


def callee(fn: Any) -> Any:  # noqa: ANN401 - as above
    """Return what is registered where `fn` is invoked."""
    while type(fn) in _LAYERS and _is_light(fn):
        fn = _inner(fn)
    return fn.origin if type(fn) is Function else fn


def whole(fn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:  # noqa: ANN401 - as above
    """Return the arguments with which `callee(fn)` is called where `fn` is called with these."""
    while type(fn) in _LAYERS and _is_light(fn):
        if type(fn) is functools.partial:
            args, kwargs = (*fn.args, *args), {**fn.keywords, **kwargs}
        else:
            args = (fn.__self__, *args)
        fn = _inner(fn)
    if type(fn) is Function and fn.bound_to:
        args = (*fn.bound_to, *args)
    return args, kwargs


def _inner(layer: Any) -> Any:  # noqa: ANN401 - a partial or a method
    return layer.func if type(layer) is functools.partial else layer.__func__


def _is_light(layer: Any) -> bool:  # noqa: ANN401 - as above
    if type(layer) is types.MethodType:
        return type(layer.__func__) is Function  # of a class: `@classmethod` above the decorator
    return all(map(_is_small, layer.args)) and all(map(_is_small, layer.keywords.values()))


def _is_small(value: object) -> bool:
    kind = type(value)
    return kind in _NUMBERS or (kind in _TEXTS and len(value) <= LONGEST_TEXT)  # type: ignore[arg-type] # a text has it
