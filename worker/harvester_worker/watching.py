"""Watching: the thread of a slot that hears and looks after things while the main thread is at a function.

Owns when it wakes: for an order of the agent, for the agent's end, and for what is due. Knows neither orders nor runs.
"""

import os
import select
import socket
from collections.abc import Callable
from math import inf

from harvester_worker import slot_wire


class Watch:
    """A slot's watching thread.

    Parameters
    ----------
    orders: the line for what must reach a slot in the middle of a run.
    on_order: called with each order.
    look_after: called after each wake.
    is_needed: returns in how many seconds `look_after` has something to do, None while it has not.
    """

    def __init__(
        self,
        orders: socket.socket,
        *,
        on_order: Callable[[slot_wire.Order], None],
        look_after: Callable[[], None],
        is_needed: Callable[[], float | None],
    ) -> None:
        self._orders = orders
        self._on_order, self._look_after, self._is_needed = on_order, look_after, is_needed
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._wakes_within_s = inf

    def wake(self, within_s: float) -> None:
        """From the other thread: something has to be looked after within so many seconds."""
        if within_s < self._wakes_within_s:
            self._wakes_within_s = within_s
            os.eventfd_write(self._bell, 1)

    def keep(self) -> None:
        """Watch until the agent is gone; end the process then."""
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        try:
            while True:
                self._wakes_within_s = inf  # before it is asked: who comes in between rings
                within_s = self._is_needed()
                if within_s is not None:
                    self._wakes_within_s = within_s
                for descriptor, _ in poll.poll(None if within_s is None else within_s * 1000):
                    if descriptor == self._bell:
                        os.eventfd_read(self._bell)
                    else:
                        self._hear()
                self._look_after()
        except OSError:
            pass
        finally:
            # The agent is gone, and the node may be somebody else's already.
            os._exit(0)

    def _hear(self) -> None:
        packet = self._orders.recv(slot_wire.LARGEST_ORDER)
        if not packet:
            raise ConnectionResetError
        self._on_order(slot_wire.decode_order(packet))
