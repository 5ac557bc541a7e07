"""Quiet hours: when a site wants no pilots at all. Pure; a time of the day is a time in a named zone."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?(\d\d?):(\d\d)-(\d\d?):(\d\d)")
_EXAMPLE = 'write for example "08:00-18:00" or "mon-fri 22:00-06:00"'


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of the day. One that ends before it begins lasts over midnight, and belongs to the day it begins."""

    begin_min: int  # minutes after midnight
    end_min: int
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)  # 0 is Monday
    zone: str = ""  # "Europe/Warsaw"; empty: the local time of this machine

    def holds(self, now: float) -> bool:
        """Return whether `now` (Unix seconds) is within it."""
        local = datetime.fromtimestamp(now, _zone(self.zone)) if self.zone else datetime.fromtimestamp(now).astimezone()
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.begin_min < self.end_min:
            return day in self.days and self.begin_min <= minute < self.end_min
        if minute >= self.begin_min:
            return day in self.days
        return minute < self.end_min and (day - 1) % 7 in self.days

    def __str__(self) -> str:
        days = "" if len(self.days) == 7 else f"{','.join(_DAYS[day] for day in self.days)} "
        return f"{days}{_clock(self.begin_min)}-{_clock(self.end_min)}{self.zone and ' '}{self.zone}"


def parse(text: str, zone: str = "") -> QuietHours:
    """Return the quiet hours that `text` names. Raises `ValueError` with what to write instead."""
    match = _FORM.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f'"{text}" names no hours; {_EXAMPLE}')
    first, last, *clock = match.groups()
    hours = [int(part) for part in clock]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if max(hours[1], hours[3]) > 59 or max(begin, end) > 24 * 60 or begin == end:
        raise ValueError(f'"{text}" names no hours of a day; {_EXAMPLE}')
    for day in (first, last):
        if day is not None and day not in _DAYS:
            raise ValueError(f'"{text}": "{day}" is not a day; the days are {", ".join(_DAYS)}')
    if zone:
        _zone(zone)
    return QuietHours(begin_min=begin, end_min=end, days=_days(first, last), zone=zone)


def _days(first: str | None, last: str | None) -> tuple[int, ...]:
    if first is None:
        return tuple(range(7))
    begin = _DAYS.index(first)
    count = (_DAYS.index(last) - begin) % 7 + 1 if last is not None else 1
    return tuple(sorted((begin + step) % 7 for step in range(count)))


@lru_cache(maxsize=16)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f'there is no time zone "{name}"; write for example "Europe/Warsaw"') from error


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
