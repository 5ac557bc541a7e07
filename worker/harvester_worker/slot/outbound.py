"""Outbound: what a slot tells its agent, in few frames.

Owns when the ends of runs are sent. Both threads of a slot call it; order is kept.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

from harvester.domain.payload.buffers import Part
from harvester_worker.ipc import frames
from harvester_worker.ipc.slot_messages import Counted, Progress, RunEnded, Waits

KEEP_S = 0.002
"""Time for which an end may wait for others, while the slot has more to run."""

FEW, BRIEF_S = 4, 0.0002
"""So few ends of runs as short as this are not worth a frame of their own while the slot has more to run."""

_PIECES = 512
"""Pieces that one system call takes; the limit of Linux is 1024."""


class Outbound:
    """The main line of one slot, as its threads write to it.

    Parameters
    ----------
    sock: the main line to the agent, blocking.
    on_kept: called with the seconds after which `flush_if_due` has to be called, when an end is kept back; a call takes
        the place of the one before.
    """

    def __init__(self, sock: socket.socket, *, on_kept: Callable[[float], None]) -> None:
        self._sock = sock
        self._on_kept = on_kept
        self._outgoing = frames.FrameBuilder()
        self._kept_at = 0.0  # since when the first of them waits
        self._lock = threading.Lock()

    def tell(self, ended: RunEnded, pieces: Sequence[Part], *, behind: int) -> bool:
        """Send the end of a run, now or with the next ones; return whether it was sent.

        `behind` runs are known to come next. Half of what was known to come is told at once, so that the agent can send
        more before the slot has nothing left.
        """
        with self._lock:
            self._outgoing.add(ended, pieces)
            kept = len(self._outgoing.messages)
            now = time.monotonic()
            if kept == 1:
                self._kept_at = now
            enough = max(FEW, behind) if behind and ended.duration_s < BRIEF_S else behind
            if kept >= enough or pieces or now - self._kept_at >= KEEP_S:
                self._send()
                return True
        if kept == 1:
            self._on_kept(KEEP_S)
        return False

    def say(self, message: Progress | Counted | Waits) -> None:
        """Send a message at once, after all that was kept back."""
        with self._lock:
            self._outgoing.add(message)
            self._send()

    def flush(self) -> None:
        """Send what was kept back."""
        with self._lock:
            if self._outgoing.messages:
                self._send()

    def flush_if_due(self) -> None:
        """Send what was kept back for long enough."""
        if self._outgoing.messages and time.monotonic() - self._kept_at >= KEEP_S:
            self.flush()

    def _send(self) -> None:
        try:
            pieces = [memoryview(piece) for piece in self._outgoing.take() if len(piece)]
            while pieces:
                sent = self._sock.sendmsg(pieces[:_PIECES])
                while pieces and sent >= len(pieces[0]):
                    sent -= len(pieces.pop(0))
                if sent:
                    pieces[0] = pieces[0][sent:]
        except OSError:
            os._exit(0)  # the agent is gone, and the node may belong to another batch job already
