"""JSON that arrives as what was sent. Owns the rule for which values may be written as JSON at all.

The encoder silently writes NaN as null, a set as a list, bytes as base64, a Decimal as text, and a number as a key as
text, so a reader finds something else. Here they are refused by name. A tuple arrives as a list, as JSON has it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

_SCALARS = (type(None), bool, int, float, str)


class NotJson(ValueError):
    """A value that JSON would change; its text names where it is."""


def encode(value: object, name: str) -> bytes:
    """Return `value` as JSON. Raises `NotJson`, with the place counted from `name`, and whatever the encoder raises."""
    body = msgspec.json.encode(value)
    # The decoder and the comparison run in C: for usual values this costs less than a look at each item.
    if msgspec.json.decode(body) != value and (culprit := _changed(value, name)):
        raise NotJson(culprit)
    return body


def _changed(value: Any, place: str) -> str:  # noqa: ANN401 - any value
    """Return which value JSON would change, and how; empty where there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} is {value}, which JSON has no number for"
    if isinstance(value, _SCALARS):
        return ""
    if isinstance(value, (list, tuple)):
        return next((said for at, item in enumerate(value) if (said := _changed(item, f"{place}[{at}]"))), "")
    if isinstance(value, dict):
        return next((said for key, item in value.items() if (said := _changed_item(key, item, place))), "")
    return f"{place} is a {type(value).__name__}, which JSON has no form for"


def _changed_item(key: Any, item: Any, place: str) -> str:  # noqa: ANN401 - as above
    if not isinstance(key, str):
        return f"{place} has the key {key!r}, and keys in JSON are text"
    return _changed(item, f"{place}[{key!r}]")
