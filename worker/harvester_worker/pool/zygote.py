"""The zygote: a small process with one thread, from which slots are forked.

It has imported what every slot needs and nothing heavy, so a slot starts in a few milliseconds. It is the parent of all
slots: it reaps them; it kills them and all that they have started when the agent orders it or when they stay stopped;
it ends what a slot that died has left behind; and it kills all of them when the agent is gone, even if it was stopped
itself. When it dies first, the agent adopts what is left, and ends it.

Each slot has a process group of its own, so that a function which signals its group hits no other slot. All stay in the
pilot's process session, because PBS signals and ends only that. Nothing is ended by group or session here: processes
are found by their parents.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from types import ModuleType
from typing import NoReturn, assert_never

import msgspec

from harvester_worker.isolation import forks
from harvester_worker.isolation.slot_environment import SlotEnvironment, Surroundings
from harvester_worker.isolation.temporary_folders import TemporaryFolders
from harvester_worker.pool import processes
from harvester_worker.pool.output_limit import Outlet
from harvester_worker.pool.stopped_slots import StoppedSlots

LARGEST_MESSAGE = 64 * 1024
DESCRIPTORS = 3
"""That come with `Fork`."""

END_S = 1.0
"""Time to end what is left, when the agent is gone."""

CALLERS = ("HARVESTER_URL", "HARVESTER_TOKEN")


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Agent to zygote, with the slot's ends of both lines and its claims: start a slot."""

    slot: int
    surroundings: Surroundings


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Agent to zygote: end a slot and everything that it started."""

    slot: int


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Zygote to agent: a slot runs."""

    slot: int
    pid: int


class Died(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Zygote to agent: a slot is gone; `status` is its exit code, negative for a signal. Also for one long gone."""

    slot: int
    status: int


_order = msgspec.msgpack.Decoder(Fork | Kill)
_news = msgspec.msgpack.Decoder(Forked | Died)


def decode_news(packet: bytes) -> Forked | Died:
    """Return what the zygote tells the agent."""
    news: Forked | Died = _news.decode(packet)
    return news


def start(outlet: Outlet, folders: TemporaryFolders) -> tuple[int, socket.socket]:
    """Fork the zygote and return its process id and the socket to it.

    To be called before the caller has threads or anything heavy: the zygote is a copy of it. It and all below
    it print into `outlet`; its slots have their temporary files in `folders`.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        its.close()
        return pid, ours
    try:
        ours.close()
        outlet.become_output()
        Zygote(its, folders).serve()
    except BaseException:  # noqa: BLE001 - outermost of this process: its parent's stack is no place to go
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


class Zygote:
    """The parent of the slots.

    Parameters
    ----------
    sock: the connection to the agent, one packet a message.
    folders: the slots' temporary ones.
    """

    def __init__(self, sock: socket.socket, folders: TemporaryFolders) -> None:
        self._sock = sock
        self._folders = folders
        self._pids: dict[int, int] = {}  # by slot
        self._stopped = StoppedSlots()

    def serve(self) -> NoReturn:
        """Fork, kill and reap, until the agent is gone; then kill what is left."""
        self._settle_in()
        wakeup = self._watch_children()
        while True:
            ready, _, _ = select.select([self._sock, wakeup], [], [], self._stopped.due_in_s(time.monotonic()))
            if wakeup in ready:
                wakeup.recv(4096)
                self._reap()
            self._end_stopped()
            if self._sock in ready and not self._obey():
                break
        processes.end_descendants(within_s=END_S)
        os._exit(0)

    def _settle_in(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, _ignore)
        processes.rename("harvester-zyg")
        processes.adopt_orphans()
        processes.wake_with_parent()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)  # srun forwards its own input to the step; no function may read it
        os.close(null)
        for name in CALLERS:
            os.environ.pop(
                name, None
            )  # a function calls back with the credential of its run, not as the user who submitted the pilot
        sys.argv = ["harvester-slot"]
        sys.modules["__main__"] = ModuleType("__main__")  # the pilot's is not what a user's pickle means by it
        import harvester_worker.slot.slot  # noqa: F401, PLC0415 - here, so that it runs beside the agent's own imports

        self._environment = SlotEnvironment()
        gc.collect()
        gc.freeze()  # or the first collection in each slot would copy every page of this process

    def _watch_children(self) -> socket.socket:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wakeup = (reader, writer)
        signal.signal(signal.SIGCHLD, _ignore)
        return reader

    def _obey(self) -> bool:
        """Read one order; return whether the agent is still there."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._sock, LARGEST_MESSAGE, DESCRIPTORS)
        except ConnectionError:
            return False
        if not packet:
            return False
        order: Fork | Kill = _order.decode(packet)
        match order:
            case Fork():
                self._fork(order, descriptors)
            case Kill() if order.slot in self._pids:
                processes.kill_tree(self._pids[order.slot])
            case Kill():
                self._tell(Died(slot=order.slot, status=0))  # the agent counts on an answer
            case _:
                assert_never(order)
        return True

    def _fork(self, order: Fork, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            _close(descriptors)
            self._tell(Died(slot=order.slot, status=-(error.errno or 1)))
            return
        if pid == 0:
            self._become_slot(order, *descriptors)
        _close(descriptors)
        self._pids[order.slot] = pid
        self._tell(Forked(slot=order.slot, pid=pid))

    def _become_slot(self, order: Fork, line: int, orders: int, claims: int) -> NoReturn:
        try:
            processes.die_with_parent()
            os.setpgid(0, 0)
            processes.adopt_orphans()  # so that all that its runs start stays below it
            processes.rename(f"harvester-{order.slot}")
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for sock in (self._sock, *self._wakeup):
                sock.close()
            for descriptor in (line, orders, claims):
                os.set_inheritable(descriptor, False)  # or a program that a function runs would keep the lines open
            self._environment.arrange(order.surroundings)
            self._folders.enter(order.slot)
            from harvester_worker.ipc.run_claims import Claims  # noqa: PLC0415 - imported already; see `_settle_in`
            from harvester_worker.slot.slot import Slot  # noqa: PLC0415 - as above

            lines = socket.socket(fileno=line), socket.socket(fileno=orders)
            Slot(*lines, Claims(claims), self._environment.modules).serve()
        except BaseException as error:  # noqa: BLE001 - outermost of this process
            forks.end_if_copy(error)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _reap(self) -> None:
        has_lost = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if os.WIFSTOPPED(status):
                self._stopped.add(pid, time.monotonic())
                continue
            for slot, its in list(self._pids.items()):
                if its == pid:
                    del self._pids[slot]
                    has_lost = True
                    self._tell(Died(slot=slot, status=os.waitstatus_to_exitcode(status)))
        if has_lost:
            self._end_orphans()

    def _end_orphans(self) -> None:
        """End what a slot that is gone has left: the zygote has adopted it."""
        slots = set(self._pids.values())
        for pid in processes.children(os.getpid()):
            if pid not in slots:
                processes.kill_tree(pid)

    def _end_stopped(self) -> None:
        """Kill the slots that stay stopped: a function has stopped itself, and its run would never end."""
        for pid in self._stopped.to_look_at(time.monotonic()):
            if self._stopped.seen(pid, is_stopped=processes.is_stopped(pid)):
                processes.kill_tree(pid)

    def _tell(self, news: Forked | Died) -> None:
        with contextlib.suppress(OSError):  # the agent is gone: the next read of the socket says so
            self._sock.send(msgspec.msgpack.encode(news))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing. A handler, because what is ignored stays ignored in the programs that functions start."""
