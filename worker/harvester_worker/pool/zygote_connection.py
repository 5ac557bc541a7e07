"""The connection to the zygote: the agent's end of it.

Owns which orders are not answered yet, and whether the zygote was stopped, so that slots can be neither started nor
killed. A stopped zygote is woken, and given up when that does not help. A slow one is waited for.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable

import msgspec

from harvester_worker.pool import processes, zygote

log = logging.getLogger(__name__)

ANSWER_S = 1.0
"""An order that is not answered by then makes the agent look at the zygote."""


class ZygoteConnection:
    """The agent's connection to its zygote.

    Parameters
    ----------
    sock: the connection.
    pid: the zygote's.
    on_news: called with what it tells.
    on_loss: called once when it is gone, or stays stopped.
    """

    def __init__(
        self,
        sock: socket.socket,
        pid: int,
        *,
        on_news: Callable[[zygote.Forked | zygote.Died], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._sock, self.pid = sock, pid
        self._on_news, self._on_loss = on_news, on_loss
        self._loop = asyncio.get_running_loop()
        self._unanswered: dict[int, None] = {}  # slots that an order was about, the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._was_woken = self._is_lost = False
        self._loop.add_reader(sock, self.hear)

    def tell(self, order: zygote.Fork | zygote.Kill, *descriptors: int) -> None:
        """Send an order."""
        try:
            socket.send_fds(self._sock, [msgspec.msgpack.encode(order)], list(descriptors))
        except OSError:
            self._loop.call_soon(self._lose)
            return
        self._unanswered[order.slot] = None
        if self._timer is None:
            self._timer = self._loop.call_later(ANSWER_S, self._look, order.slot)

    def hear(self) -> None:
        """Read what it has sent, if there is anything."""
        if self._sock.fileno() < 0 or self._is_lost:
            return  # closed by us, or told of already
        try:
            packet = self._sock.recv(zygote.LARGEST_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._lose()
            return
        news = zygote.decode_news(packet)
        self._unanswered.pop(news.slot, None)
        self._was_woken = False
        self._on_news(news)

    def close(self) -> None:
        """Close the connection; the zygote then kills every process that is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _look(self, slot: int) -> None:
        """See why an order is not answered; look again later where the zygote is at work on it."""
        self._timer = None
        if not self._unanswered or self._is_lost:
            return
        oldest = next(iter(self._unanswered))
        if oldest == slot and processes.is_stopped(self.pid):
            if self._was_woken:
                log.error("zygote.stopped: it stays stopped, so slots can be neither started nor ended")
                self._lose()
                return
            log.warning("zygote.stopped: a function of this pilot may have stopped it; it is woken")
            self._was_woken = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
        self._timer = self._loop.call_later(ANSWER_S, self._look, oldest)

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._loop.remove_reader(self._sock)
            self._on_loss()
