"""Slurm's words, read: times, limits, sizes, resources, lists of nodes, and scontrol's lines of `key=value`.

Pure. Knows no record of the cluster: who reads nodes, batch jobs or partitions puts these words together. A word that
is not understood raises `ValueError`; `malformed` makes the error of it that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from harvester.domain.cluster import nodelist
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
    return datetime.fromisoformat(f"{word}+00:00").timestamp()


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


@lru_cache(maxsize=4096)
def duration(word: str) -> timedelta | None:
    """Return a limit such as `2-00:00:00`, `02:00:00` or `30:00`; None for UNLIMITED, and where none is told."""
    if word in _NO_LIMIT or word in NOTHING:
        return None
    days, _, clock = word.rpartition("-")
    of_a_day_s = 0
    for part in clock.split(":"):
        of_a_day_s = of_a_day_s * 60 + integer(part)
    return _timedelta(integer(days or "0"), of_a_day_s, word)


@lru_cache(maxsize=16_384)
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


@lru_cache(maxsize=16_384)
def tres_nodes(word: str) -> int:
    """Return the nodes in `cpu=4,mem=2000M,node=1`; 0 where none are told."""
    found = re.search(r"(?:^|,)node=(\d+)", word)
    return integer(found[1]) if found else 0


@lru_cache(maxsize=4096)
def gpu_count(word: str) -> int:
    """Return the GPUs in `gpu:2`, `gpu:a100:2(S:0-1)`, `gres/gpu:1`, `gres:gpu:1`, `gpu:2(IDX:0-1)`, `(null)`."""
    return sum(count for _, count in _gpus(word))


@lru_cache(maxsize=4096)
def gpu_types(word: str) -> tuple[str, ...]:
    """Return `a100:2`, `1g.10gb:7` for `gpu:a100:2(S:0-1),gpu:1g.10gb:7`; what has no type is left out.

    A slice of a GPU (MIG) is a GPU to Slurm, and its profile is the type.
    """
    return tuple(f"{kind}:{count}" for kind, count in _gpus(word) if kind)


@lru_cache(maxsize=4096)
def gpus_in_use(word: str) -> int:
    """Return the GPUs of which something is taken, out of a node's `GresUsed`.

    A GPU of which shards or a part by MPS are given out cannot be given out as a whole: one is in use in 22.05's
    `gpu:0(IDX:N/A),shard:1(IDX:0)`, two in later versions' `gpu:0(IDX:N/A),shard:3(2/4,1/4,0/4)`.
    """
    shared = 0
    for parts in re.findall(r"(?:^|,)(?:shard|mps):[^(,]*\(([^)]*)\)", word):
        if parts.startswith("IDX:"):
            shared += elements(parts[4:]) if parts[4:] not in NOTHING else 0
        else:
            shared += sum(not part.startswith("0/") for part in parts.split(","))
    return gpu_count(word) + shared


@lru_cache(maxsize=4096)
def _gpus(word: str) -> tuple[tuple[str, int], ...]:
    """Return type and number of each item of GPUs; the type is empty where none is named."""
    bare = re.sub(r"\([^)]*\)", "", word)  # socket and index lists hold commas
    return tuple(found for item in bare.split(",") if (found := _gpu_item(item)) is not None)


def _gpu_item(item: str) -> tuple[str, int] | None:
    name, *rest = re.sub(r"^gres[:/]", "", item).replace("=", ":").split(":")
    if name != "gpu":
        return None
    match [part for part in rest if part != "no_consume"]:
        case []:
            return "", 1  # `gpu` asks for one
        case [count] if count.isdecimal():
            return "", integer(count)
        case [kind] if kind:
            return kind, 1  # `gpu:a100`, `gpu:1g.10gb`
        case [kind, count] if count.isdecimal():
            return kind, integer(count)
        case _:
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


@lru_cache(maxsize=16_384)
def node_names(word: str) -> tuple[str, ...]:
    """Return the nodes of a list such as `n[1-3,7],gpu01`. Raises `ValueError`."""
    if word in NOTHING:
        return ()
    try:
        return nodelist.expand(word)  # knows names with one pair of brackets, as nearly all are
    except ValueError:
        pass
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
