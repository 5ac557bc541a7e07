"""Back-pressure: how much work and how many bytes the gateway takes before it asks callers to come again later.

Owns the bounds, the refusals, and the estimate of when there is room again, from the rate at which invocations end.
Never stands in the way of reading, waiting and cancelling.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from harvester_api.problems import Refusal, refusal, too_many
from harvester_api.runtime.open_invocations import Book
from harvester_api.settings import GatewaySettings

LONGEST_S = 60  # that anybody is asked to stay away
WINDOW_S = 10.0  # over which the rate of ends is taken


class Rate:
    """Ends a second, over the last one to two windows."""

    def __init__(self) -> None:
        self._at = 0.0
        self._count = 0
        self._per_s = 0.0

    def of(self, count: int, now: float) -> float:
        """Return the rate; `count` is how many ended so far."""
        elapsed = now - self._at
        if elapsed >= WINDOW_S:
            self._per_s = (count - self._count) / elapsed if self._at else 0.0
            self._at, self._count = now, count
        elif elapsed > 1.0:
            return max(self._per_s, (count - self._count) / elapsed)
        return self._per_s


class HeldBytes:
    """Bytes that one request holds in memory; given back when it leaves the `with` block."""

    __slots__ = ("_bytes", "_pressure")

    def __init__(self, pressure: Pressure) -> None:
        self._pressure, self._bytes = pressure, 0

    def grow(self, size: int) -> None:
        """Hold `size` bytes in all. Raises `Refusal` (429)."""
        self._pressure.take(size - self._bytes)
        self._bytes = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pressure.bytes -= self._bytes


class Coming:
    """Invocations that were let in and are not in the book yet; forgotten when this leaves the `with` block."""

    __slots__ = ("_left", "_owner", "_pressure")

    def __init__(self, pressure: Pressure, owner: str, count: int) -> None:
        self._pressure, self._owner, self._left = pressure, owner, 0
        self.came(-count)

    def came(self, count: int) -> None:
        """So many of them are in the book now."""
        self._left -= count
        self._pressure.on_the_way[self._owner] -= count

    def __enter__(self) -> Coming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.came(self._left)
        if not self._pressure.on_the_way[self._owner]:
            del self._pressure.on_the_way[self._owner]


class Pressure:
    """The bounds of one gateway."""

    def __init__(self, settings: GatewaySettings, book: Book) -> None:
        self._settings, self._book = settings, book
        self._rate = Rate()
        self.bytes = 0  # of bodies, now
        self.on_the_way: Counter[str] = Counter()  # invocations that are let in and not in the book yet, by owner

    def tick(self, now: float) -> None:
        """Look how fast invocations end."""
        self._rate.of(self._book.ended, now)

    def check(self, owner: str, count: int, now: float) -> None:
        """Check that `count` more invocations of `owner` may come. Raises `Refusal` (429; 413 if they never may)."""
        settings, book = self._settings, self._book
        most = min(settings.max_open, settings.max_open_per_owner)
        if count > most:
            raise too_many(count, most)
        everybodys = len(book.open) + self.on_the_way.total()
        over = everybodys + count - settings.max_open
        if over > 0:
            raise self._refusal(f"{everybodys} invocations are open, and the limit is {settings.max_open}", over, now)
        theirs = book.owned.get(owner, 0) + self.on_the_way.get(owner, 0)
        over = theirs + count - settings.max_open_per_owner
        if over > 0:
            limit = settings.max_open_per_owner
            raise self._refusal(f"{theirs} invocations of {owner!r} are open, and the limit is {limit}", over, now)

    def coming(self, owner: str, count: int) -> Coming:
        """Return what counts invocations that were let in until they are in the book."""
        return Coming(self, owner, count)

    def holding(self) -> HeldBytes:
        """Return what counts the body of one request."""
        return HeldBytes(self)

    def take(self, size: int) -> None:
        """Hold more bytes. Raises `Refusal` (429)."""
        limit = self._settings.in_flight_bytes
        if self.bytes + size > limit:
            raise refusal(
                429,
                "too-busy",
                f"requests of {self.bytes} bytes are being read, and the limit is {limit} bytes in all",
                remedy="Nothing was accepted. Send it again after Retry-After.",
                headers={"Retry-After": "1"},
            )
        self.bytes += size

    def _refusal(self, why: str, over: int, now: float) -> Refusal:
        rate = self._rate.of(self._book.ended, now)
        wait_s = min(LONGEST_S, max(1, round(over / rate))) if rate > 0 else LONGEST_S
        return refusal(
            429,
            "too-many-open",
            f"{why}; {over} have to end first",
            remedy="Nothing was accepted. Send it again after Retry-After, under the same Idempotency-Key.",
            headers={"Retry-After": str(wait_s)},
        )
