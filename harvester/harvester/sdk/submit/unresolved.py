"""Which open invocations have to be asked for, because the stream may not have told of their end. Pure.

A stream tells of an end once, to who is connected. So all that are open are asked for when it is back after a cut, and
so is what was submitted before the cut and accepted after it. Whatever else may go wrong is covered by a sweep: each id
is asked for every `SWEEP_S` seconds, or every `POLL_S` seconds at a gateway that has no streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_IDS = 1000  # the gateway's limit of one question
SWEEP_S = 30.0
SWEEP_IDS_PER_S = 1000  # a million open ones are not swept each 30 seconds
POLL_S = 0.1


class UnresolvedIds:
    """The ids that are open, and whether the stream has watched over each of them since it was sent."""

    def __init__(self) -> None:
        self._asked_at: dict[str, float] = {}  # the longest not asked for first; of a new one, since when it is open
        self._due: dict[str, None] = {}
        self._is_connected = False
        self._is_refused = False
        self.epoch = 0  # of the stream's life; ids that were sent in another one may have been missed

    def __len__(self) -> int:
        return len(self._asked_at)

    def connected(self) -> None:
        """The stream is open: from now on it tells of every end."""
        self.epoch += 1
        self._is_connected, self._is_refused = True, False
        self._due = dict.fromkeys(self._asked_at)

    def cut(self) -> None:
        """The stream broke off; it will be opened again."""
        self.epoch += 1
        self._is_connected = False

    def refused(self) -> None:
        """The gateway has no streams."""
        self.cut()
        self._is_refused = True

    def add(self, ids: Iterable[str], sent_in: int, now: float) -> None:
        """Watch these, which were sent in the epoch `sent_in`."""
        ids = list(ids)
        self._asked_at.update(dict.fromkeys(ids, now))
        if sent_in != self.epoch:
            self._due.update(dict.fromkeys(ids))

    def discard(self, invocation_id: str) -> None:
        """It is over."""
        self._asked_at.pop(invocation_id, None)
        self._due.pop(invocation_id, None)

    def question(self, now: float) -> list[str]:
        """Return the ids to be asked for now, at most `MAX_IDS`; they count as asked."""
        if not (self._is_connected or self._is_refused):
            return []
        ids = [each for each, _ in zip(self._due, range(MAX_IDS), strict=False)]
        if not ids:
            ids = [each for each, _ in zip(self._overdue(now), range(MAX_IDS), strict=False)]
        for each in ids:
            self._due.pop(each, None)
            del self._asked_at[each]
            self._asked_at[each] = now
        return ids

    def next_at(self, now: float) -> float | None:
        """Return when there will be something to ask; None when nothing is known to come."""
        if not self._asked_at or not (self._is_connected or self._is_refused):
            return None
        return now if self._due else next(iter(self._asked_at.values())) + self._patience_s()

    def _overdue(self, now: float) -> Iterator[str]:
        before = now - self._patience_s()
        for invocation_id, asked_at in self._asked_at.items():
            if asked_at > before:
                return
            yield invocation_id

    def _patience_s(self) -> float:
        return POLL_S if self._is_refused else max(SWEEP_S, len(self._asked_at) / SWEEP_IDS_PER_S)
