"""The agent: the pilot's main process. It tells the core what happens, and performs what the core decides.

Owns the event loop, the signals and the timer. Decides nothing.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, assert_never

from harvester.domain.model.pilots import DrainReason
from harvester.domain.protocol import wire
from harvester.domain.protocol.pilot_file import PilotFile
from harvester_worker.connection import GatewayConnection, Refused
from harvester_worker.core.effects import (
    Effect,
    HandOver,
    KeepKey,
    KillSlot,
    Leave,
    LookAtBlobs,
    Reconnect,
    Send,
    ShareBlobs,
    Start,
    StopSlot,
    TakeBack,
)
from harvester_worker.core.pilot_core import PilotCore
from harvester_worker.devices import allocation, gpus
from harvester_worker.devices.variables import is_amd
from harvester_worker.ipc import blob_files
from harvester_worker.ipc.slot_messages import ShareDirectory
from harvester_worker.isolation.temporary_folders import TemporaryFolders
from harvester_worker.pool import processes
from harvester_worker.pool.slots import Slots

log = logging.getLogger(__name__)

EXIT_IN_ORDER = 0
EXIT_REFUSED = 3
EXIT_NO_SLOTS = 4

END_S = 2.0
"""Time to end what functions have started. What is left then is ended by the scheduler."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Which one a scheduler sends differs by its version and site; each of them means that the pilot has to leave."""


class Agent:
    """One pilot.

    Parameters
    ----------
    pilot: its orders.
    to_zygote: the socket to the zygote.
    zygote_pid: its process.
    folders: the slots' temporary ones.
    """

    def __init__(self, pilot: PilotFile, to_zygote: socket.socket, zygote_pid: int, folders: TemporaryFolders) -> None:
        self._loop = asyncio.get_running_loop()
        devices = gpus.found(os.environ, wanted=pilot.capacity.gpus, amd=is_amd())
        if len(devices) < pilot.capacity.gpus:
            log.warning("gpus.missing asked=%d found=%d", pilot.capacity.gpus, len(devices))
        left_s = allocation.time_left_s(os.environ, now_at=time.time(), walltime_s=pilot.walltime_s)
        now = self._loop.time()
        host = allocation.host(os.environ, python=sys.version_info[:2], hostname=socket.gethostname())
        self._core = PilotCore(pilot, host, devices, now=now, end_at=now + left_s)
        self._link = GatewayConnection(
            pilot.gateways,
            pilot.token,
            tls_ca=pilot.tls_ca,
            hello=lambda: self._core.hello(self._loop.time()),
            on_messages=self._on_messages,
            on_loss=lambda: self._stimulate(self._core.unlinked),
        )
        self._slots = Slots(
            pilot,
            has_gpus=bool(devices),
            to_zygote=to_zygote,
            zygote_pid=zygote_pid,
            folders=folders,
            on_checkpoint=lambda key, progress: self._stimulate(partial(self._core.checkpointed, key, progress)),
            on_count=lambda key, calls: self._stimulate(partial(self._core.counted, key, calls)),
            on_wait=lambda key, is_over: self._stimulate(partial(self._core.waits, key, is_over=is_over)),
            on_ends=lambda ends: self._stimulate(partial(self._core.ended, ends)),
            on_death=lambda death: self._stimulate(partial(self._core.slot_died, death)),
            on_disaster=self._on_disaster,
        )
        self._signal: signal.Signals | None = None  # has come, and the core does not know it yet
        self._looking: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left: asyncio.Future[int] = self._loop.create_future()
        self._exit_code = EXIT_IN_ORDER
        log.info(
            "pilot.started pilot=%s node=%s batch_job=%s capacity=%r gpus=%s time_left_s=%.0f",
            pilot.pilot_id, host.node, host.batch_job_id, str(pilot.capacity), ",".join(devices), left_s,
        )  # fmt: skip

    async def run(self) -> int:
        """Work until the core decides to leave; return the exit code."""
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._hear_signal)
            signal.signal(number, self._record_signal)
        self._perform([])
        talking = asyncio.create_task(self._link.run())
        try:
            either: set[asyncio.Future[Any]] = {talking, self._left}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._left.done():
                await self._link.close()
                return self._left.result()
            talking.result()
        except Refused as error:
            log.error("pilot.refused: %s", error)  # noqa: TRY400 - the sentence says it all
            return EXIT_REFUSED
        finally:
            self._slots.close()
            talking.cancel()
            self._end_descendants()
        return EXIT_IN_ORDER

    def _end_descendants(self) -> None:
        # All of them, not only the zygote, which may be stopped or dead. Here, where signals do not end this process.
        if not processes.end_descendants(within_s=END_S):
            log.error("pilot.leftovers: some processes cannot be ended because they hang in the kernel")

    # ---- stimuli -----------------------------------------------------------------------------------------------------

    def _stimulate(self, stimulus: Callable[[float], list[Effect]]) -> None:
        """Tell the core something; first of a signal, if one has come."""
        self._hear_signal()
        self._perform(stimulus(self._loop.time()))

    def _on_messages(self, messages: list[wire.ToPilot]) -> None:
        self._stimulate(partial(self._core.received, messages))

    def _on_blobs(self, directory: str, mark: str) -> None:
        log.info("blobs.shared directory=%s", directory)
        self._stimulate(partial(self._core.blobs_seen, directory, mark))

    def _record_signal(self, number: int, _frame: FrameType | None) -> None:
        # The loop calls its own handlers after what is due already. But a result that is due must not pass a signal.
        self._signal = signal.Signals(number)

    def _hear_signal(self) -> None:
        number, self._signal = self._signal, None
        if number is not None:
            log.info("pilot.signalled signal=%s", number.name)
            self._perform(self._core.leave(DrainReason.EVICTED, self._loop.time()))

    def _on_disaster(self) -> None:
        # The pilot never ends its zygote. The node has, most likely because it was out of memory.
        log.error("zygote.lost: no more slots can be started, so the pilot leaves")
        self._exit_code = EXIT_NO_SLOTS
        self._stimulate(partial(self._core.leave, DrainReason.BROKEN))

    def _on_timer(self) -> None:
        self._timer = None
        self._stimulate(self._core.tick)

    # ---- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        todo = deque(effects)
        while todo:
            # What follows from an answer is performed after what is in the list already: the core counts on this order.
            todo += self._perform_one(todo.popleft())
        self._slots.flush()
        self._set_timer()

    def _perform_one(self, effect: Effect) -> list[Effect]:  # noqa: C901 - one line an effect
        match effect:
            case Send():
                self._link.send(effect.message)
            case Start():
                self._slots.start(effect)
            case HandOver():
                self._slots.hand_over(effect.key, effect.within_s, is_signalled=effect.is_signalled)
            case StopSlot():
                self._slots.stop(effect.key)
            case KillSlot():
                self._slots.kill(effect.key)
            case LookAtBlobs():
                self._look_at_blobs(effect)
            case ShareBlobs():
                share = ShareDirectory(directory=effect.directory, mark=effect.mark, blob_bytes=effect.blob_bytes)
                self._slots.share(share)
            case KeepKey():
                self._slots.keep_key(effect.owner, effect.key, self._link.gateway)
            case Reconnect():
                self._link.drop()
            case Leave():
                log.info("pilot.leaves reason=%s", effect.reason.value)
                self._left.set_result(self._exit_code)
            case TakeBack():
                return self._core.taken_back(self._slots.take_back(effect.key), self._loop.time())
            case _:
                assert_never(effect)
        return []

    def _look_at_blobs(self, look: LookAtBlobs) -> None:
        """Look in a thread of its own, which is not waited for: a network filesystem may hang for ever."""
        if self._looking is not None and self._looking.is_alive():
            return  # it hangs

        def see() -> None:
            if blob_files.is_shared(look.directory, look.mark):
                with contextlib.suppress(RuntimeError):  # the loop is closed: the pilot has left meanwhile
                    self._loop.call_soon_threadsafe(self._on_blobs, look.directory, look.mark)

        self._looking = threading.Thread(target=see, name="harvester-blobs", daemon=True)
        self._looking.start()

    def _set_timer(self) -> None:
        at = self._core.next_at
        if self._timer is not None:
            if self._timer.when() <= at and not self._timer.cancelled():
                return  # it fires early enough, and asks again then
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_timer)


async def run(pilot: PilotFile, to_zygote: socket.socket, zygote_pid: int, folders: TemporaryFolders) -> int:
    """Be a pilot until it is time to leave; return the exit code."""
    return await Agent(pilot, to_zygote, zygote_pid, folders).run()
