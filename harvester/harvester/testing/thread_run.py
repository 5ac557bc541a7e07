"""A run in a thread: one lease from its start to what the gateway is told of its end.

Owns the function's call and its context. Knows no connection: it is given a function that tells the gateway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from harvester.domain.model.context import CURRENT
from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.protocol import wire
from harvester_worker.slot import loaded_function, runner
from harvester_worker.slot.checkpointing import Evicted, Saved, SlotContext, Stopped
from harvester_worker.slot.failures import RunFailed, placed

LIMIT_BYTES = 64 * 1024 * 1024  # of a result and of a checkpoint, as a gateway's default
CALLS_SAVED_S = 5.0  # how often the outcomes of many calls in one invocation are saved
TIME_LEFT_S = 3600.0

Say = Callable[[wire.ToGateway], None]


class ThreadRun:
    """One run. Made and told to leave by the pilot's thread, which `say` and `on_end` reach from the run's own.

    Parameters
    ----------
    lease, function: what is run.
    say: tells the gateway; takes no more once the run is given up.
    on_end: called when the thread has ended.
    """

    def __init__(self, lease: wire.Lease, function: FunctionVersion, say: Say, on_end: Callable[[], None]) -> None:
        self.lease = lease
        self._function = function
        self._say = say
        self._on_end = on_end
        self._is_given_up = False
        self._checkpoints = 0
        self._context = SlotContext(
            invocation_id=lease.invocation_id,
            attempt=lease.attempt,
            restored=lease.checkpoint,
            send=self._save,
            interval_s=0.0,
            limit_bytes=LIMIT_BYTES,
            leave_in_s=TIME_LEFT_S,
        )

    def start(self) -> None:
        """Run in a thread that does not keep the process from ending."""
        name = f"harvester-run-{self.lease.function_id}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def hand_over(self, within_s: float) -> None:
        """Send the newest state, and unwind the function at its next checkpoint."""
        self._context.hand_over(within_s)

    def give_up(self, end: ActivationEnd) -> None:
        """Give the lease back at once. The thread ends at its next checkpoint, or by itself; nobody hears of it."""
        self._is_given_up = True
        self._say(wire.GivenBack(invocation_id=self.lease.invocation_id, fence=self.lease.fence, end=end))

    def _run(self) -> None:
        lease, began_at = self.lease, time.monotonic()
        self._tell(wire.Started(invocation_id=lease.invocation_id, fence=lease.fence))
        end: wire.ToGateway = wire.GivenBack(
            invocation_id=lease.invocation_id, fence=lease.fence, end=ActivationEnd.EVICTED
        )
        try:
            value = self._value()
            took_s = time.monotonic() - began_at
            if not self._context.was_handed_over:
                end = wire.Finished(
                    invocation_id=lease.invocation_id, fence=lease.fence, value=value, duration_s=took_s
                )
        except (Evicted, Stopped):
            pass
        except RunFailed as error:
            failure = placed(error.failure, lease.attempt)
            end = wire.Finished(
                invocation_id=lease.invocation_id,
                fence=lease.fence,
                failure=failure,
                duration_s=time.monotonic() - began_at,
            )
        finally:
            self._context.end()
            self._tell(end)
            self._on_end()

    def _value(self) -> bytes:
        lease = self.lease
        assert isinstance(lease.arguments, bytes)  # noqa: S101 - the gateway has no directory of large payloads
        CURRENT.set(self._context)  # of this thread, which runs nothing else
        pieces = runner.run(
            loaded_function.load(self._function),
            lease.encoding,
            lease.arguments,
            self._context,
            limit_bytes=LIMIT_BYTES,
            interval_s=CALLS_SAVED_S,
        )
        return b"".join(bytes(piece) for piece in pieces)

    def _save(self, saved: Saved) -> None:
        if self._is_given_up:
            raise Stopped
        self._checkpoints += 1
        self._tell(
            wire.Checkpoint(
                invocation_id=self.lease.invocation_id,
                fence=self.lease.fence,
                seq=self._checkpoints,
                state=saved.state,
            )
        )

    def _tell(self, message: wire.ToGateway) -> None:
        if not self._is_given_up:
            self._say(message)
