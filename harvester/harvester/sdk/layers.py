"""Callables around a function: partials and bound methods, whose arguments travel with those of the call.

Owns how a call of one is told as a call of what is beneath, which is registered once, whatever is bound to it, with the
traits of its decorator.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

from harvester.sdk.functions import Function

_LAYERS = frozenset({functools.partial, types.MethodType})


def callee(fn: Any) -> Any:  # noqa: ANN401 - whatever may be invoked
    """Return what is beneath partials and bound methods."""
    while type(fn) in _LAYERS:
        fn = fn.func if type(fn) is functools.partial else fn.__func__
    return fn


def registered_as(fn: Any) -> Any:  # noqa: ANN401 - as above
    """Return what is registered where `fn` is invoked."""
    beneath = callee(fn)
    return beneath.origin if type(beneath) is Function else beneath


def whole(fn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:  # noqa: ANN401 - as above
    """Return the arguments with which `callee(fn)` is called where `fn` is called with these."""
    while type(fn) in _LAYERS:
        if type(fn) is functools.partial:
            args, kwargs, fn = (*fn.args, *args), {**fn.keywords, **kwargs}, fn.func
        else:
            args, fn = (fn.__self__, *args), fn.__func__
    if type(fn) is Function and fn.bound_to:
        args = (*fn.bound_to, *args)
    return args, kwargs
