"""The steady clock: whatever is done to the machine's clock, time goes on, and the scheduler's instants follow."""

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.daemon.instants import ByOurClock, Jumps
from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Reservation
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.control import Control
from harvester.domain.protocol.daemon_notes import DaemonNote
from harvester.domain.steady import Steady
from harvester_api.schemas.daemon_status import judged


class Machine:
    """A machine whose clock somebody sets."""

    def __init__(self) -> None:
        self.passed, self.set_by = 0.0, 0.0

    def clock(self) -> Steady:
        return Steady(wall=lambda: 1_000_000.0 + self.passed + self.set_by, monotonic=lambda: 77.0 + self.passed)


@pytest.mark.parametrize("set_by", [3600.0, -3600.0])
def test_time_goes_on_as_it_did_when_the_machines_clock_is_set(set_by):
    machine = Machine()
    clock = machine.clock()
    machine.passed = 10.0
    machine.set_by = set_by
    assert clock() == pytest.approx(1_000_010.0)
    assert clock.ahead_s == pytest.approx(set_by)
    machine.set_by = 0.0
    assert clock.ahead_s == 0


def test_a_small_step_is_nobodys_business():
    machine = Machine()
    clock = machine.clock()
    machine.set_by = 1.9
    assert clock.ahead_s == 0


def test_a_jump_is_told_once_either_way(caplog):
    machine = Machine()
    jumps = Jumps(machine.clock())
    jumps.look()
    assert not jumps.words
    machine.set_by = -3600.0
    for _ in range(3):
        jumps.look()
    assert "set back by 3600 s" in jumps.words[0]
    machine.set_by = 60.0
    jumps.look()
    assert "set ahead by 60 s" in jumps.words[0]
    machine.set_by = 0.0
    jumps.look()
    assert not jumps.words
    assert len(caplog.records) == 3


class Scheduler:
    """One that tells instants by the machine's clock."""

    commands = 0

    def __init__(self, at: float) -> None:
        batch = BatchJob(
            batch_job_id="7", name="prime", user="u", partition="p", state=BatchState.RUNNING, submitted_at=at,
            start_at=at + 1, end_at=at + 2, preempt_at=at + 3,
        )  # fmt: skip
        self.jobs = (batch,)
        reservations = (
            Reservation(name="course", nodes=("n1",), start_at=at + 4, end_at=at + 5),
            Reservation(name="for good", nodes=("n2",), start_at=at + 4),
        )
        self.seen = ClusterSnapshot(
            taken_at=at, scheduler="s", nodes=(), batch_jobs=self.jobs, partitions=(), reservations=reservations
        )
        self.orders: list[PilotOrder] = []

    def snapshot(self) -> ClusterSnapshot:
        return self.seen

    def glance(self) -> tuple[BatchJob, ...]:
        return self.jobs

    def ended(self, _ids) -> tuple[BatchJob, ...]:
        return self.jobs

    def submit(self, order: PilotOrder) -> str:
        self.orders.append(order)
        return "8"

    cancel = hold = release = close = None


def instants(batch: BatchJob) -> list[float | None]:
    return [batch.submitted_at, batch.start_at, batch.end_at, batch.preempt_at]


@pytest.mark.parametrize("set_by", [0.0, 3600.0, -3600.0])
def test_what_the_scheduler_tells_and_is_told_is_by_our_clock(set_by):
    machine = Machine()
    clock = machine.clock()
    machine.set_by = set_by
    scheduler = Scheduler(at=clock() + set_by)
    ours = ByOurClock(scheduler, clock)
    now = clock()
    seen = ours.snapshot()
    assert seen.taken_at == pytest.approx(now)
    for batch in (*seen.batch_jobs, *ours.glance(), *ours.ended(["7"])):
        assert instants(batch) == pytest.approx([now, now + 1, now + 2, now + 3])
    course, for_good = seen.reservations
    assert [course.start_at, course.end_at] == pytest.approx([now + 4, now + 5])
    assert for_good.end_at is None
    order = PilotOrder(
        pilot_id="x", name="x", partition="p", resources=Resources(cpus=1), walltime=timedelta(minutes=1),
        command=("true",), output=Path("out"), end_by=now + 9,
    )  # fmt: skip
    ours.submit(order)
    assert scheduler.orders[0].end_by == pytest.approx(now + 9 + set_by)


def test_a_note_of_another_clock_proves_neither_life_nor_hearing():
    said = Control(paused=True, at=1000.0)
    note = DaemonNote(last_tick_at=4600.0, tick_s=1.0, said_at=0.0)  # an hour to come
    daemon = judged(said, note, 1000.5)
    assert not daemon.is_alive
    assert not daemon.has_heard
    daemon = judged(said, replace(note, last_tick_at=1000.2, said_at=1000.0), 1000.5)
    assert daemon.is_alive
    assert daemon.has_heard
