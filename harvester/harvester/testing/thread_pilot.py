"""A pilot whose slots are threads of this process. It speaks to the gateway as every pilot does.

Owns its connection, which leases wait for a slot, and how it leaves. What a run does is `thread_run`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable

import msgspec
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from harvester.domain.model.context import PROCESS, DetachedContext
from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.pilots import DrainReason
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester.testing.thread_run import TIME_LEFT_S, ThreadRun

PATIENCE_S = 20.0  # for the gateway's welcome, and for its goodbye


class PilotPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Who a pilot is and where it calls."""

    pilot_id: str
    token: str
    node: str
    capacity: Resources
    unix_socket: str


class ThreadPilot:
    """One pilot, with a thread for its connection and one for each run. `start` it, then let it `leave`.

    Parameters
    ----------
    place: who it is.
    on_drain: called, in a thread of its own, when the gateway wants it to leave.
    """

    def __init__(self, place: PilotPlace, on_drain: Callable[[], None]) -> None:
        self._place = place
        self._on_drain = on_drain
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"harvester-{place.pilot_id}", daemon=True)
        self._welcomed = threading.Event()
        self._functions: dict[str, FunctionVersion] = {}
        self._waiting: deque[wire.Lease] = deque()
        self._runs: dict[tuple[str, int], ThreadRun] = {}
        self._free = place.capacity.cpus
        self._unsent: list[wire.ToGateway] = []
        self._has_unsent = asyncio.Event()
        self._changed = asyncio.Event()  # a run has ended
        self._leaving: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Connect; return once the gateway gives it work. Raises `RuntimeError` where that fails."""
        self._thread.start()
        if not self._welcomed.wait(PATIENCE_S) or self._failure is not None:
            raise RuntimeError(f"the pilot found no gateway: {self._failure or 'no answer'}") from self._failure

    def leave(self, within_s: float) -> None:
        """Hand over what runs and end. What has reached no checkpoint `within_s` seconds is begun anew elsewhere."""
        with contextlib.suppress(RuntimeError):  # its loop is over
            self._loop.call_soon_threadsafe(self._leave, within_s)
        self._thread.join(within_s + PATIENCE_S)

    # ---- the connection's thread -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._talk())
        except Exception as error:  # noqa: BLE001 - outermost of this thread; `start` tells
            self._failure = error
        finally:
            self._welcomed.set()

    async def _talk(self) -> None:
        place = self._place
        headers = {"Authorization": f"Bearer {place.token}"}
        async with unix_connect(
            place.unix_socket,
            f"ws://harvester{wire.LINK_PATH}",
            additional_headers=headers,
            max_size=None,
            compression=None,
        ) as connection:
            self._say(
                wire.Hello(
                    protocol=wire.PROTOCOL_VERSION,
                    pilot_id=place.pilot_id,
                    python=f"{sys.version_info.major}.{sys.version_info.minor}",
                    node=place.node,
                    batch_job_id=place.pilot_id,
                    capacity=place.capacity,
                    time_left_s=TIME_LEFT_S,
                )
            )
            sending = asyncio.create_task(self._send(connection))
            beating: asyncio.Task[None] | None = None
            try:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        for message in wire.decode_to_pilot(await connection.recv(decode=False)):
                            if isinstance(message, wire.Welcome):
                                beating = asyncio.create_task(self._beat(message.heartbeat_s))
                                self._welcomed.set()
                            else:
                                self._hear(message)
            finally:
                sending.cancel()
                if beating is not None:
                    beating.cancel()

    async def _send(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._has_unsent.wait()
                self._has_unsent.clear()
                messages, self._unsent = self._unsent, []
                await connection.send(wire.encode(messages))
                if any(isinstance(message, wire.Goodbye) for message in messages):
                    await connection.close()

    async def _beat(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self._say(wire.Heartbeat(time_left_s=TIME_LEFT_S))

    def _hear(self, message: wire.ToPilot) -> None:
        match message:
            case wire.Function():
                self._functions[message.function.function_id] = message.function
            case wire.Forget():
                self._functions.pop(message.function_id, None)
            case wire.Lease():
                self._waiting.append(message)
                self._begin()
            case wire.Cancel():
                self._stop(message.invocation_id, message.fence)
            case wire.Recall():
                if self._drop_waiting(message.invocation_id, message.fence):
                    self._give_back(message.invocation_id, message.fence, ActivationEnd.UNSTARTED)
            case wire.Drain():
                threading.Thread(target=self._on_drain, name="harvester-drain", daemon=True).start()
            case wire.Welcome() | wire.Heard() | wire.OwnerKey() | wire.Ack():
                pass  # nothing is sent twice on a connection that does not break

    def _begin(self) -> None:
        while self._waiting and self._free > 0 and self._leaving is None:
            lease = self._waiting.popleft()
            key = (lease.invocation_id, lease.fence)
            on_end = functools.partial(self._from_thread, self._ended, key)
            run = ThreadRun(lease, self._functions[lease.function_id], self._say_from_thread, on_end)
            self._runs[key] = run
            self._free -= 1
            run.start()

    def _ended(self, key: tuple[str, int]) -> None:
        if self._runs.pop(key, None) is None:
            return  # it was given up before
        self._free += 1
        if not self._runs:
            PROCESS.begin(DetachedContext())  # what runs side by side has each taken for the one before
        self._changed.set()
        self._begin()

    def _stop(self, invocation_id: str, fence: int) -> None:
        if self._drop_waiting(invocation_id, fence):
            self._give_back(invocation_id, fence, ActivationEnd.CANCELLED)
        elif (run := self._runs.get((invocation_id, fence))) is not None:
            run.give_up(ActivationEnd.CANCELLED)
            self._ended((invocation_id, fence))

    def _drop_waiting(self, invocation_id: str, fence: int) -> bool:
        """Drop a lease that waits for a slot; return whether there was one."""
        for lease in self._waiting:
            if (lease.invocation_id, lease.fence) == (invocation_id, fence):
                self._waiting.remove(lease)
                return True
        return False

    def _give_back(self, invocation_id: str, fence: int, end: ActivationEnd) -> None:
        self._say(wire.GivenBack(invocation_id=invocation_id, fence=fence, end=end))

    def _leave(self, within_s: float) -> None:
        if self._leaving is None:
            self._leaving = self._loop.create_task(self._hand_over(within_s))

    async def _hand_over(self, within_s: float) -> None:
        self._say(wire.Draining(reason=DrainReason.EVICTED))
        for lease in self._waiting:
            self._give_back(lease.invocation_id, lease.fence, ActivationEnd.UNSTARTED)
        self._waiting.clear()
        for run in self._runs.values():
            run.hand_over(within_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._runs:
                    self._changed.clear()
                    await self._changed.wait()
        for key, run in tuple(self._runs.items()):
            run.give_up(ActivationEnd.EVICTED)
            self._ended(key)
        self._say(wire.Goodbye(reason=DrainReason.EVICTED))

    def _say(self, message: wire.ToGateway) -> None:
        self._unsent.append(message)
        self._has_unsent.set()

    # ---- a run's thread ----------------------------------------------------------------------------------------------

    def _say_from_thread(self, message: wire.ToGateway) -> None:
        self._from_thread(self._say, message)

    def _from_thread(self, call: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run was given up
            self._loop.call_soon_threadsafe(call, *args)
