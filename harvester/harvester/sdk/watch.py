"""Which long-poll watches which invocations. Pure: `now` comes in, decisions come out.

A poll takes at most `MAX_IDS` ids and holds for seconds, and what is submitted meanwhile must not wait for its end. So
a few polls are open side by side. When all are open and some ids are watched by none, the poll that has had no news for
the longest time is given up, and its ids queue behind the others: everybody is watched in turn.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

MAX_IDS = 1000
MAX_POLLS = 4
TURN_S = 1.0  # a poll is left alone for this long


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """One long-poll."""

    number: int
    ids: tuple[str, ...]
    since: float


class Watch:
    """The ids that are open, and the polls that cover them."""

    def __init__(self) -> None:
        self._unwatched: dict[str, None] = {}  # in the order of their turn
        self._polls: dict[int, Poll] = {}
        self._count = 0

    def add(self, ids: Iterable[str]) -> None:
        """Watch these too."""
        self._unwatched.update(dict.fromkeys(ids))

    def start(self, now: float) -> list[Poll]:
        """Return the polls to be opened now."""
        opened = []
        while self._unwatched and len(self._polls) < MAX_POLLS:
            ids = tuple(self._unwatched)[:MAX_IDS]
            for invocation_id in ids:
                del self._unwatched[invocation_id]
            self._count += 1
            poll = Poll(number=self._count, ids=ids, since=now)
            self._polls[poll.number] = poll
            opened.append(poll)
        return opened

    def close(self, number: int, still_open: Iterable[str]) -> None:
        """Note that a poll is over, and which of its ids have yet to be watched. An unknown number changes nothing."""
        if self._polls.pop(number, None) is not None:
            self.add(still_open)

    def turn_over(self, now: float) -> Poll | None:
        """Return the poll to be given up for those whom nobody watches, if there is one."""
        due = self.next_turn_at()
        return self._longest() if due is not None and due <= now else None

    def next_turn_at(self) -> float | None:
        """Return when `turn_over` will have an answer; None when nobody waits for a turn."""
        if not self._unwatched or len(self._polls) < MAX_POLLS:
            return None
        return self._longest().since + TURN_S

    def _longest(self) -> Poll:
        return min(self._polls.values(), key=lambda poll: poll.since)
