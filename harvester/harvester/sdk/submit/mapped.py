"""A map that was started by the blocking client: its results in order, and what ends it.

Owns when a map that its user has left behind is cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from harvester.sdk.futures import InvocationFuture
from harvester.sdk.submit.background import Engine
from harvester.sdk.submit.mapping import MapRun


class Mapped:
    """Holds none of the results, so that each can be freed once it was yielded."""

    def __init__(self, engine: Engine, run: MapRun) -> None:
        self._engine = engine
        self._run = run

    @property
    def is_over(self) -> bool:
        """Whether every call has ended."""
        return self._run.is_over.is_set()

    def wait(self) -> None:
        """Wait until every call has ended."""
        self._run.is_over.wait()

    def stop(self) -> None:
        """Cancel what has not begun; what runs goes on."""
        self._engine.stop(self._run)

    def results(
        self, futures: list[InvocationFuture[Any]], timeout: float | None, *, is_kept: bool = False
    ) -> Iterator[Any]:
        """Return an iterator over the results in order; it takes `futures` away.

        Parameters
        ----------
        timeout: in seconds from now.
        is_kept: leaving the iterator behind cancels nothing; an error that it raises always cancels the rest.
        """
        end_at = None if timeout is None else time.monotonic() + timeout
        futures.reverse()
        results = self._results(futures, end_at, is_kept=is_kept)
        next(results)  # it has begun: one that is left before its first result is left too
        return results

    def _results(self, futures: list[InvocationFuture[Any]], end_at: float | None, *, is_kept: bool) -> Iterator[Any]:
        try:
            yield None
            while futures:
                # The list is the only one that still holds the future, so that its result is freed once it was yielded.
                left = None if end_at is None else max(0.0, end_at - time.monotonic())
                futures[-1].exception(left)
                yield futures.pop().result()
        except GeneratorExit:
            if not is_kept:
                self._engine.leave(self._run)
            raise
        except BaseException:
            self._engine.end(self._run)
            raise
