"""The control thread: the thread of a slot that takes orders while the main thread runs a function.

Owns when it wakes: for an order of the agent, for the agent's end, and for what is due. Must not know orders or runs.
"""

import contextlib
import ctypes
import os
import select
import socket
import time
from collections.abc import Callable
from math import inf

from harvester_worker.ipc import slot_messages

_TIMER_BYTES = 8

_libc = ctypes.PyDLL(None)  # not `CDLL`, which lets go of the interpreter's lock: nothing here waits
_timerfd_settime = _libc.timerfd_settime
_timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Alarm:
    """A timer of the kernel's, to be polled; `os` has them from Python 3.13 on."""

    def __init__(self) -> None:
        self.descriptor: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
        if self.descriptor < 0:
            raise OSError("this kernel gives no timer to a slot: timerfd_create failed")
        self._spec = (ctypes.c_long * 4)()  # interval and time, each in seconds and nanoseconds
        self._to_spec = ctypes.addressof(self._spec)

    def set(self, within_s: float) -> None:
        """Go off after so many seconds, instead of when it was set to before."""
        self._spec[2], self._spec[3] = divmod(int(within_s * 1e9), 1_000_000_000)
        _timerfd_settime(self.descriptor, 0, self._to_spec, None)

    def silence(self) -> None:
        """Reset it after it went off."""
        with contextlib.suppress(BlockingIOError):  # it was set anew just now
            os.read(self.descriptor, _TIMER_BYTES)


class ControlThread:
    """The control thread of one slot.

    Parameters
    ----------
    orders: the line for what must reach a slot in the middle of a run.
    on_order: called with each order.
    look_after: called after each wake.
    due_in_s: returns in how many seconds `look_after` has something to do, None while it has not.
    """

    def __init__(
        self,
        orders: socket.socket,
        *,
        on_order: Callable[[slot_messages.Order], None],
        look_after: Callable[[], None],
        due_in_s: Callable[[], float | None],
    ) -> None:
        self._orders = orders
        self._on_order, self._look_after, self._due_in_s = on_order, look_after, due_in_s
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._alarm = _Alarm()
        self._wakes_within_s = inf

    def wake(self, within_s: float) -> None:
        """From the main thread: have `look_after` called within so many seconds."""
        if within_s < self._wakes_within_s:
            self._wakes_within_s = within_s
            os.eventfd_write(self._bell, 1)

    def put_off(self, within_s: float) -> None:
        """From the main thread: have `look_after` called after so many seconds; the next call of this takes its place.

        For what the main thread most likely does itself before: then this thread is not woken.
        """
        self._alarm.set(within_s)

    def keep(self) -> None:
        """Take orders until the agent is gone; end the process then."""
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        poll.register(self._alarm.descriptor, select.POLLIN)
        try:
            while True:
                self._wakes_within_s = inf  # before it is asked: a wake in between rings the bell
                within_s = self._due_in_s()
                if within_s is not None:
                    self._wakes_within_s = within_s
                for descriptor, _ in poll.poll(None if within_s is None else within_s * 1000):
                    if descriptor == self._bell:
                        os.eventfd_read(self._bell)
                    elif descriptor == self._alarm.descriptor:
                        self._alarm.silence()
                    else:
                        self._hear()
                self._look_after()
        except OSError:
            pass
        finally:
            # The agent is gone, and the node may belong to another batch job already.
            os._exit(0)

    def _hear(self) -> None:
        packet = self._orders.recv(slot_messages.LARGEST_ORDER)
        if not packet:
            raise ConnectionResetError
        self._on_order(slot_messages.decode_order(packet))
