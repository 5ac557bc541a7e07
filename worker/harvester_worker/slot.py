"""The slot: one process that runs activations one after the other.

The main thread runs users' functions, because signals and many libraries want it. A listening thread reads the socket
and ends the process when the agent is gone. Functions stay loaded for the next run.
"""

import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from harvester.domain.context import CURRENT
from harvester.domain.functions import FunctionVersion
from harvester_worker import runner, slot_wire
from harvester_worker.checkpointing import Evicted, SlotContext, Stopped
from harvester_worker.leftovers import Leftovers
from harvester_worker.slot_wire import Ended, HandOver, Load, Progress, Run, Stop

STOP_SIGNAL = signal.SIGRTMIN
"""From the listening thread to the main thread: interrupt the function. Libraries leave this signal alone."""

SCHEDULERS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends them to every process of the step. What follows is the agent's decision, so a slot only takes note."""

FLUSH_S = 0.5
"""How often the listening thread looks whether an unsent checkpoint is due."""


class _Active:
    """The run that the main thread is at."""

    def __init__(self, run: Run, context: SlotContext) -> None:
        self.run = run
        self.context = context
        self.is_interruptible = False
        self.is_stopped = False
        self.is_signalled = False


class Slot:
    """The process's state, shared by its two threads.

    Parameters
    ----------
    sock: the connection to the agent, blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._bodies: dict[str, FunctionVersion] = {}
        self._loaded: dict[str, Callable[..., Any]] = {}
        self._active: _Active | None = None
        self._runs: queue.SimpleQueue[_Active] = queue.SimpleQueue()

    def serve(self) -> NoReturn:
        """Run what the agent sends, until it is gone."""
        os.register_at_fork(after_in_child=self._become_users_child)
        self._own_signals()
        leftovers = Leftovers.remember()
        threading.Thread(target=self._listen, name="harvester-listener", daemon=True).start()
        while True:
            active = self._runs.get()
            self._own_signals()  # the previous function may have installed its own
            ended = self._run(active)
            leftovers.clear()
            self._active = None
            self._send(ended)

    # ---- the main thread ---------------------------------------------------------------------------------------------

    def _run(self, active: _Active) -> Ended:
        began_at = time.monotonic()
        token = CURRENT.set(active.context)
        value, failure, is_unwound = b"", None, False
        try:
            active.is_interruptible = True
            if active.is_stopped:
                raise Stopped  # noqa: TRY301 - it was cancelled before it began
            value = self._result(active)
            active.is_interruptible = False
        except (Evicted, Stopped):
            is_unwound = True
        except runner.RunFailed as error:
            failure = error.failure
        finally:
            active.is_interruptible = False
            CURRENT.reset(token)
        is_evicted = active.context.was_handed_over  # also where the function took `Evicted` for its own affair
        return Ended(
            value=b"" if is_evicted or is_unwound else value,
            failure=None if is_evicted or is_unwound else failure,
            duration_s=time.monotonic() - began_at,
            is_evicted=is_evicted,
            is_signalled=active.is_signalled,
        )

    def _result(self, active: _Active) -> bytes:
        run = active.run
        function = self._loaded.get(run.function_id)
        if function is None:
            function = self._loaded[run.function_id] = runner.load(self._bodies[run.function_id])
        args, kwargs = runner.decode_arguments(run.encoding, run.arguments)
        value = runner.call(function, args, kwargs, active.context)
        return runner.encode_result(run.encoding, value, run.payload_limit_bytes)

    # ---- signals -----------------------------------------------------------------------------------------------------

    def _own_signals(self) -> None:
        # Handlers, not SIG_IGN: exec keeps what is ignored, and the programs of a function must find the defaults.
        for number in SCHEDULERS_SIGNALS:
            signal.signal(number, self._take_note)
        signal.signal(STOP_SIGNAL, self._interrupt)

    def _take_note(self, _number: int, _frame: FrameType | None) -> None:
        if self._active is not None:
            self._active.is_signalled = True

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        active = self._active
        if active is not None and active.is_interruptible and active.is_stopped:
            active.is_interruptible = False  # once
            raise Stopped

    def _become_users_child(self) -> None:
        for number in (*SCHEDULERS_SIGNALS, STOP_SIGNAL):
            signal.signal(number, signal.SIG_DFL)
        self._sock.close()  # or the agent would not see this slot's end

    # ---- the listening thread ----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while True:
                self._heard(slot_wire.decode_to_slot(self._frame()))
        except OSError:
            pass
        finally:
            # The agent is gone, and the node may be somebody else's already.
            os._exit(0)

    def _heard(self, message: slot_wire.ToSlot) -> None:
        active = self._active
        match message:
            case Run():
                self._active = _Active(message, self._context(message))
                self._runs.put(self._active)
            case Load():
                self._bodies[message.function.function_id] = message.function
            case HandOver():
                if active is not None and active.run.number == message.number:
                    active.context.hand_over(message.within_s)
            case Stop():
                if active is not None and active.run.number == message.number:
                    active.is_stopped = True
                    signal.pthread_kill(threading.main_thread().ident or 0, STOP_SIGNAL)

    def _context(self, run: Run) -> SlotContext:
        return SlotContext(
            invocation_id=run.invocation_id,
            attempt=run.attempt,
            restored=run.checkpoint,
            send=lambda state: self._send(Progress(state=state)),
            interval_s=run.checkpoint_interval_s,
            limit_bytes=run.payload_limit_bytes,
            leave_in_s=run.leave_in_s,
        )

    def _frame(self) -> bytearray:
        size = int.from_bytes(self._exactly(slot_wire.HEADER_BYTES), "little")
        return self._exactly(size)

    def _exactly(self, size: int) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            self._wait()
            count = self._sock.recv_into(view)
            if count == 0:
                raise ConnectionResetError
            view = view[count:]
        return buffer

    def _wait(self) -> None:
        # Only a running function has checkpoints to look after. The socket has no timeout: the main thread sends on it.
        while (active := self._active) is not None and not self._poll.poll(1000 * FLUSH_S):
            active.context.flush()

    def _send(self, message: slot_wire.ToAgent) -> None:
        frame = slot_wire.frame(message)
        try:
            with self._sending:
                self._sock.sendall(frame)
        except OSError:
            os._exit(0)
