"""Simulated pilots: thousands in one process, each with its own token and WebSocket, that speak the pilots' wire.

Owns what a pilot would do with its leases: run them in its slots, hold those that were sent ahead, give back what is
recalled, keep its heartbeats. The functions themselves do nothing but take time. What happens to a pilot's slots in one
step of the clock leaves as one frame, as a real pilot's turn of its event loop does.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.gateway.http_load import Endpoint
from benchmarks.gateway.websocket import WebSocket
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.model.pilots import DrainReason, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import wire
from harvester.store.records import PilotRecord
from harvester.store.store import open_store

STEP_S = 0.005
TIME_LEFT_S = 24 * 3600.0
RESULT = b"null"


def token_of(pilot_id: str) -> str:
    return f"token of {pilot_id}"


def write_down(database: str, count: int, slots: int, prefix: str = "sim") -> list[str]:
    """Write `count` pilots down, as the daemon does before it submits them; return their ids."""
    store = open_store(database)

    def add(pilot_id: str) -> None:
        store.add_pilot(
            PilotRecord(
                pilot_id=pilot_id,
                name=f"harvester-{pilot_id}",
                shape="sim",
                partition="sim",
                resources=Resources(cpus=slots),
                walltime_s=TIME_LEFT_S,
                token_sha256=hashlib.sha256(token_of(pilot_id).encode()).hexdigest(),
                state=PilotState.QUEUED,
                planned_at=time.time(),
            )
        )

    ids = [f"{prefix}-{number:05}" for number in range(count)]
    with ThreadPoolExecutor(16) as pool:  # so that many share a commit
        list(pool.map(add, ids))
    store.close()
    return ids


class Pilot:
    """One pilot. `draw` says how long a run takes, in seconds; 0 for one that is over at once."""

    def __init__(self, fleet: Fleet, pilot_id: str, slots: int, draw: Callable[[], float]) -> None:
        self.pilot_id, self._fleet, self._slots, self._draw = pilot_id, fleet, slots, draw
        self._waiting: deque[wire.Lease] = deque()
        self.running: dict[tuple[str, int], float] = {}  # lease: when it began
        self._out: list[wire.ToGateway] = []
        self._asked_at: float | None = None
        self._finished_at = 0.0
        self.socket: WebSocket | None = None

    async def connect(self, endpoint: Endpoint) -> None:
        host = f"{endpoint.host}:{endpoint.port}"
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: WebSocket(wire.LINK_PATH, host, token_of(self.pilot_id), self._heard, self._ended), *endpoint
        )
        await protocol.opened
        self.socket = protocol
        held = tuple(wire.Held(invocation_id=key, fence=fence, is_started=True) for key, fence in self.running)
        hello = wire.Hello(
            protocol=wire.PROTOCOL_VERSION,
            pilot_id=self.pilot_id,
            python="",
            node=self.pilot_id,
            batch_job_id=self.pilot_id,
            capacity=Resources(cpus=self._slots),
            time_left_s=TIME_LEFT_S,
            held=held,
        )
        protocol.send(wire.encode([hello]))

    def beat(self, now: float) -> None:
        if self._asked_at is None:
            self._asked_at = now
        self._say(wire.Heartbeat(time_left_s=TIME_LEFT_S))

    def rest(self) -> None:
        """Do not count the time until the next lease: there is nothing to be leased."""
        self._finished_at = 0.0

    def flush(self) -> None:
        messages, self._out = self._out, []
        if self.socket is not None:
            self.socket.send(wire.encode(messages))

    def finish(self, key: tuple[str, int], now: float) -> None:
        began = self.running.pop(key, None)
        if began is None:
            return  # it was cancelled
        self._fleet.finished += 1
        self._finished_at = now
        self._say(wire.Finished(invocation_id=key[0], fence=key[1], value=RESULT, duration_s=now - began))
        self._start(now)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _say(self, message: wire.ToGateway) -> None:
        if not self._out:
            self._fleet.to_flush.append(self)
        self._out.append(message)

    def _heard(self, frame: bytes) -> None:
        now = time.perf_counter()
        fleet = self._fleet
        fleet.frames += 1
        for message in wire.decode_to_pilot(frame):
            kind = type(message)
            if kind is wire.Lease:
                if self._finished_at:
                    fleet.turnarounds.append(now - self._finished_at)
                    self._finished_at = 0.0
                self._waiting.append(message)
            elif kind is wire.Ack:
                fleet.acks += 1
            elif kind is wire.Heard and self._asked_at is not None:
                fleet.answered(now - self._asked_at)
                self._asked_at = None
            elif kind is wire.Welcome:
                fleet.heartbeat_s = message.heartbeat_s
                fleet.welcomed += 1
            elif kind is wire.Cancel or kind is wire.Recall:
                self._give_back(message)
            elif kind is wire.Drain:
                fleet.drains += 1
        self._start(now)
        fleet.flush_soon()

    def _give_back(self, message: wire.Cancel | wire.Recall) -> None:
        key = (message.invocation_id, message.fence)
        for lease in self._waiting:
            if (lease.invocation_id, lease.fence) == key:
                self._waiting.remove(lease)
                end = ActivationEnd.UNSTARTED if type(message) is wire.Recall else ActivationEnd.CANCELLED
                self._fleet.given_back += 1
                self._say(wire.GivenBack(invocation_id=key[0], fence=key[1], end=end))
                return
        if type(message) is wire.Cancel and self.running.pop(key, None) is not None:
            self._say(wire.GivenBack(invocation_id=key[0], fence=key[1], end=ActivationEnd.CANCELLED))

    def _start(self, now: float) -> None:
        while self._waiting and len(self.running) < self._slots:
            lease = self._waiting.popleft()
            key = (lease.invocation_id, lease.fence)
            self.running[key] = now
            takes = self._draw()
            if takes > 0:
                self._say(wire.Started(invocation_id=key[0], fence=key[1]))
                self._fleet.later(now + takes, self, key)
            else:
                self.finish(key, now)

    def _ended(self, why: str) -> None:
        self.socket = None
        self._fleet.lost.append(f"{self.pilot_id}: {why}")


class Fleet:
    """All pilots, and one clock for them."""

    def __init__(self, pilot_ids: list[str], slots: int, draw: Callable[[], float]) -> None:
        self.pilots = [Pilot(self, pilot_id, slots, draw) for pilot_id in pilot_ids]
        self.to_flush: list[Pilot] = []
        self.finished = self.acks = self.frames = self.drains = self.given_back = self.welcomed = 0
        self.heartbeat_s = 1.0
        self.late_beats: list[float] = []  # how much later than it should a heartbeat left: our own lateness
        self.answers: list[float] = []  # from a heartbeat until it was answered
        self.turnarounds: list[float] = []  # of a pilot, from its last result until its next lease
        self.lost: list[str] = []
        self._wheel: dict[int, list[tuple[Pilot, tuple[str, int]]]] = {}
        self._is_flushing = False
        self._clock: asyncio.Task[None] | None = None

    async def connect(self, endpoint: Endpoint, at_a_time: int = 50) -> None:
        """Connect all pilots, and keep their heartbeats from now on."""
        self._clock = asyncio.create_task(self._turn())
        left = iter(self.pilots)

        async def some() -> None:
            for pilot in left:
                await pilot.connect(endpoint)

        await asyncio.gather(*(some() for _ in range(min(at_a_time, len(self.pilots)))))

    @property
    def running(self) -> int:
        return sum(len(pilot.running) for pilot in self.pilots)

    def answered(self, took: float) -> None:
        self.answers.append(took)

    def later(self, at: float, pilot: Pilot, key: tuple[str, int]) -> None:
        self._wheel.setdefault(int(at / STEP_S) + 1, []).append((pilot, key))

    def flush_soon(self) -> None:
        """Let leave what was said, at the end of this turn of the event loop."""
        if self.to_flush and not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Let all pilots leave."""
        if self._clock is not None:
            self._clock.cancel()
        for pilot in self.pilots:
            if pilot.socket is not None:
                pilot.socket.send(wire.encode([wire.Goodbye(reason=DrainReason.WALLTIME)]))
                pilot.socket.close()

    def _flush(self) -> None:
        self._is_flushing = False
        pilots, self.to_flush = self.to_flush, []
        for pilot in pilots:
            pilot.flush()

    async def _turn(self) -> None:
        """Step the clock: end runs whose time is over, send the heartbeats that are due, spread over their interval."""
        begun_at = time.perf_counter()
        step, beaten = int(begun_at / STEP_S), 0
        while True:
            await asyncio.sleep(STEP_S)
            now = time.perf_counter()
            while step < int(now / STEP_S):
                step += 1
                for pilot, key in self._wheel.pop(step, ()):
                    pilot.finish(key, now)
            due = int((now - begun_at) / self.heartbeat_s * len(self.pilots))
            while beaten < due:
                self.late_beats.append(now - begun_at - beaten * self.heartbeat_s / len(self.pilots))
                self.pilots[beaten % len(self.pilots)].beat(now)
                beaten += 1
            self._flush()


def around(mean_s: float, seed: int = 1) -> Callable[[], float]:
    """Return a drawer of run times between half of `mean_s` and one and a half of it; of 0 for a mean of 0."""
    if mean_s <= 0:
        return lambda: 0.0
    chance = random.Random(seed)  # noqa: S311 - a workload, no secret
    return lambda: chance.uniform(0.5 * mean_s, 1.5 * mean_s)
