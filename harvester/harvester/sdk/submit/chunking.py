"""How many calls of a `map` travel together. Pure: `now` comes in, ranges of calls come out, in order.

A call alone costs more on its way than a short function takes; a chunk that takes long leaves slots idle at the end and
loses more to an eviction. So a few calls go first, alone, and what follows is cut by what they took. What is measured
is the time from sending to end, which holds the way and the wait too: an upper bound, which falls as chunks grow. So
chunks grow in small waves until a wave teaches nothing new; then all that is left goes out. What was sent before
anything had ended may have waited for the load of the function, and counts only until there is something better.
Source of the share of what is left: guided self-scheduling (Polychronopoulos and Kuck, 1987).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

TARGET_S = 0.075  # expected work of a chunk
SHARE = 32  # a chunk holds at most this part of what is left
MAX_CALLS = 1000
MAX_BYTES = 1024 * 1024  # of arguments, and of results as far as they are known
MAX_FIXED_BYTES = 32 * 1024 * 1024  # of arguments, where the user chose the calls; the gateway takes no more than twice
FIRST = 4  # calls of the first wave
MEASURED = 8  # chunks of a wave that is to teach something
PATIENCE_S = 0.25  # a wave does not wait longer for the one before
PROBES = 256  # calls that are out before anything is known, so that the demand for pilots is seen
UNKNOWN_S = 30.0  # nothing has ended for so long: calls are long, or pilots are few; all goes out


class _Wave:
    """Chunks that were sent together."""

    def __init__(self, sent_at: float, *, is_blind: bool) -> None:
        self.sent_at = sent_at
        self.is_blind = is_blind  # nothing had ended before
        self.chunks = 0
        self.open = 0
        self.costs: list[float] = []  # seconds a call, of each chunk that ended


class Chunking:
    """Cuts the calls of one map.

    Parameters
    ----------
    sizes: the bytes of each call's arguments.
    chunksize: obeyed where given; None to choose.
    """

    def __init__(self, sizes: Sequence[int], chunksize: int | None = None) -> None:
        self._sizes = sizes
        self._at = 0
        self._fixed = chunksize
        self._most = MAX_CALLS
        self._result_bytes = 0.0  # a call
        self._waves: list[_Wave] = []
        self._of: dict[int, tuple[_Wave, int]] = {}  # open chunks, by their first call
        self._is_hurried = False

    @property
    def left(self) -> int:
        """Calls that have not been handed out."""
        return len(self._sizes) - self._at

    def hurry(self) -> None:
        """Hand out all that is left with the next look."""
        self._is_hurried = True

    def due(self, now: float) -> list[range]:
        """Return the chunks to be sent now."""
        if not self.left:
            return []
        if self._fixed is not None:
            return self._wave(now, None, self._fixed)
        if -(-self.left // SHARE) <= 1:
            return self._wave(now, None, 1)
        next_at = self.next_at()
        if next_at is not None and now < next_at and not self._is_hurried:
            return []
        cost = self._cost()
        if cost is None:
            return self._blind(now)
        size = max(1, min(self._most, int(TARGET_S / cost) if cost > 0 else self._most, self._by_results()))
        is_all = self._is_hurried or size >= self._cap() or self._has_settled()
        return self._wave(now, None if is_all else MEASURED if size > 1 else 2 * self._waves[-1].chunks, size)

    def ended(self, first: int, now: float, result_bytes: int = 0) -> None:
        """Note that the chunk that begins with call `first` is over."""
        wave, calls = self._of.pop(first)
        wave.open -= 1
        wave.costs.append(max(0.0, now - wave.sent_at) / calls)
        self._result_bytes = max(self._result_bytes, result_bytes / calls)

    def failed(self, first: int, now: float) -> None:
        """Note that a chunk was too much for its slot or for the gateway: those to come are smaller."""
        _, calls = self._of[first]
        self._most = max(1, min(self._most, calls // 2))
        self.ended(first, now)

    def next_at(self) -> float | None:
        """Return when the next wave is due unless an end comes before; None when nothing is left."""
        if not self.left:
            return None
        if not self._waves or not self._waves[-1].open:
            return float("-inf")
        at = self._waves[-1].sent_at + PATIENCE_S
        is_blind = not any(wave.costs for wave in self._waves)
        return max(at, self._waves[0].sent_at + UNKNOWN_S) if is_blind and self._at >= PROBES else at

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _blind(self, now: float) -> list[range]:
        """Return calls of which nothing is known, alone."""
        if self._is_hurried or (self._waves and now >= self._waves[0].sent_at + UNKNOWN_S):
            return self._wave(now, None, 1)
        count = 2 * self._waves[-1].chunks if self._waves else FIRST
        return self._wave(now, min(count, max(1, PROBES - self._at)), 1)

    def _wave(self, now: float, count: int | None, size: int) -> list[range]:
        wave = _Wave(now, is_blind=not any(wave.costs for wave in self._waves))
        chunks: list[range] = []
        while self.left and (count is None or len(chunks) < count):
            chunk = self._cut(size)
            self._of[chunk.start] = (wave, len(chunk))
            chunks.append(chunk)
        wave.chunks = wave.open = len(chunks)
        self._waves.append(wave)
        return chunks

    def _cut(self, size: int) -> range:
        calls = size if self._fixed is not None else max(1, min(size, self._cap()))
        most = MAX_BYTES if self._fixed is None else MAX_FIXED_BYTES
        start, total = self._at, 0
        while self._at < len(self._sizes) and self._at - start < calls:
            total += self._sizes[self._at]
            if total > most and self._at > start:
                break
            self._at += 1
        return range(start, self._at)

    def _cap(self) -> int:
        return min(self._most, -(-self.left // SHARE))

    def _by_results(self) -> int:
        return int(MAX_BYTES / self._result_bytes) if self._result_bytes > 0 else MAX_CALLS

    def _cost(self) -> float | None:
        """Return the seconds a call as far as known."""
        costs = self._costs(is_blind=False) or self._costs(is_blind=True)
        return min(costs) if costs else None

    def _has_settled(self) -> bool:
        """Whether the newest wave known has not halved what was known before it."""
        costs = self._costs(is_blind=False)
        return len(costs) >= 2 and costs[-1] > min(costs[:-1]) / 2

    def _costs(self, *, is_blind: bool) -> list[float]:
        return [statistics.median(wave.costs) for wave in self._waves if wave.costs and wave.is_blind is is_blind]
