"""Small parts of sentences: counts, durations, enumerations. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

_MOST = 6  # items of an enumeration


def counted(number: int, noun: str) -> str:
    """Return `1 node`, `2 nodes`, `2 batch jobs`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def span(length: timedelta) -> str:
    """Return a duration in days, hours, minutes and seconds, as far as they are not 0."""
    whole = round(length.total_seconds())
    parts = ((whole // 86400, "days"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    words = " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
    return words.replace("1 days", "1 day") if words.startswith("1 days") else words


def listed(words: Iterable[str]) -> str:
    """Return words with commas between them, the first few of many."""
    all_of_them = list(words)
    shown = ", ".join(all_of_them[:_MOST])
    return shown if len(all_of_them) <= _MOST else f"{shown} … ({len(all_of_them)} in all)"
