"""A thread that does something again and again, by the monotonic clock: the machine's own may be set at any time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta


class Ticking:
    """Calls `tick` at once, and then at an interval.

    Parameters
    ----------
    tick: raises nothing. One that takes longer than the interval is followed by the next at once.
    """

    def __init__(self, tick: Callable[[], object], interval: timedelta) -> None:
        self._tick, self._interval_s = tick, interval.total_seconds()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="harvester-daemon", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the tick that runs, and tick no more."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._ends.wait(pause_s):
            began_at = time.monotonic()
            self._tick()
            # The jitter keeps many harvesters of one site from asking the controller in the same moment.
            jitter = random.uniform(0.9, 1.1)  # noqa: S311 - no secret depends on it
            pause_s = max(0.0, began_at + self._interval_s * jitter - time.monotonic())
