"""Node lists as Slurm writes them: `p[0001-0003,0007],q1`.

Pure. Written here and not taken from ClusterShell, so that the gateway and a what-if need nothing beyond the base
installation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_ITEM = re.compile(r"([^,\[\]]+)(?:\[([0-9,\-]+)\])?([^,\[\]]*)(?:,|$)")
_END = re.compile(r"(.*?)([0-9]+)$")
_NUMBER = re.compile(r"([0-9]+)[^0-9]*$")
_MOST = 100_000  # names; more is a damaged line


@lru_cache(maxsize=65_536)
def expand(text: str) -> tuple[str, ...]:
    """Return the names in `text`, in its order. Raises `ValueError` where it is no node list."""
    names: list[str] = []
    at = 0
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is None:
            raise ValueError(f"{text[:60]!r} is not a list of nodes")
        head, ranges, tail = found.groups()
        names += [head] if ranges is None else [head + number + tail for number in _numbers(ranges)]
        if len(names) > _MOST:
            raise ValueError(f"{text[:60]!r} is not a list of nodes: it has more than {_MOST} of them")
        at = found.end()
    return tuple(names)


def fold(names: Iterable[str]) -> str:
    """Return names as one node list, sorted: `n[1-4,7],login`."""
    plain: list[str] = []
    numbered: dict[tuple[str, int], list[int]] = {}
    for name in sorted(set(names)):
        found = _END.match(name)
        if found is None:
            plain.append(name)
        else:
            head, digits = found.groups()
            width = len(digits) if digits.startswith("0") else 0
            numbered.setdefault((head, width), []).append(int(digits))
    lists = [_folded(head, width, sorted(numbers)) for (head, width), numbers in numbered.items()]
    return ",".join([*lists, *plain])


def _folded(head: str, width: int, numbers: list[int]) -> str:
    runs: list[tuple[int, int]] = []
    for each in numbers:
        if runs and each == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], each)
        else:
            runs.append((each, each))
    words = [f"{low:0{width}}" if low == high else f"{low:0{width}}-{high:0{width}}" for low, high in runs]
    if len(words) == 1 and "-" not in words[0]:
        return head + words[0]
    return f"{head}[{','.join(words)}]"


def _numbers(ranges: str) -> list[str]:
    numbers: list[str] = []
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"[{ranges[:60]}] is not a range of nodes")
        low, high = int(first), int(last or first)
        if high < low or high - low >= _MOST:
            raise ValueError(f"[{part}] is not a range of nodes")
        if len(numbers) > _MOST:
            raise ValueError(f"[{ranges[:60]}…] has more than {_MOST} nodes")
        numbers += [str(number).zfill(len(first)) for number in range(low, high + 1)]
    return numbers


def number(name: str) -> int:
    """Return the last number in a node's name, 0 where it has none."""
    found = _NUMBER.search(name)
    return int(found[1]) if found else 0
