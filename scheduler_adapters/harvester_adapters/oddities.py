"""Odd records: what of one answer could not be read, taken as far as it goes, and said once.

A look comes every few seconds, and what a scheduler describes in words that we do not know stays so for weeks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from harvester.domain.cluster.ports import SchedulerUnavailable

log = logging.getLogger(__name__)

Raw = TypeVar("Raw")
Record = TypeVar("Record")


def each(
    raw: Iterable[Raw],
    read: Callable[[Raw], Record],
    instead: Callable[[Raw], Record | None],
    odd: list[str],
) -> tuple[Record, ...]:
    """Return the records of one answer, each read by `read`; of one that cannot be read, what `instead` makes of it.

    One odd record of somebody's must not hide all others. Where half of them or more are odd the answer is in another
    format, and `SchedulerUnavailable` is raised for the first.

    Parameters
    ----------
    instead: returns what is certain nevertheless; None: it is left out.
    odd: the errors are added to it.
    """
    found: list[Record] = []
    errors: list[SchedulerUnavailable] = []
    count = 0
    for one in raw:
        count += 1
        try:
            found.append(read(one))
        except SchedulerUnavailable as error:
            errors.append(error)
            if (record := instead(one)) is not None:
                found.append(record)
    if errors and len(errors) * 2 >= count:
        raise errors[0]
    odd += [str(error) for error in errors]
    return tuple(found)


class Oddities:
    """Logs one warning when there are some, and another one only after there were none.

    Parameters
    ----------
    scheduler: whose they are, for the log.
    """

    def __init__(self, scheduler: str) -> None:
        self._scheduler = scheduler
        self._are_told = False
        self._lock = threading.Lock()

    def tell(self, odd: Collection[str]) -> None:
        """Take what one look could not read."""
        with self._lock:
            is_news, self._are_told = bool(odd) and not self._are_told, bool(odd)
        if is_news:
            words = "%s.odd records=%d: taken as far as they are understood; the first: %s"
            log.warning(words, self._scheduler, len(odd), next(iter(odd)))
