"""Values that any pickler writes alike: made of exact builtin types, with nothing in them that runs code of its own.

Owns the test. Such values need not go through the pickler for functions and classes, which costs more to set up than a
small value costs to write. Must not know picklers.
"""

from __future__ import annotations

from typing import Any

MAX_ITEMS = 256
"""Items looked at before a value counts as not plain: for a larger one the pickler's setup no longer matters."""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})
_ROWS = frozenset({tuple, list, set, frozenset})


def is_plain(value: object) -> bool:
    """Return whether `value` is made of exact builtin types alone, as far as `MAX_ITEMS` items tell.

    False is always safe: it says only that the general pickler has to write the value. A value that contains itself is
    not plain by this test, which ends at `MAX_ITEMS`.
    """
    kind = type(value)
    if kind in _ATOMS:
        return True
    left = MAX_ITEMS
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind in _ATOMS:
            continue
        if kind not in _ROWS and kind is not dict:
            return False
        left -= len(item)
        if left < 0:
            return False
        if kind is dict:
            stack.extend(item)
            stack.extend(item.values())
        else:
            stack.extend(item)
    return True
