"""The zygote: a small process with one thread, from which slots are forked.

It has imported what every slot needs and nothing heavy, so a slot starts in a few milliseconds. It is the parent of all
slots and adopts their orphans: it reaps them, kills them on the agent's word, and kills all of them when the agent is
gone, even if it was stopped itself. When it dies first, the agent adopts what is left, and ends it. It stays in the
pilot's process session, because PBS signals and ends only that.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from io import TextIOWrapper
from types import ModuleType
from typing import NoReturn

import msgspec

from harvester_worker import devices, processes
from harvester_worker.siblings import Siblings

LARGEST_MESSAGE = 64 * 1024
DESCRIPTORS = 3
"""That come with `Fork`."""

END_S = 1.0
"""When the agent is gone, so long is tried to end what is left."""

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


CALLERS = ("HARVESTER_URL", "HARVESTER_TOKEN")


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot process finds around itself; it is fixed when the process starts."""

    cpus: int
    gpus: tuple[str, ...] | None  # None: this pilot has nothing to say about devices


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
    """Zygote to agent: a slot is gone; `status` is its exit code, negative for a signal."""

    slot: int
    status: int


_order = msgspec.msgpack.Decoder(Fork | Kill)
_news = msgspec.msgpack.Decoder(Forked | Died)


def decode_news(packet: bytes) -> Forked | Died:
    """Return what the zygote tells the agent."""
    news: Forked | Died = _news.decode(packet)
    return news


def start() -> tuple[int, socket.socket]:
    """Fork the zygote and return its process id and the socket to it.

    To be called before the caller has threads or anything heavy: the zygote is a copy of it.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        its.close()
        return pid, ours
    try:
        ours.close()
        Zygote(its).serve()
    except BaseException:  # noqa: BLE001 - outermost of this process: its parent's stack is no place to go
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


class Zygote:
    """The parent of the slots.

    Parameters
    ----------
    sock: the connection to the agent, one packet a message.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pids: dict[int, int] = {}  # by slot
        self._siblings = Siblings()

    def serve(self) -> NoReturn:
        """Fork, kill and reap, until the agent is gone; then kill what is left."""
        self._settle_in()
        wakeup = self._watch_children()
        while True:
            ready, _, _ = select.select([self._sock, wakeup], [], [])
            if wakeup in ready:
                wakeup.recv(4096)
                self._reap()
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
        os.dup2(null, 0)  # srun forwards its own input to the step; it is nobody's
        os.close(null)
        for name in CALLERS:
            os.environ.pop(name, None)  # whoever submitted the pilot is nobody to functions: they have their run's
        sys.argv = ["harvester-slot"]
        sys.modules["__main__"] = ModuleType("__main__")  # the pilot's is not what a user's pickle means by it
        import harvester_worker.slot  # noqa: F401, PLC0415 - here, so that it runs beside the agent's own imports

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
        """Read one order; tell whether the agent is still there."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._sock, LARGEST_MESSAGE, DESCRIPTORS)
        except ConnectionError:
            return False
        if not packet:
            return False
        order = _order.decode(packet)
        if isinstance(order, Fork):
            self._fork(order, descriptors)
        elif order.slot in self._pids:
            processes.kill_tree(self._pids[order.slot])
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
        self._siblings.add(pid)
        self._tell(Forked(slot=order.slot, pid=pid))

    def _become_slot(self, order: Fork, line: int, orders: int, claims: int) -> NoReturn:
        try:
            processes.die_with_parent()
            processes.rename(f"harvester-{order.slot}")
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for sock in (self._sock, *self._wakeup):
                sock.close()
            _arrange(order.surroundings)
            if isinstance(sys.stdout, TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)
            from harvester_worker.claims import Claims  # noqa: PLC0415 - imported already; see `_settle_in`
            from harvester_worker.family import Family  # noqa: PLC0415 - as above
            from harvester_worker.slot import Slot  # noqa: PLC0415 - as above

            family = Family(self._siblings.has_orphans)
            Slot(socket.socket(fileno=line), socket.socket(fileno=orders), Claims(claims), family).serve()
        except BaseException:  # noqa: BLE001 - outermost of this process
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for slot, its in list(self._pids.items()):
                if its == pid:
                    del self._pids[slot]
                    self._siblings.remove(pid)
                    self._tell(Died(slot=slot, status=os.waitstatus_to_exitcode(status)))

    def _tell(self, news: Forked | Died) -> None:
        with contextlib.suppress(OSError):  # the agent is gone: the next read of the socket says so
            self._sock.send(msgspec.msgpack.encode(news))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing. A handler, because what is ignored stays ignored in the programs that functions start."""


def _arrange(surroundings: Surroundings) -> None:
    if surroundings.gpus is not None:
        for name, value in devices.narrowed(os.environ, surroundings.gpus, amd=devices.is_amd()).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, str(max(1, surroundings.cpus)))
