"""The slots: the agent's side of the slot processes.

Owns which process runs what, and which idle one is taken again. A process is taken only for the same number of CPUs and
the same devices, because threads and devices are fixed once a library has looked at them.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

import msgspec

from harvester.domain.pilot_file import PilotFile
from harvester_worker import slot_wire, zygote
from harvester_worker.channel import Channel
from harvester_worker.effects import Key, Start
from harvester_worker.zygote import Surroundings

log = logging.getLogger(__name__)


class _Process:
    """A slot process."""

    __slots__ = ("channel", "is_doomed", "key", "loaded", "number", "pid", "run", "surroundings")

    def __init__(self, number: int, surroundings: Surroundings, channel: Channel) -> None:
        self.number = number
        self.surroundings = surroundings
        self.channel = channel
        self.pid = 0  # until the zygote tells it
        self.loaded: set[str] = set()
        self.key: Key | None = None  # of the activation that it runs
        self.run = 0  # number of the run
        self.is_doomed = False  # its killing was ordered: what it still says comes too late


class Slots:
    """The slot processes of one pilot.

    Parameters
    ----------
    pilot: its orders.
    has_gpus: whether the pilot has devices; then an activation without any must not see them.
    to_zygote: the socket to the zygote.
    on_checkpoint, on_end, on_death: called with the activation's key; a process that ran nothing dies unnoticed.
    on_disaster: called when the zygote is gone: there will be no slots any more.
    """

    def __init__(
        self,
        pilot: PilotFile,
        *,
        has_gpus: bool,
        to_zygote: socket.socket,
        on_checkpoint: Callable[[Key, bytes], None],
        on_end: Callable[[Key, slot_wire.Ended], None],
        on_death: Callable[[Key], None],
        on_disaster: Callable[[], None],
    ) -> None:
        self._pilot = pilot
        self._has_gpus = has_gpus
        self._zygote = to_zygote
        self._on_checkpoint, self._on_end, self._on_death = on_checkpoint, on_end, on_death
        self._on_disaster = on_disaster
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, _Process] = {}
        self._by_key: dict[Key, _Process] = {}
        self._count = 0
        self._loop.add_reader(to_zygote, self._hear_zygote)

    def start(self, start: Start) -> None:
        """Run a lease in an idle slot that fits, or in a new one."""
        lease = start.lease
        key = (lease.invocation_id, lease.fence)
        surroundings = Surroundings(cpus=lease.resources.cpus, gpus=start.gpus if self._has_gpus else None)
        process = self._idle(surroundings, lease.function_id) or self._fork(surroundings)
        process.key = key
        process.run += 1
        self._by_key[key] = process
        if lease.function_id not in process.loaded:
            process.loaded.add(lease.function_id)
            process.channel.send(slot_wire.Load(function=start.function))
        process.channel.send(
            slot_wire.Run(
                number=process.run,
                invocation_id=lease.invocation_id,
                attempt=lease.attempt,
                function_id=lease.function_id,
                encoding=lease.encoding,
                arguments=lease.arguments,
                checkpoint=lease.checkpoint,
                leave_in_s=start.leave_in_s,
                checkpoint_interval_s=self._pilot.checkpoint_interval_s,
                payload_limit_bytes=self._pilot.result_limit_bytes,
            )
        )

    def hand_over(self, key: Key, within_s: float) -> None:
        """Ask an activation for its state, and to stop."""
        if process := self._by_key.get(key):
            process.channel.send(slot_wire.HandOver(number=process.run, within_s=within_s))

    def stop(self, key: Key) -> None:
        """Interrupt an activation softly."""
        if process := self._by_key.get(key):
            process.channel.send(slot_wire.Stop(number=process.run))

    def kill(self, key: Key) -> None:
        """End an activation's process and what it started."""
        if process := self._by_key.get(key):
            self._kill(process)

    def close(self) -> None:
        """Let go of everything; the zygote then kills every process that is left."""
        self._loop.remove_reader(self._zygote)
        for process in self._processes.values():
            process.channel.close()
        self._zygote.close()

    # ---- which process -----------------------------------------------------------------------------------------------

    def _idle(self, surroundings: Surroundings, function_id: str) -> _Process | None:
        idle = [process for process in self._processes.values() if process.key is None and not process.is_doomed]
        fitting = [process for process in idle if process.surroundings == surroundings]
        if fitting:
            return next((process for process in fitting if function_id in process.loaded), fitting[-1])
        wanted = set(surroundings.gpus or ())
        for process in idle:
            if wanted & set(process.surroundings.gpus or ()):
                self._kill(process)  # it may hold memory of a device that is somebody else's now
        if len(self._processes) >= max(1, self._pilot.capacity.cpus) and idle and idle[0].number in self._processes:
            self._kill(idle[0])
        return None

    def _fork(self, surroundings: Surroundings) -> _Process:
        ours, its = socket.socketpair()
        self._count += 1
        number = self._count
        channel = Channel(
            self._loop,
            ours,
            on_message=lambda message: self._hear_slot(number, message),
            on_end=lambda: self._hung_up(number),
        )
        process = self._processes[number] = _Process(number, surroundings, channel)
        with its:
            self._tell_zygote(zygote.Fork(slot=number, surroundings=surroundings), its.fileno())
        return process

    def _kill(self, process: _Process) -> None:
        process.is_doomed = True
        if process.key is None:
            self._processes.pop(process.number, None)
            process.channel.close()
        self._tell_zygote(zygote.Kill(slot=process.number))

    def _tell_zygote(self, order: zygote.Fork | zygote.Kill, *descriptors: int) -> None:
        try:
            socket.send_fds(self._zygote, [msgspec.msgpack.encode(order)], list(descriptors))
        except OSError:
            self._loop.call_soon(self._on_disaster)

    # ---- what they say -----------------------------------------------------------------------------------------------

    def _hear_slot(self, number: int, message: slot_wire.ToAgent) -> None:
        process = self._processes.get(number)
        if process is None or process.key is None or process.is_doomed:
            return
        key = process.key
        if isinstance(message, slot_wire.Progress):
            self._on_checkpoint(key, message.state)
        else:
            process.key = None
            del self._by_key[key]
            self._on_end(key, message)

    def _hear_zygote(self) -> None:
        if self._zygote.fileno() < 0:
            return  # closed by us
        try:
            packet = self._zygote.recv(zygote.LARGEST_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._loop.remove_reader(self._zygote)
            self._on_disaster()
            return
        news = zygote.decode_news(packet)
        process = self._processes.get(news.slot)
        if process is None:
            return
        if isinstance(news, zygote.Forked):
            process.pid = news.pid
            log.info("slot.started slot=%d pid=%d", news.slot, news.pid)
        else:
            log.info("slot.ended slot=%d pid=%d status=%d", news.slot, process.pid, news.status)
            process.channel.drain()
            self._lost(news.slot)

    def _hung_up(self, number: int) -> None:
        # Slots die with their zygote. Whether it has is looked at first, or its end would be taken for the function's.
        if self._processes.get(number) is not None:
            self._hear_zygote()
        self._lost(number)

    def _lost(self, number: int) -> None:
        process = self._processes.pop(number, None)
        if process is None:
            return
        process.channel.close()
        if process.key is not None:
            del self._by_key[process.key]
            self._on_death(process.key)
