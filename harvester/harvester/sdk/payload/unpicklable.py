"""Why a function cannot be pickled: which of the things that it refers to cannot, and what to do about it.

Owns the words.
"""

from __future__ import annotations

import types
from collections.abc import Callable

from harvester.domain.model.callables import innermost
from harvester.sdk.payload import pickler
from harvester.sdk.payload.references import defaults_of, references_of

_UNKNOWN = "look at the globals and closure variables that it uses"


def culprit(fn: Callable[..., object]) -> str:
    """Return which of the things that `fn` refers to cannot be pickled, and the remedy."""
    inner = innermost(fn)
    if not isinstance(inner, types.FunctionType):
        return _UNKNOWN
    for reference in (*references_of(inner), *defaults_of(inner)):
        value = reference.of(inner)
        if value is not fn and not _is_picklable(value):
            return f"{reference.words}, {_described(value)}, cannot be: {_remedy(value)}"
    return _UNKNOWN


def _is_picklable(value: object) -> bool:
    try:
        pickler.pieces(value)
    except Exception:  # noqa: BLE001 - pickling runs the value's own code, which may raise anything
        return False
    return True


def _described(value: object) -> str:
    if isinstance(value, (type, types.FunctionType)):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__qualname__}"
    return f"of {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")


def _remedy(value: object) -> str:
    if isinstance(value, (type, types.FunctionType)):
        return "put it into a module that the compute nodes can import"
    return "make it inside the function, or in a module that the compute nodes can import"
