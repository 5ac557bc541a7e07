"""PBS's words, read: times, durations, sizes, chunks, where a batch job runs, and ids.

Pure. A word that is not understood raises `ValueError`. Knows no record of the cluster.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache

from harvester.domain.model.resources import Resources

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_TIME = re.compile(r"[A-Za-z]{3} ([A-Za-z]{3}) {1,2}(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4})")
_SIZE = re.compile(r"(\d{1,18})([kmgtp]?)([bw]?)")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_WORD_BYTES = 8  # of PBS's sizes in words
_LARGEST = 1 << 53  # beyond what any cluster counts; a larger number is a damaged answer
_MOST_CHUNKS = 100_000
_LIMIT = re.compile(r"([ugop]):([^=\]\s\"]+|\"[^\"]*\")\s*=\s*(\d{1,18})")
_ID = re.compile(r"(\d{1,18}(?:\[\d{0,18}\])?)(?:\.\S*)?")
_RESERVATION = re.compile(r"([A-Z]?\d{1,18})(?:\.\S*)?")


@lru_cache(maxsize=4096)
def instant(word: str) -> float | None:
    """Return Unix seconds for `Wed Nov 25 17:48:44 2026`; None where none is told.

    PBS's commands print times in the time zone of whoever runs them; they are run in UTC.
    """
    if not word or word == "UNKNOWN":
        return None
    found = _TIME.fullmatch(word)
    if found is None or found[1] not in _MONTHS:
        raise ValueError(word)
    day, hour, minute, second, year = (int(found[part]) for part in range(2, 7))
    if not (1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60 and year >= 1970):
        raise ValueError(word)
    return float(calendar.timegm((year, _MONTHS[found[1]], day, hour, minute, second)))


@lru_cache(maxsize=4096)
def duration(word: str) -> timedelta | None:
    """Return a limit such as `00:15:00`, `100:00:00` or `90`; None where none is told."""
    if not word:
        return None
    seconds = 0
    for part in word.partition(".")[0].split(":"):
        seconds = seconds * 60 + whole(part)
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(word) from error


def whole(word: str) -> int:
    """Return a whole number, not negative."""
    if not (word.isascii() and word.isdecimal()) or len(word) > 18 or int(word) > _LARGEST:
        raise ValueError(word)
    return int(word)


def megabytes(word: str) -> int:
    """Return whole MiB for `16gb`, `4194304kb`, `1000b`, `1000` (bytes) or `1gw` (of 8 bytes each)."""
    found = _SIZE.fullmatch(word.lower())
    if found is None:
        raise ValueError(word)
    size: int = int(found[1]) * 1024 ** _POWERS[found[2]] * (_WORD_BYTES if found[3] == "w" else 1)
    if size >> 20 > _LARGEST:
        raise ValueError(word)
    return size >> 20


def resources(values: Mapping[str, str]) -> Resources:
    """Return cpus, GPUs and memory of `{"ncpus": "4", "ngpus": "1", "mem": "16gb"}`; 0 for what is not in it."""
    return Resources(
        cpus=whole(values.get("ncpus", "0")),
        gpus=whole(values.get("ngpus", "0")),
        memory_mb=megabytes(values.get("mem", "0")),
    )


def limits(text: str) -> list[tuple[str, str, int]]:
    """Return the limits of `[u:PBS_GENERIC=2],[o:PBS_ALL=10]`: of whom, as kind (u, g, o, p) and name, and how many."""
    return [(kind, name.strip('"'), int(number)) for kind, name, number in _LIMIT.findall(text)]


@lru_cache(maxsize=4096)
def chunks(select: str) -> tuple[tuple[int, dict[str, str]], ...]:
    """Return the chunks of `2:ncpus=1:ngpus=1+1:ncpus=2`, each with how many of it."""
    found: list[tuple[int, dict[str, str]]] = []
    for text in select.split("+") if select else ():
        count, values = 1, {}
        for place, item in enumerate(text.split(":")):
            key, is_there, value = item.partition("=")
            if is_there:
                values[key] = value.strip("\"'")
            elif place == 0:
                count = whole(key)
        found.append((count, values))
    if sum(count for count, _ in found) > _MOST_CHUNKS:
        raise ValueError(select)
    return tuple(found)


@lru_cache(maxsize=4096)
def vnodes(where: str) -> tuple[str, ...]:
    """Return the vnodes of an `exec_vnode`, `(n1:ncpus=4)+(n2[0]:ncpus=2+n2[1]:ncpus=2)`, each once, in its order."""
    names = (item.strip("() \t").partition(":")[0] for item in where.split("+"))
    return tuple(dict.fromkeys(name for name in names if name))


def plain_id(word: str) -> str:
    """Return a batch job's id, `12` or `68[3]`, without the server's name, which is written with and without domain."""
    found = _ID.fullmatch(word.strip())
    if found is None:
        raise ValueError(word)
    return found[1]


def reservation_id(word: str) -> str:
    """Return a reservation's id without the server's name; its queue has this name."""
    found = _RESERVATION.fullmatch(word.strip())
    if found is None:
        raise ValueError(word)
    return found[1]


def checked_ids(batch_job_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids as commands take them. Raises `ValueError` for what is none: it could be an option."""
    for batch_job_id in batch_job_ids:
        if not re.fullmatch(r"\d+(\[\d*\])?(\.[\w.-]+)?", batch_job_id, re.ASCII):
            raise ValueError(f"{batch_job_id!r} is not the id of a PBS batch job")
    return batch_job_ids


@lru_cache(maxsize=4096)
def shown(text: str, most: int = 120) -> str:
    """Return a text of the site's, fit for one line of a message."""
    words = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return words if len(words) <= most else words[: most - 3] + "..."
