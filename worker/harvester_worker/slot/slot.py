"""The slot: one process that runs activations one after the other.

The main thread reads what is to be run and runs the user's function, because signals and many libraries need the main
thread. The control thread takes what must reach a slot in the middle of a run, sends what the main thread has no time
to send, and ends the process when the agent is gone. The function, one for all runs, stays loaded. The process ends
itself where the next run would find what it must not: something of an earlier run that still runs, or code that has
changed on disk. The agent gives what it was sent and has not begun to another slot.
"""

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NoReturn, assert_never

import msgspec

from harvester.domain.model import hosting
from harvester.domain.model.functions import Encoding
from harvester.domain.payload.blobs import BlobRef
from harvester.domain.payload.buffers import Part
from harvester.domain.payload.calls import CallsError, count_calls
from harvester_worker.ipc import blob_files, frames
from harvester_worker.ipc.run_claims import Claims
from harvester_worker.ipc.slot_messages import (
    Counted,
    HandOver,
    Home,
    Load,
    Payload,
    Progress,
    Run,
    RunEnded,
    ShareDirectory,
    Stop,
    Waits,
)
from harvester_worker.isolation import forks
from harvester_worker.isolation.changed_modules import ChangedModules
from harvester_worker.isolation.descendants import Descendants
from harvester_worker.isolation.environment_reset import EnvironmentReset
from harvester_worker.isolation.remaining_threads import RemainingThreads
from harvester_worker.slot import runner
from harvester_worker.slot.checkpointing import Evicted, SlotContext, Stopped
from harvester_worker.slot.control_thread import ControlThread
from harvester_worker.slot.failures import RunFailed, placed
from harvester_worker.slot.hosting import NOWHERE, SlotHost
from harvester_worker.slot.loaded_function import Code
from harvester_worker.slot.outbound import Outbound
from harvester_worker.slot.placement import PayloadPlacement
from harvester_worker.slot.signals import CurrentRun, SlotSignals
from harvester_worker.slot.warm_up import warm_up

AGAIN_S = 0.05  # a signal that comes just before a system call does not interrupt it, so it is sent until heeded
LOOK_S = 0.5  # how often the control thread looks whether an unsent checkpoint is due


class Slot:
    """The process's state, shared by its two threads.

    Parameters
    ----------
    sock: the main line to the agent, blocking.
    orders: the other line.
    claims: which runs are this slot's.
    modules: names of those that it has from the zygote.
    """

    def __init__(self, sock: socket.socket, orders: socket.socket, claims: Claims, modules: frozenset[str]) -> None:
        self._sock, self._orders = sock, orders
        self._claims = claims
        self._descendants = Descendants()
        self._modules = ChangedModules(modules)
        self._placement = PayloadPlacement()
        self._incoming = frames.Incoming(sock, frames.to_slot)
        self._control = ControlThread(orders, on_order=self._obey, look_after=self._look_after, due_in_s=self._due_in_s)
        self._outbound = Outbound(sock, on_kept=self._control.put_off)
        self._code = Code()
        self._home = NOWHERE
        self._host = SlotHost(say=self._tell, wake=self._control.wake, function_id=self._code.id_of)
        self._active: CurrentRun | None = None
        self._signals = SlotSignals(lambda: self._active)
        self._runs: deque[tuple[Run, memoryview | None, Home]] = deque()  # received, not begun
        self._ordered: deque[HandOver | Stop] = deque()  # for the present run, or for one that is still to begin

    def serve(self) -> NoReturn:
        """Run what the agent sends, until it is gone."""
        forks.remember()
        os.register_at_fork(after_in_child=self._become_users_child)
        self._signals.own()
        environment = EnvironmentReset.remember()
        threading.Thread(target=self._control.keep, name="harvester-control", daemon=True).start()
        threads = RemainingThreads()
        self._host.settle_in()
        warm_up()
        hosting.provide(self._host)
        while True:
            while not self._runs:
                self._receive()
            if self._modules.check():
                self._leave()  # before the run is claimed: it begins in a process that imports them anew
            run, beside, home = self._runs.popleft()
            if not self._claims.begin(run.number):
                continue  # the agent has taken it back
            if not self._code.is_loaded:
                self._outbound.flush()  # loading may take long, and may end this process
            self._signals.own()  # the previous function may have installed its own
            ended, pieces = self._run(run, beside, home)
            environment.restore()
            if (ended.had_descendants and self._descendants.reap()) or threads.are_at_users_code():
                ended = msgspec.structs.replace(ended, is_last=True)
            self._claims.end(run.number)
            if ended.is_last:
                self._outbound.tell(ended, pieces, behind=0)
                self._leave()
            self._modules.record(ended.duration_s)
            if self._outbound.tell(ended, pieces, behind=len(self._runs)) and self._runs:
                self._receive(socket.MSG_DONTWAIT)

    # ---- the main thread ---------------------------------------------------------------------------------------------

    def _leave(self) -> NoReturn:
        """End this process, so that a new one serves the next run. The zygote ends what it has started."""
        self._outbound.flush()
        os._exit(0)

    def _receive(self, flags: int = 0) -> None:
        try:
            received = self._incoming.receive(flags)
        except BlockingIOError:
            return
        except OSError:
            os._exit(0)  # the agent is gone, and the node may belong to another batch job already
        for message, beside in received:
            match message:
                case Run():
                    self._runs.append((message, beside, self._home))
                case Load():
                    self._code.take(message.function)
                case Home():
                    self._home = message
                case ShareDirectory():
                    self._placement.share = message
                case _:
                    assert_never(message)

    def _run(self, run: Run, beside: memoryview | None, home: Home) -> tuple[RunEnded, Sequence[Part]]:
        began_at = time.monotonic()
        active = CurrentRun(run)
        active.context = self._context(active)
        self._active = active
        self._descendants.begin()
        self._host.begin(run, home, active.context)
        value: Payload = b""
        pieces: Sequence[Part] = ()
        failure, is_unwound, is_unshared = None, False, False
        try:
            for order in list(self._ordered):
                self._apply(order)  # it was faster than its run
            active.is_interruptible = True
            if active.is_stopped:
                raise Stopped  # noqa: TRY301 - it was cancelled before it began
            result = self._result(active, beside)
            active.is_interruptible = False
            value, pieces = self._placement.placed(run, result)
        except (Evicted, Stopped):
            is_unwound = True
        except blob_files.DirectoryLost:
            is_unshared = True
        except RunFailed as error:
            failure = placed(error.failure, run.attempt)
        finally:
            self._clear(active)
        is_evicted = active.context.was_handed_over  # also where the function has caught `Evicted`
        if is_evicted or is_unwound:
            value, pieces, failure = b"", (), None
        return RunEnded(
            number=run.number,
            value=value,
            failure=failure,
            duration_s=time.monotonic() - began_at,
            is_evicted=is_evicted,
            is_signalled=active.is_signalled,
            had_descendants=self._descendants.look(),
            is_unshared=is_unshared,
            is_last=active.was_importing,
        ), pieces

    def _clear(self, active: CurrentRun) -> None:
        """End what belongs to a run, and forget the orders that were for it."""
        active.is_interruptible = False
        self._host.close()
        self._host.end()
        active.context.end()
        self._active = None
        while self._ordered and self._ordered[0].number <= active.run.number:
            self._ordered.popleft()

    def _result(self, active: CurrentRun, beside: memoryview | None) -> list[Part]:
        run = active.run
        try:
            return runner.run(
                self._code.loaded(),
                run.encoding,
                self._arguments(active, beside),
                active.context,
                limit_bytes=run.payload_limit_bytes,
                interval_s=run.checkpoint_interval_s,
            )
        except BaseException as error:
            forks.end_if_copy(error)  # of what loads, unpickles or pickles; those of a function have ended by now
            raise

    def _arguments(self, active: CurrentRun, beside: memoryview | None) -> Part:
        run = active.run
        arguments = self._placement.arguments(run, beside)
        is_in_file = isinstance(run.arguments, BlobRef)
        if is_in_file and run.encoding is Encoding.CALLS and self._code.has_walltime:
            with contextlib.suppress(CallsError):  # the run fails of it, and says why
                self._say(active, Counted(number=run.number, calls=count_calls(memoryview(arguments))))
        return arguments

    def _context(self, active: CurrentRun) -> SlotContext:
        run = active.run
        return SlotContext(
            invocation_id=run.invocation_id,
            attempt=run.attempt,
            restored=run.checkpoint,
            send=lambda saved: self._say(active, Progress(number=run.number, **saved._asdict())),
            interval_s=run.checkpoint_interval_s,
            limit_bytes=run.payload_limit_bytes,
            leave_in_s=run.leave_in_s,
            on_kept=lambda: self._control.wake(LOOK_S),
            evidence=lambda: (self._descendants.look(), active.is_signalled),
        )

    def _tell(self, message: Waits) -> None:
        if (active := self._active) is not None:
            self._say(active, message)

    def _say(self, active: CurrentRun, message: Progress | Counted | Waits) -> None:
        if not active.is_interruptible or threading.current_thread() is not threading.main_thread():
            self._outbound.say(message)
            return
        active.is_interruptible = False  # half a frame on the line would be the end of it
        self._outbound.say(message)
        if active.is_stopped:
            raise Stopped
        active.is_interruptible = True

    def _become_users_child(self) -> None:
        self._signals.disown()
        self._host.detach()
        self._sock.close()  # or the agent would not see this slot's end
        self._orders.close()

    # ---- the control thread ------------------------------------------------------------------------------------------

    def _obey(self, order: HandOver | Stop) -> None:
        self._ordered.append(order)  # first, so that a run that begins now finds it
        self._apply(order)

    def _apply(self, order: HandOver | Stop) -> None:
        active = self._active
        if active is None or active.run.number != order.number:
            return
        match order:
            case HandOver():
                active.context.hand_over(order.within_s)
                if order.is_signalled and self._descendants.look():
                    self._outbound.flush()
                    os._exit(0)  # the node is wanted, and what this run still does is in no result
            case Stop():
                active.is_stopped = True
                self._signals.interrupt()
            case _:
                assert_never(order)

    def _due_in_s(self) -> float | None:
        """Return in how many seconds something has to be looked after at the latest, None where nothing has."""
        active = self._active
        if active is not None and active.is_stopped and active.is_interruptible:
            return AGAIN_S
        kept = LOOK_S if active is not None and active.context.has_unsent else None
        due = [each for each in (kept, self._host.due_in_s) if each is not None]
        return min(due, default=None)

    def _look_after(self) -> None:
        self._outbound.flush_if_due()
        self._host.look()
        if (active := self._active) is not None:
            active.context.flush()
            if active.is_stopped and active.is_interruptible:
                self._signals.interrupt()
