"""The slots: the agent's side of the slot processes.

Owns which process runs what, and how many there are. A process serves one owner's runs of one function, so that nothing
of a run reaches others; and one number of CPUs and one set of devices, because threads and devices are fixed once a
library has looked at them. Idle ones are kept for the next such run, as many as memory allows; spare ones, which have
served nobody yet, are there for a run that finds none.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import cache
from typing import assert_never, cast

import msgspec

from harvester.domain.protocol.pilot_file import PilotFile
from harvester_worker.core.activations import Death
from harvester_worker.core.effects import NOBODY, Key, Start, tenant_of
from harvester_worker.ipc import frames, slot_messages
from harvester_worker.ipc.channel import Channel, Message
from harvester_worker.ipc.run_claims import Claims
from harvester_worker.isolation.slot_environment import Surroundings
from harvester_worker.isolation.temporary_folders import TemporaryFolders
from harvester_worker.pool import processes, zygote
from harvester_worker.pool.slot_process import NOT_SHARED, SlotProcess
from harvester_worker.pool.spare_slots import MOST, SpareSlots
from harvester_worker.pool.warm_slots import SlotKind, WarmSlots
from harvester_worker.pool.zygote_connection import ZygoteConnection
from harvester_worker.slot.hosting import NOWHERE

log = logging.getLogger(__name__)


class Slots:
    """The slot processes of one pilot.

    Parameters
    ----------
    pilot: its orders.
    has_gpus: whether the pilot has devices; then an activation without any must not see them.
    to_zygote: the socket to the zygote.
    zygote_pid: its process.
    folders: the slots' temporary ones.
    on_checkpoint: called with the activation's key and what its slot says.
    on_count: called with the activation's key and the number of its calls, where only its slot could count them.
    on_wait: called with the activation's key when it waits for others, and whether it does so no longer.
    on_ends: called with the ends that a slot told together.
    on_death: called when a process is gone that had something to run.
    on_disaster: called when the zygote is gone: no more slots can be started.
    """

    def __init__(
        self,
        pilot: PilotFile,
        *,
        has_gpus: bool,
        to_zygote: socket.socket,
        zygote_pid: int,
        folders: TemporaryFolders,
        on_checkpoint: Callable[[Key, slot_messages.Progress], None],
        on_count: Callable[[Key, int], None],
        on_wait: Callable[[Key, bool], None],
        on_ends: Callable[[list[tuple[Key, slot_messages.RunEnded]]], None],
        on_death: Callable[[Death], None],
        on_disaster: Callable[[], None],
    ) -> None:
        self._pilot = pilot
        self._has_gpus = has_gpus
        self._on_checkpoint, self._on_count, self._on_wait, self._on_ends = on_checkpoint, on_count, on_wait, on_ends
        self._on_death = on_death
        self._folders = folders
        self._loop = asyncio.get_running_loop()
        self._zygote = ZygoteConnection(to_zygote, zygote_pid, on_news=self._hear_zygote, on_loss=on_disaster)
        self._processes: dict[int, SlotProcess] = {}
        self._warm = WarmSlots(pilot.capacity, pilot.warm_slots)
        usual = Surroundings(cpus=1, gpus=() if has_gpus else None)
        self._spares = SpareSlots(
            usual,
            max(1, min(MOST, pilot.capacity.cpus)),
            fork=self._fork_spare,
            drop=lambda number: self._forget(self._processes[number]),
        )
        self._by_key: dict[Key, tuple[SlotProcess, int]] = {}
        self._share = NOT_SHARED
        self._homes: dict[str, slot_messages.Home] = {}  # by owner
        self._unflushed: set[SlotProcess] = set()
        self._count = 0

    def start(self, start: Start) -> None:
        """Run a lease behind another one, in an idle slot that fits, or in a new one. To be followed by `flush`."""
        lease = start.lease
        process = self._by_key[start.behind][0] if start.behind is not None else self._free(start)
        process.add(start, share=self._share, home=self._homes.get(lease.owner, NOWHERE), pilot=self._pilot)
        self._by_key[lease.invocation_id, lease.fence] = (process, process.last)
        self._unflushed.add(process)

    def flush(self) -> None:
        """Send what was started since the last call."""
        for process in self._unflushed:
            process.channel.flush()
        self._unflushed.clear()

    def share(self, share: slot_messages.ShareDirectory) -> None:
        """Have large payloads read from a directory and written there, by the runs that are started from now on."""
        self._share = share

    def keep_key(self, owner: str, key: bytes, url: str) -> None:
        """Have the runs of an owner call the gateway back at this address, signing with this key."""
        home = slot_messages.Home(url=url, pilot_id=self._pilot.pilot_id, key=key, tls_ca=self._pilot.tls_ca)
        if self._homes.get(owner) != home:
            self._homes[owner] = home

    def take_back(self, key: Key) -> list[Key]:
        """Take back what is queued behind this activation and has not begun; return it."""
        if key not in self._by_key:
            return []
        process, number = self._by_key[key]
        kept = process.claims.take_back(keep=number, last=process.last)
        taken = [number for number in process.runs if number > kept]
        keys = [process.runs.pop(number) for number in taken]
        for each in keys:
            del self._by_key[each]
        return keys

    def hand_over(self, key: Key, within_s: float, *, is_signalled: bool) -> None:
        """Ask an activation for its state, and to stop."""
        if key in self._by_key:
            process, number = self._by_key[key]
            process.channel.order(slot_messages.HandOver(number=number, within_s=within_s, is_signalled=is_signalled))

    def stop(self, key: Key) -> None:
        """Interrupt an activation softly."""
        if key in self._by_key:
            process, number = self._by_key[key]
            process.channel.order(slot_messages.Stop(number=number))

    def kill(self, key: Key) -> None:
        """End an activation's process and what it started."""
        if key in self._by_key:
            self._kill(self._by_key[key][0])

    def close(self) -> None:
        """Close all lines; the zygote then kills every process that is left."""
        self._spares.close()
        for process in self._processes.values():
            process.channel.close()
        self._zygote.close()

    # ---- which process -----------------------------------------------------------------------------------------------

    def _free(self, start: Start) -> SlotProcess:
        lease = start.lease
        surroundings = Surroundings(cpus=lease.resources.cpus, gpus=start.gpus if self._has_gpus else None)
        kind = SlotKind(surroundings, tenant_of(lease))
        number = self._warm.take(kind)
        if number is not None:
            return self._processes[number]
        for other in self._warm.with_devices(start.gpus):
            self._kill(self._processes[other])  # it may hold memory of a device that another run has now
        number = self._spares.take(surroundings)
        if number is None:
            self._make_room()
            return self._fork(kind)
        process = self._processes[number]
        process.kind = kind
        return process

    def _fork_spare(self, surroundings: Surroundings) -> int:
        self._make_room()
        return self._fork(SlotKind(surroundings, NOBODY)).number

    def _make_room(self) -> None:
        zygotes = cache(
            lambda: processes.own_bytes(self._zygote.pid)
        )  # memory that a slot shares with it is not counted

        def weigh(number: int) -> int:
            return max(0, processes.own_bytes(self._processes[number].pid) - zygotes())

        for number in self._warm.choose_surplus(len(self._processes), self._loop.time(), weigh):
            self._forget(self._processes[number])

    def _fork(self, kind: SlotKind) -> SlotProcess:
        ours, its = socket.socketpair()
        our_orders, its_orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        claims = Claims.create()
        number = self._count = self._count + 1
        channel = Channel(
            self._loop,
            ours,
            our_orders,
            limit_bytes=self._pilot.result_limit_bytes + frames.MESSAGES_BYTES,
            on_messages=lambda messages: self._hear_slot(number, messages),
            on_end=lambda: self._hung_up(number),
        )
        process = self._processes[number] = SlotProcess(number, kind, channel, claims)
        with its, its_orders:
            order = zygote.Fork(slot=number, surroundings=kind.surroundings)
            self._zygote.tell(order, its.fileno(), its_orders.fileno(), claims.fileno())
        return process

    def _kill(self, process: SlotProcess) -> None:
        process.is_doomed = True
        if not process.runs:
            self._forget(process)
        self._zygote.tell(zygote.Kill(slot=process.number))

    def _forget(self, process: SlotProcess) -> None:
        """Close the lines to a process: one that lives ends itself then, and the zygote ends what it leaves."""
        self._processes.pop(process.number, None)
        self._warm.discard(process.number)
        self._spares.discard(process.number)
        self._unflushed.discard(process)
        process.channel.close()
        process.claims.close()

    # ---- from slots and zygote ---------------------------------------------------------------------------------------

    def _hear_slot(self, number: int, messages: Sequence[Message]) -> None:
        process = self._processes.get(number)
        if process is None or process.is_doomed:
            return
        ends: list[tuple[Key, slot_messages.RunEnded]] = []
        for message, beside in messages:
            key = process.runs.get(message.number)
            if key is None:
                continue
            if not isinstance(message, slot_messages.RunEnded):
                self._tell_ends(ends)  # order is kept
            match message:
                case slot_messages.RunEnded():
                    if message.number != next(iter(process.runs)):
                        self._tell_ends(ends)
                        process.channel.fail("it reported the end of a run before that of an earlier one")
                        return
                    ends.append((key, self._ended(process, key, message, beside)))
                case slot_messages.Counted():
                    self._on_count(key, message.calls)
                case slot_messages.Progress():
                    self._on_checkpoint(key, message)
                case slot_messages.Waits():
                    self._on_wait(key, message.is_over)
                case _:
                    assert_never(message)
        self._tell_ends(ends)

    def _ended(
        self, process: SlotProcess, key: Key, ended: slot_messages.RunEnded, beside: memoryview | None
    ) -> slot_messages.RunEnded:
        del process.runs[ended.number], self._by_key[key]
        process.is_doomed = ended.is_last
        if not process.runs and not ended.is_last:
            self._warm.add(process.number, process.kind)
        if beside is None:
            return ended
        return msgspec.structs.replace(ended, value=cast("bytes", beside))  # as good as bytes to the encoder

    def _tell_ends(self, ends: list[tuple[Key, slot_messages.RunEnded]]) -> None:
        if ends:
            self._on_ends(ends.copy())
            ends.clear()

    def _hear_zygote(self, news: zygote.Forked | zygote.Died) -> None:
        process = self._processes.get(news.slot)
        match news:
            case zygote.Forked():
                if process is not None:
                    process.pid = news.pid
                    log.debug("slot.started slot=%d pid=%d", news.slot, news.pid)
            case zygote.Died():
                self._folders.leave(news.slot)
                if process is not None:
                    level = logging.INFO if news.status else logging.DEBUG
                    log.log(level, "slot.ended slot=%d pid=%d status=%d", news.slot, process.pid, news.status)
                    process.channel.drain()
                    self._lost(news.slot)
            case _:
                assert_never(news)

    def _hung_up(self, number: int) -> None:
        # Slots die with their zygote. Whether it has is looked at first, or its end would be taken for the function's.
        if number in self._processes:
            self._zygote.hear()
        process = self._processes.get(number)
        if process is not None and not process.is_doomed:
            self._zygote.tell(zygote.Kill(slot=number))  # its function may have closed the line, and be at work still
        self._lost(number)

    def _lost(self, number: int) -> None:
        process = self._processes.get(number)
        if process is None:
            return
        death = process.death()
        self._forget(process)
        for key in death.keys:
            del self._by_key[key]
        if death.keys:
            self._on_death(death)
