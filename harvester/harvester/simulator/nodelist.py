"""Node lists as Slurm writes them: `p[0001-0003,0007],q1`.

Written here and not taken from ClusterShell, so that a what-if needs nothing beyond the base installation.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ITEM = re.compile(r"([^,\[\]]+)(?:\[([0-9,\-]+)\])?([^,\[\]]*)(?:,|$)")
_NUMBER = re.compile(r"([0-9]+)[^0-9]*$")
_MOST = 100_000  # names in one bracket; more is a damaged line


@lru_cache(maxsize=65_536)
def expand(text: str) -> tuple[str, ...]:
    """Return the names in `text`, in its order. Raises `ValueError` where it is no node list."""
    names: list[str] = []
    at = 0
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is None:
            raise ValueError(f"{text[:60]!r} is no list of nodes")
        head, ranges, tail = found.groups()
        names += [head] if ranges is None else [head + number + tail for number in _numbers(ranges)]
        at = found.end()
    return tuple(names)


def _numbers(ranges: str) -> list[str]:
    numbers: list[str] = []
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"[{ranges[:60]}] is no range of nodes")
        low, high = int(first), int(last or first)
        if high < low or high - low >= _MOST:
            raise ValueError(f"[{part}] is no range of nodes")
        numbers += [str(number).zfill(len(first)) for number in range(low, high + 1)]
    return numbers


def number(name: str) -> int:
    """Return the last number in a node's name, 0 where it has none."""
    found = _NUMBER.search(name)
    return int(found[1]) if found else 0
