"""Callables: what is beneath partials, methods and wrappers, and where a checkpoint goes in.

Shared by the SDK, which can run functions locally, and the slots, so that both agree on what a generator function is.
Must not call users' code.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

DEEPEST = 100
"""Layers looked through: an object that invents its attributes would have `__wrapped__` without an end."""

STATE = "state"


def innermost(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the callable that does the work: what a partial, a bound method or a `functools.wraps` decorator calls."""
    for _ in range(DEEPEST):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, types.MethodType):
            fn = fn.__func__
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        else:
            break
    return fn


def is_generator_function(fn: Callable[..., Any]) -> bool:
    """Return whether the yields of `fn` are checkpoints and its `return` is the result."""
    return inspect.isgeneratorfunction(innermost(fn))


class StateParameter(NamedTuple):
    """The parameter `state` of a generator function, which gets the newest checkpoint unless the caller gave it."""

    position: int  # among the positional parameters
    has_default: bool

    def is_positional_in(self, args: Sequence[object]) -> bool:
        """Return whether the caller gave it by position: then it is an argument like any other."""
        return len(args) > self.position

    def filled(self, kwargs: dict[str, Any], restored: object) -> dict[str, Any]:
        """Return the keywords of a run. What the caller gave by keyword, or the default, is the first run's state."""
        if restored is None and (self.has_default or STATE in kwargs):
            return kwargs
        return {**kwargs, STATE: restored}


def state_parameter(fn: Callable[..., Any]) -> StateParameter | None:
    """Return the parameter that gets the checkpoint; None where there is none."""
    if not is_generator_function(fn):
        return None
    parameters = inspect.signature(fn).parameters
    found = parameters.get(STATE)
    if found is None or found.kind not in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY):
        return None
    is_keyword = found.kind is found.KEYWORD_ONLY
    position = sys.maxsize if is_keyword else list(parameters).index(STATE)
    return StateParameter(position, found.default is not found.empty)
