"""Slurm's words, read: times, limits, sizes, resources, lists of nodes, and scontrol's lines of `key=value`.

Pure. Knows no record of the cluster: who reads nodes, batch jobs or partitions puts these words together. A word that
is not understood raises `ValueError`; `malformed` makes the error of it that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.model.resources import Resources
from harvester_adapters.asking import malformed as malformed  # noqa: PLC0414 - readers of Slurm's words find it here

NOTHING = frozenset({"", "(null)", "N/A", "NONE", "None", "Unknown", "n/a"})
_NO_LIMIT = frozenset({"UNLIMITED", "INFINITE", "NOT_SET", "Partition_Limit", "INVALID"})
_SIZES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_LARGEST = 1 << 53  # beyond what any cluster counts; a larger number is a damaged line
_MOST_NODES = 100_000  # of one list; more is a damaged line, and would take minutes to spell out


def lines(text: str, first: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each line of scontrol with its `key=value` words; free text comes last and never replaces a word."""
    found = [line for line in text.split("\n") if line.strip()]  # splitlines() would split at more than line ends
    if not found:
        raise SchedulerUnavailable(f"scontrol showed no {first} at all, which is impossible; the answer is ignored")
    for line in found:
        if not line.startswith(f"{first}="):
            raise malformed("a line of scontrol", line)
        words: dict[str, str] = {}
        for word in line.split():
            key, _, value = word.partition("=")
            words.setdefault(key, value)
        yield line, words


def instant(word: str) -> float | None:
    """Return Unix seconds for Slurm's `2026-11-22T01:04:03` in UTC; None for N/A and its like."""
    if word in NOTHING:
        return None
    return datetime.fromisoformat(word).replace(tzinfo=UTC).timestamp()


def integer(word: str) -> int:
    """Return a whole number."""
    number = int(word)
    if abs(number) > _LARGEST:
        raise ValueError(word)
    return number


def seconds(word: str) -> timedelta:
    """Return a duration that is told in seconds."""
    return _timedelta(0, integer(word), word)


def _timedelta(days: int, of_a_day_s: int, word: str) -> timedelta:
    try:
        return timedelta(days=days, seconds=of_a_day_s)
    except OverflowError as error:
        raise ValueError(word) from error


def duration(word: str) -> timedelta | None:
    """Return a limit such as `2-00:00:00`, `02:00:00` or `30:00`; None for UNLIMITED, and where none is told."""
    if word in _NO_LIMIT or word in NOTHING:
        return None
    days, _, clock = word.rpartition("-")
    of_a_day_s = 0
    for part in clock.split(":"):
        of_a_day_s = of_a_day_s * 60 + integer(part)
    return _timedelta(integer(days or "0"), of_a_day_s, word)


def tres(word: str) -> Resources:
    """Return the resources in `cpu=4,mem=2000M,node=1,billing=4,gres/gpu=2`; 0 for what is not in it."""
    cpus = gpus = memory_mb = 0
    for item in word.split(","):
        key, _, value = item.partition("=")
        if key == "cpu":
            cpus = integer(value)
        elif key == "mem":
            memory_mb = megabytes(value)
        elif key == "gres/gpu":
            gpus = integer(value)
    return Resources(cpus=cpus, gpus=gpus, memory_mb=memory_mb)


def tres_nodes(word: str) -> int:
    """Return the nodes in `cpu=4,mem=2000M,node=1`; 0 where none are told."""
    found = re.search(r"(?:^|,)node=(\d+)", word)
    return integer(found[1]) if found else 0


def gpu_count(word: str) -> int:
    """Return the GPUs in `gpu:2`, `gpu:a100:2(S:0-1)`, `gres/gpu:1`, `gres:gpu:1`, `gpu:2(IDX:0-1)`, `(null)`."""
    bare = re.sub(r"\([^)]*\)", "", word)  # socket and index lists hold commas
    return sum(_gpus(item) for item in bare.split(",") if item)


def _gpus(item: str) -> int:
    parts = re.sub(r"^gres[:/]", "", item).replace("=", ":").split(":")
    if parts[0] != "gpu":
        return 0
    if len(parts) > 1 and parts[-1].isdecimal():
        return integer(parts[-1])
    if parts[-1] and not parts[-1][0].isdecimal():  # `gpu` or `gpu:a100` asks for one
        return 1
    raise ValueError(item)


def megabytes(word: str) -> int:
    """Return MiB for `500M`, `0.50G`, `2048K` or `7`."""
    factor = _SIZES.get(word[-1:], 0)
    if not factor:
        return integer(word)
    size = float(word[:-1]) * factor
    if not abs(size) <= _LARGEST:  # not a number is refused, too
        raise ValueError(word)
    return round(size)


@lru_cache(maxsize=4096)
def node_names(word: str) -> tuple[str, ...]:
    """Return the nodes of a list such as `n[1-3,7],gpu01`. Raises `ValueError`."""
    if word in NOTHING:
        return ()
    if _count(word) > _MOST_NODES:
        raise ValueError(word)
    try:
        return tuple(NodeSet(word, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise ValueError(word) from error


def _count(word: str) -> int:
    """Return about how many nodes a list has, without spelling it out: `r[1-3]n[1-4,7]` has 15."""
    count, of_item = 0, 1
    for plain, ranges in re.findall(r"([^\[]*)(?:\[([^\]]*)\]?)?", word):
        if "," in plain:
            count, of_item = count + of_item, 1
        if ranges:
            of_item *= sum(_width(span) for span in ranges.split(","))
    return count + of_item


def _width(span: str) -> int:
    found = re.fullmatch(r"(\d+)-(\d+)(?:/\d+)?", span)
    return max(1, integer(found[2]) - integer(found[1]) + 1) if found else 1


def elements(word: str) -> int:
    """Return how many elements of an array `3-10:2%2`, `1,4-6` or `N/A` may run at a time; 1 for a batch job alone.

    Elements beyond the limit behind `%` wait for their siblings, whatever is free. A list that Slurm has cut off with
    `...` counts what is left of it.
    """
    items, _, most = word.partition("%")
    if items in NOTHING:
        return 1
    count = sum(_span(item) for item in items.split(",") if item.strip("."))
    limit = integer(most or "0")
    return max(1, min(count, limit) if limit else count)


def _span(item: str) -> int:
    span, _, step = item.partition(":")
    first, _, last = span.partition("-")
    if not last:
        return 1
    if (by := integer(step or "1")) <= 0:
        raise ValueError(item)
    return (integer(last) - integer(first)) // by + 1
