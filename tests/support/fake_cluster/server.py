"""The server: answers the executables on PATH, which only pass on their arguments.

Owns the socket, the executables, the log of calls, and when which fault is played. An executable is a few lines of
bash: it sends its process id and its arguments to this server, which writes to the executable's own standard output
through /proc. That costs a few milliseconds a call, and any byte can be printed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from support.fake_cluster.answers import Answer, Call, Flavour
from support.fake_cluster.faults import DONE, DOWN_S, HANGING, LATE_S, NOT_DONE, OLDER_S, Fault, FaultKind, spoiled
from support.fake_cluster.model.cluster import FakeCluster

_EXECUTABLE = """#!/bin/bash
# Passes its arguments on to the fake cluster of a test, which prints the answer.
exec 4>&1 5>&2 # standard output is elsewhere for a moment while printf sends
exec 3<>/dev/tcp/127.0.0.1/{port} && printf '%s\\0' "$$" "${{0##*/}}" "$@" $'\\n' >&3 \\
    && read -r -u 3 code && exit "$code"
echo "${{0##*/}}: the test that this fake cluster belongs to has ended" >&2
exit 99
"""
_END = b"\0\n\0"


class FakeServer:
    """Serves one cluster in threads of the test's process.

    Parameters
    ----------
    folder: where the executables are put.
    is_real_time: the cluster's clock is this machine's, and needs no `advance`.
    """

    def __init__(self, cluster: FakeCluster, flavour: Flavour, folder: Path, *, is_real_time: bool = False) -> None:
        self.cluster, self.flavour, self.folder = cluster, flavour, folder
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.has_ended = threading.Event()
        self._is_real_time = is_real_time
        self._down_until = 0.0
        self._late: list[tuple[float, Call]] = []
        self._states = [(cluster.now, cluster.before())]
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Serve, and put the executables into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        port = self._listener.getsockname()[1]
        for name in self.flavour.commands:
            path = self.folder / name
            path.write_text(_EXECUTABLE.format(port=port))
            path.chmod(0o755)
        self._run(self._listen)
        if self._is_real_time:
            self._run(self._tick)

    def stop(self) -> None:
        """Serve no more."""
        self.has_ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def advance(self, seconds: float) -> None:
        """Let the cluster's time pass."""
        with self.lock:
            self.cluster.advance(seconds)
            self._due()

    # ---- threads

    def _run(self, call: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=call, args=arguments, daemon=True)
        thread.start()
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]

    def _listen(self) -> None:
        while not self.has_ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._run(self._serve, connection)

    def _tick(self) -> None:
        while not self.has_ended.wait(0.02):
            with self.lock:
                self.cluster.poll_mom()
                self.cluster.advance_to(time.time())

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            text = b""
            while not text.endswith(_END):
                if not (more := connection.recv(1 << 16)):
                    return
                text += more
            pid, command, *arguments = text.removesuffix(_END).decode(errors="surrogateescape").split("\0")
            call = Call(command, tuple(arguments), self.cluster.now, _environment(pid))
            answer = self.ask(call)
            if answer is None:
                connection.recv(1)  # until the caller has been killed
                return
            for number, words in ((4, answer.stdout), (5, answer.stderr)):
                if words:
                    Path(f"/proc/{pid}/fd/{number}").write_bytes(words)
            connection.sendall(b"%d\n" % answer.exit_code)

    # ---- answers

    def ask(self, call: Call) -> Answer | None:
        """Return the answer to a call; None where there never will be one."""
        with self.lock:
            self.calls.append(call)
            self._due()
            if self.cluster.now < self._down_until:
                return self.flavour.refused
            fault = next((each for each in self.faults if each.hits(call.command, call.arguments)), None)
            if fault is None:
                return self._do(call)
            return self._spoil(fault, call)

    def _do(self, call: Call) -> Answer:
        answer = self.flavour.answer(self.cluster, call)
        self.cluster.look()
        return answer

    def _spoil(self, fault: Fault, call: Call) -> Answer | None:
        kind = fault.kind
        answer = self.flavour.refused if kind in NOT_DONE else self._do(call)
        if kind is FaultKind.LATE:
            self._late.append((self.cluster.now + LATE_S, call))
        if kind is FaultKind.FAILS_OVER:
            self._down_until = self.cluster.now + DOWN_S
            older = [state for at, state in self._states if at <= self.cluster.now - OLDER_S]
            self.cluster.fail_over_to(older[-1] if older else self._states[0][1])
        if kind in HANGING or kind is FaultKind.SLOW:
            self._pass(fault.seconds)
        if kind in HANGING:
            return None
        if kind in DONE:
            return self.flavour.refused
        return spoiled(kind, answer, self.flavour.words)

    def _pass(self, seconds: float) -> None:
        if self._is_real_time:
            return
        self.cluster.advance(seconds)

    def _due(self) -> None:
        """Do what is late, and remember the state for a controller that fails over."""
        now = self.cluster.now
        due = [call for at, call in self._late if at <= now]
        self._late = [(at, call) for at, call in self._late if at > now]
        for call in due:
            self._do(call)
        if any(fault.kind is FaultKind.FAILS_OVER for fault in self.faults):
            self._states = [*self._states[-20:], (now, self.cluster.before())]


def _environment(pid: str) -> dict[str, str]:
    """Return the environment that a process was started with."""
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(word).partition("=") for word in words if b"=" in word)
    return {name: value for name, _, value in pairs}
