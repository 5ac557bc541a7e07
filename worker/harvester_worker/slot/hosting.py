"""Hosting: what a slot offers to the function that runs in it, beside its arguments.

Owns which run is under way, how it calls the gateway back, and whether it waits for others that it has submitted. A run
waits when a thread of it says so and the process uses no CPU; that is told after a while, since most waits are short.
Called by the function's threads and by the control thread.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import Token
from typing import Any

from harvester.domain.model.context import CURRENT, PROCESS, Context
from harvester.domain.model.hosting import Access, RunOver
from harvester.domain.model.run_tokens import make_token
from harvester_worker.ipc.slot_messages import Home, Run, Waits

log = logging.getLogger(__name__)

NOWHERE = Home(url="", pilot_id="", key=b"")

AFTER_S = 0.05
"""Time after which a wait is told."""

LOOK_S = 0.5
"""Time between two looks at a run that waits: another thread of it may have begun to work."""

IDLE_SHARE = 0.2
"""A process that uses less CPU than this share of the time is idle."""


class SlotHost:
    """The host of one slot process; it implements `harvester.domain.model.hosting.Host`.

    Parameters
    ----------
    say: sends a message to the agent, from any thread.
    wake: has `look` called within so many seconds.
    function_id: returns which loaded function a callable is.
    """

    def __init__(
        self,
        *,
        say: Callable[[Waits], None],
        wake: Callable[[float], None],
        function_id: Callable[[Callable[..., Any]], str | None],
    ) -> None:
        self._say, self._wake = say, wake
        self.function_id = function_id
        self._own_threads: frozenset[threading.Thread] = frozenset()
        self._is_detached = False
        self._run: tuple[Run, Home] | None = None
        self._token: Token[Context | None]
        self._at_end: list[Callable[[], None]] = []
        self._lock = threading.Lock()  # over the following
        self._blocked = 0  # threads that wait
        self._is_told = False  # that the run waits
        self._look_at = 0.0
        self._looked: tuple[float, float] = (0.0, 0.0)  # when, and the CPU time of the process by then

    # ---- the slot's main thread --------------------------------------------------------------------------------------

    def settle_in(self) -> None:
        """Record which threads are the slot's own."""
        self._own_threads = frozenset(threading.enumerate())

    def detach(self) -> None:
        """Become a child of the function: it may call the gateway back, and tells the agent nothing."""
        self._is_detached = True

    def begin(self, run: Run, home: Home, context: Context) -> None:
        """Begin a run."""
        self._run = (run, home)
        self._token = CURRENT.set(context)
        PROCESS.begin(context)

    def close(self) -> None:
        """Close what the run has opened, after the function has returned and while its credential is valid."""
        while self._at_end:
            try:
                self._at_end.pop()()
            except Exception:
                log.exception("run.unclosed: what a function left open could not be closed")

    def end(self) -> None:
        """End the run."""
        self._run = None
        self._at_end.clear()
        CURRENT.reset(self._token)
        has_more = threading.active_count() > len(self._own_threads)
        PROCESS.end(set(threading.enumerate()) - self._own_threads if has_more else ())
        if self._blocked or self._is_told:
            with self._lock:
                self._blocked, self._is_told = 0, False

    # ---- the function ------------------------------------------------------------------------------------------------

    def access(self) -> Access:
        """Return how the present run calls back. Raises `RunOver`."""
        PROCESS.find()  # raises in a thread that is another run's
        present = self._run
        if present is None:
            raise RunOver("no run is under way in this process, so there is no credential to call the gateway with")
        run, home = present
        token = make_token(home.key, home.pilot_id, run.invocation_id, run.fence)
        return Access(url=home.url, token=token, invocation_id=run.invocation_id, tls_ca=home.tls_ca)

    def at_end(self, close: Callable[[], None]) -> None:
        """Have `close` called when the present run is over."""
        self._at_end.append(close)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for other invocations inside this block."""
        run = self._run
        if self._is_detached or run is None:
            yield
            return
        with self._lock:
            self._blocked += 1
            if self._blocked == 1:
                self._arm(AFTER_S)
        self._wake(AFTER_S)
        try:
            yield
        finally:
            with self._lock:
                if run is self._run:
                    self._blocked -= 1
                    self._tell(is_waiting=False)
                    self._arm(AFTER_S)

    # ---- the control thread ------------------------------------------------------------------------------------------

    @property
    def due_in_s(self) -> float | None:
        """In how many seconds `look` has something to do; None where no thread waits."""
        return max(0.0, self._look_at - time.monotonic()) if self._blocked else None

    def look(self) -> None:
        """Tell the agent when the run begins or ends to wait."""
        if not self._blocked:
            return
        with self._lock:
            now, used_s = time.monotonic(), time.process_time()
            if not self._blocked or now < self._look_at:
                return
            since, used_before_s = self._looked
            self._tell(is_waiting=used_s - used_before_s < IDLE_SHARE * (now - since))
            self._arm(LOOK_S if self._is_told else AFTER_S)

    def _arm(self, within_s: float) -> None:
        self._looked = time.monotonic(), time.process_time()
        self._look_at = self._looked[0] + within_s

    def _tell(self, *, is_waiting: bool) -> None:
        run = self._run  # the main thread may end it meanwhile; the agent ignores what is told of it then
        if is_waiting != self._is_told and run is not None:
            self._is_told = is_waiting
            self._say(Waits(number=run[0].number, is_over=not is_waiting))
