"""Wrong usage in plain words: what typer lets pydantic say of an option's value, said as a person would.

Pure, and imports neither: pydantic's errors come as the documents that it makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "Value error, "
_KINDS = {"int_parsing": "a whole number", "int_from_float": "a whole number", "float_parsing": "a number"}
_BOUNDS = {
    "greater_than_equal": ("ge", "must be {} or more"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be {} or less"),
    "less_than": ("lt", "must be less than {}"),
}


def plain(error: Mapping[str, Any]) -> str:
    """Return what is wrong, from one error of pydantic's: its `type`, `msg`, `input` and `ctx`."""
    kind, value = error.get("type"), error.get("input")
    if kind in _KINDS:
        return f"{value!r} is not {_KINDS[kind]}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{value} is out of range: it {words.format((error.get('ctx') or {}).get(name))}"
    return str(error.get("msg")).removeprefix(_PREFIX)
