"""A site: a fake cluster, its commands on PATH, the real adapter over them, a store, and the daemon.

Owns the clock: daemon and cluster live in one time, which passes in `pass_time` alone. In the place of the gateway it
registers pilots whose batch jobs run, and hears of their evictions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from harvester.daemon.daemon import Daemon
from harvester.daemon.settings import DaemonSettings, Orders
from harvester.domain.cluster.ports import PilotOrder, SchedulerAdapter
from harvester.domain.cluster.snapshot import BatchJob, ClusterSnapshot
from harvester.domain.harvest.planning import HarvestSettings, Shape
from harvester.domain.model.pilots import PilotEvent, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import control, word
from harvester.domain.supervision.looks import LookSettings
from harvester.store.records import PilotRecord
from harvester.store.store import Store, open_store
from harvester.store.writes.changes import PilotMoved, PilotSeen
from support.fake_cluster.kinds import SiteKind
from support.fake_cluster.model.cluster import START, FakeCluster
from support.fake_cluster.model.mom import Mom
from support.fake_cluster.model.records import Amount, End, FakeBatchJob, FakeNode, FakeQueue, Manners, Phase
from support.fake_cluster.server import FakeServer

LOOKS = LookSettings(rest=timedelta(seconds=20), busy=timedelta(seconds=20), per_minute=8.0)
"""As a configuration without a word about them has it."""

_RENEWED_S = 120.0  # a pilot with less time left may have a successor
_BOOT_S = 3.0  # from a pilot's start to its call


class InClusterTime:
    """An adapter in the cluster's time: what it reads from this machine's clock is set to the cluster's."""

    def __init__(self, adapter: SchedulerAdapter, cluster: FakeCluster) -> None:
        self._adapter, self._cluster = adapter, cluster
        self.glance, self.ended = adapter.glance, adapter.ended
        self.cancel, self.hold, self.release, self.close = adapter.cancel, adapter.hold, adapter.release, adapter.close

    @property
    def commands(self) -> int:
        """As the adapter's."""
        return self._adapter.commands

    def snapshot(self) -> ClusterSnapshot:
        """As the adapter's, taken by the cluster's clock."""
        taken_at = self._cluster.now
        return replace(self._adapter.snapshot(), taken_at=taken_at)

    def submit(self, order: PilotOrder) -> str:
        """As the adapter's; the end that it must keep to is told by this machine's clock."""
        ahead_s = time.time() - self._cluster.now
        return self._adapter.submit(order if order.end_by is None else replace(order, end_by=order.end_by + ahead_s))


def nodes(count: int, *, queues: Sequence[str] = ("prime", "harvest")) -> list[FakeNode]:
    """Return so many idle nodes of four CPUs and two GPUs each."""
    return [FakeNode(f"n{number}", Amount(4, 2, 4000), tuple(queues)) for number in range(1, count + 1)]


QUEUES = (
    FakeQueue("prime", tier=200, is_default=True),
    FakeQueue("harvest", tier=1, is_preemptible=True, grace_s=60.0, max_time_s=7200.0),
)
"""Prime batch jobs evict from `harvest`. (PBS calls a queue of priority 150 or more express.)"""


class FakeSite:
    """One site in a folder of the test's.

    Parameters
    ----------
    ready: pilots to keep, each of two CPUs.
    manners: how the pilots' processes behave.
    timeout: of the adapter's commands.
    slow: for how long the adapter believes what it asks once in a while.
    """

    def __init__(
        self,
        kind: SiteKind,
        folder: Path,
        *,
        nodes: Sequence[FakeNode],
        queues: Sequence[FakeQueue] = QUEUES,
        ready: int = 3,
        manners: Manners | None = None,
        timeout: timedelta = timedelta(seconds=10),
        slow: timedelta = timedelta(minutes=30),
        mom: Mom | None = None,
        looks: LookSettings = LOOKS,
        harvest: HarvestSettings | None = None,
    ) -> None:
        self.kind, self.folder = kind, folder
        self.cluster = FakeCluster(nodes, queues, kind.rules, manners=manners, mom=mom)
        self.server = FakeServer(self.cluster, kind.flavour, folder / "bin")
        self.server.start()
        self.own_adapter = kind.make_adapter(folder / "adapter", timeout, slow)
        self.adapter = InClusterTime(self.own_adapter, self.cluster)
        self.store: Store = open_store(f"sqlite:///{folder / 'harvester.db'}?durability=os")
        shape = Shape(name="cpu", partition="harvest", resources=Resources(cpus=2), ready=ready)
        self.settings = DaemonSettings(
            state_dir=folder,
            gateways=("http://127.0.0.1:1",),
            harvest=harvest or HarvestSettings(shapes=(shape,), lengths=(timedelta(minutes=14), timedelta(minutes=4))),
            orders={"cpu": Orders(interpreter="/usr/bin/python3")},
            looks=looks,
        )
        self.daemon = self._new_daemon()

    def _new_daemon(self) -> Daemon:
        return Daemon(self.settings, self.store, self.adapter, clock=lambda: self.cluster.now)

    def restart(self) -> None:
        """A new daemon over the same store, as after a kill -9."""
        self.daemon = self._new_daemon()

    def close(self) -> None:
        """Let go of everything."""
        self.own_adapter.close()
        self.store.close()
        self.server.stop()

    def pass_time(self, seconds: float = 5.0, ticks: int = 1) -> None:
        """Let time pass, and tick."""
        for _ in range(ticks):
            self.server.advance(seconds)
            self.call_gateway()
            self.daemon.tick()

    def drain(self, *names: str) -> None:
        """Have an admin drain these nodes for pilots, and no others."""
        said = replace(
            control.decode(self.store.note(control.CONTROL_NOTE)), drained=names, drained_at=self.cluster.now
        )
        self.store.put_note(control.CONTROL_NOTE, control.encode(said))

    # ---- in the place of the gateway

    def call_gateway(self) -> None:
        """Register the pilots that have started, and hear those that live; tell of evictions."""
        by_name = {batch.wish.name: batch for batch in self.running_pilots()}
        heard = [(pilot, by_name[pilot.name]) for pilot in self.store.pilots() if pilot.name in by_name]
        seen = [self._hear(pilot, batch) for pilot, batch in heard if self._calls(batch)]
        if seen:
            self.store.write(seen).result()

    def _calls(self, batch: FakeBatchJob) -> bool:
        return batch.gone_at is None and self.cluster.now >= (batch.started_at or self.cluster.now) + _BOOT_S

    def _hear(self, pilot: PilotRecord, batch: FakeBatchJob) -> PilotSeen:
        now = self.cluster.now
        ends_at = batch.end_at or now
        if pilot.registered_at is None and batch.told_at is None:
            self._register(pilot, batch, ends_at)
        if batch.told_for is End.PREEMPTED and pilot.state is PilotState.READY:
            said = word.GatewayWord(evicted_at=now, evicted=(pilot.pilot_id,))
            self.store.put_note(word.WORD_NOTE, word.encode(said))
        return PilotSeen(pilot_id=pilot.pilot_id, at=now, ends_at=ends_at, activations=0, idle_since=None)

    def _register(self, pilot: PilotRecord, batch: FakeBatchJob, ends_at: float) -> None:
        self.store.move_pilot(
            PilotMoved(
                pilot_id=pilot.pilot_id,
                event=PilotEvent.REGISTERED,
                at=self.cluster.now,
                batch_job_id=str(batch.number),
                node=batch.nodes[0],
                ends_at=ends_at,
            )
        )

    # ---- what is there

    def pilots(self) -> list[PilotRecord]:
        """Return the pilots that the daemon believes in."""
        return self.store.pilots()

    def all_pilots(self) -> list[PilotRecord]:
        """Return all pilots that there ever were."""
        return self.store.pilots(live=False)

    def alive(self) -> list[FakeBatchJob]:
        """Return the batch jobs of pilots that wait or run."""
        return [batch for batch in self.cluster.alive() if batch.wish.name.startswith("hv-")]

    def running_pilots(self) -> list[FakeBatchJob]:
        """Return the batch jobs of pilots that run."""
        return [batch for batch in self.alive() if batch.phase is Phase.RUNNING]

    def calls(self, command: str, about: str = "") -> int:
        """Return how often a command was called, with a word among its arguments."""
        calls = [call for call in self.server.calls if call.command == command]
        return sum(not about or about in call.arguments for call in calls)

    @property
    def looks(self) -> int:
        """How often the adapter has asked for the nodes."""
        return self.calls(*self.kind.asks_nodes)

    def answer(self, batch_job_id: str) -> BatchJob:
        """Return what the adapter says of one batch job."""
        alive = {batch.batch_job_id: batch for batch in self.adapter.snapshot().batch_jobs}
        if batch_job_id in alive:
            return alive[batch_job_id]
        (found,) = self.adapter.ended([batch_job_id])
        return found

    # ---- what must hold

    def assert_nothing_is_lost(self, wanted: int) -> None:
        """Fail unless exactly the pilots that the daemon believes in wait or run, as many as are wanted."""
        known = {pilot.name: pilot.batch_job_id for pilot in self.pilots()}
        there = {batch.wish.name: str(batch.number) for batch in self.alive()}
        assert there == known, (there, known)
        ending = [batch for batch in self.running_pilots() if (batch.end_at or 0.0) - self.cluster.now < _RENEWED_S]
        assert wanted <= len(known) <= wanted + len(ending), [
            (pilot.name, pilot.state, pilot.reason) for pilot in self.all_pilots()
        ]

    def assert_commands_are_within(self, per_minute: float, *, beyond: float = 0.0) -> None:
        """Fail where more commands were sent on average than so many a minute, and `beyond` them."""
        calls = self.server.calls
        minutes = (self.cluster.now - START) / 60
        assert len(calls) <= per_minute * minutes + beyond, Counter(call.command for call in calls)
