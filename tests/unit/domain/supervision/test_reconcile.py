"""The reconciler: what the scheduler says against what we believe."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
from harvester.domain.harvest.planning import KnownPilot
from harvester.domain.model.pilots import PILOT, PilotEvent, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.supervision.reconcile import CancelOrphan, Move, ReconcileState, reconcile

NOW = 1_000_000.0
MARK = "hv-abcd1234-"
NAME = MARK + "0001"


def batch(state: BatchState = BatchState.RUNNING, **changes: object) -> BatchJob:
    plain = BatchJob(batch_job_id="7", name=NAME, user="me", partition="harvest", state=state, nodes=("n1",))
    return replace(plain, **changes)


def look(*jobs: BatchJob, at: float = NOW) -> ClusterSnapshot:
    return ClusterSnapshot(taken_at=at, scheduler="fake", nodes=(), batch_jobs=jobs, partitions=())


def pilot(state: PilotState, **changes: object) -> KnownPilot:
    plain = KnownPilot(
        pilot_id="p",
        name=NAME,
        shape="cpu",
        partition="harvest",
        resources=Resources(),
        walltime=timedelta(minutes=90),
        state=state,
        planned_at=NOW - 600,
        submitted_at=None if state is PilotState.PLANNED else NOW - 600,
        batch_job_id="" if state is PilotState.PLANNED else "7",
    )
    return replace(plain, **changes)


NOTHING_SEEN = ReconcileState()


def moves(snapshot: ClusterSnapshot, *pilots: KnownPilot, memory: ReconcileState = NOTHING_SEEN) -> list[Move]:
    effects = reconcile(snapshot, pilots, memory, mark=MARK, now=NOW).effects
    return [effect for effect in effects if isinstance(effect, Move)]


def final(one: KnownPilot, told: list[Move]) -> PilotState:
    state = one.state
    for move in told:
        state = PILOT.advance(state, move.event)
    return state


def looks(count: int, *jobs: BatchJob, pilots: tuple[KnownPilot, ...], every: float = 5.0) -> list[list[object]]:
    """Return the effects of so many good looks in a row."""
    memory, effects = ReconcileState(), []
    for number in range(count):
        now = NOW + number * every
        outcome = reconcile(look(*jobs, at=now), pilots, memory, mark=MARK, now=now)
        memory = outcome.memory
        effects.append(list(outcome.effects))
    return effects


CALLED = (PilotState.READY, PilotState.DRAINING)
SILENT = (PilotState.QUEUED, PilotState.BOOTING)
F, E, C, D = PilotState.FAILED, PilotState.EVICTED, PilotState.CANCELLED, PilotState.FINISHED


@pytest.mark.parametrize(
    ("ended", "before_it_called", "after"),
    [
        (BatchState.COMPLETED, F, D),
        (BatchState.TIMEOUT, F, D),
        (BatchState.FAILED, F, F),
        (BatchState.NODE_FAIL, F, F),
        (BatchState.PREEMPTED, E, E),
        (BatchState.CANCELLED, C, C),
    ],
)
def test_every_end_of_a_batch_job_ends_its_pilot(ended: BatchState, before_it_called: PilotState, after: PilotState):
    for state in (PilotState.PLANNED, *SILENT):
        one = pilot(state)
        assert final(one, moves(look(batch(ended)), one)) is before_it_called
    for state in CALLED:
        one = pilot(state)
        assert final(one, moves(look(batch(ended)), one)) is after


@pytest.mark.parametrize("state", [state for state in PilotState if state not in PILOT.final])
@pytest.mark.parametrize("word", [BatchState.UNKNOWN, BatchState.PENDING])
def test_a_word_that_is_no_end_ends_nothing(state: PilotState, word: BatchState):
    one = pilot(state)
    assert final(one, moves(look(batch(word)), one)) in {state, PilotState.QUEUED}


def test_a_running_batch_job_means_that_a_queued_pilot_was_started():
    (move,) = moves(look(batch()), pilot(PilotState.QUEUED))
    assert (move.event, move.node, move.batch_job_id) == (PilotEvent.STARTED, "n1", "7")
    assert moves(look(batch()), pilot(PilotState.READY)) == []


def test_a_pilot_that_was_asked_to_leave_is_evicted_whatever_the_scheduler_calls_its_end():
    one = pilot(PilotState.READY)
    leaving = reconcile(look(batch(preempt_at=NOW)), [one], ReconcileState(), mark=MARK, now=NOW)
    for ended in (BatchState.COMPLETED, BatchState.FAILED, BatchState.CANCELLED):
        told = moves(look(batch(ended)), pilot(PilotState.DRAINING), memory=leaving.memory)
        assert final(pilot(PilotState.DRAINING), told) is PilotState.EVICTED


def test_a_submission_whose_answer_was_lost_is_found_by_its_name():
    one = pilot(PilotState.PLANNED)
    told = moves(look(batch(BatchState.PENDING)), one)
    assert [(move.event, move.batch_job_id) for move in told] == [(PilotEvent.SUBMITTED, "7")]
    assert final(one, moves(look(batch()), one)) is PilotState.BOOTING


def test_a_submission_that_nobody_knows_fails_after_several_good_looks():
    one = pilot(PilotState.PLANNED)
    first, second, third = looks(3, pilots=(one,))
    assert first == second == []
    assert [effect.event for effect in third] == [PilotEvent.REJECTED]


def test_a_submission_may_still_get_through_for_a_while():
    one = pilot(PilotState.PLANNED, planned_at=NOW - 1)
    assert looks(5, pilots=(one,), every=1.0) == [[]] * 5


@pytest.mark.parametrize("state", [*SILENT, *CALLED])
def test_a_pilot_is_lost_only_after_several_good_looks_without_it(state: PilotState):
    one = pilot(state)
    first, second, third = looks(3, pilots=(one,))
    assert first == second == []
    assert [effect.event for effect in third] == [PilotEvent.SILENT]


def test_looks_in_quick_succession_are_not_enough():
    assert looks(5, pilots=(pilot(PilotState.QUEUED),), every=1.0) == [[]] * 5


def test_one_look_that_the_adapter_repeats_counts_once():
    one, memory = pilot(PilotState.QUEUED), ReconcileState()
    for number in range(10):
        outcome = reconcile(look(), [one], memory, mark=MARK, now=NOW + 60 * number)
        memory = outcome.memory
        assert outcome.effects == ()


def test_a_pilot_that_is_seen_again_was_never_missing():
    one = pilot(PilotState.READY)
    memory = ReconcileState()
    for number in range(12):
        now = NOW + 10 * number
        jobs = (batch(),) if number % 3 == 2 else ()
        outcome = reconcile(look(*jobs, at=now), [one], memory, mark=MARK, now=now)
        memory = outcome.memory
        assert outcome.effects == ()


def test_a_pilot_that_called_just_now_lives_whatever_the_scheduler_says():
    one = pilot(PilotState.READY, last_seen_at=NOW + 20)
    assert looks(6, pilots=(one,)) == [[]] * 6


def test_a_pilot_whose_time_was_over_while_nobody_looked_is_finished():
    one = pilot(PilotState.READY, ends_at=NOW - 100)
    assert [effect.event for effect in looks(3, pilots=(one,))[-1]] == [PilotEvent.FINISHED]


def test_a_look_that_is_older_than_the_submission_proves_nothing():
    one = pilot(PilotState.QUEUED, submitted_at=NOW + 1000)
    assert looks(6, pilots=(one,)) == [[]] * 6


def test_a_pilot_that_was_started_and_never_called_is_given_up():
    one = pilot(PilotState.BOOTING, started_at=NOW - 181)
    assert final(one, moves(look(batch()), one)) is PilotState.FAILED
    assert moves(look(batch()), replace(one, started_at=NOW - 100)) == []


def test_a_batch_job_with_our_mark_that_no_live_pilot_owns_is_cancelled_after_several_looks():
    first, second, third, fourth = looks(4, batch(), pilots=())
    assert first == second == fourth == []
    assert [effect.batch_job_id for effect in third if isinstance(effect, CancelOrphan)] == ["7"]


@pytest.mark.parametrize(
    "other",
    [
        batch(name="hv-another0-0001"),
        batch(name="simulation"),
        batch(BatchState.COMPLETED),
        batch(BatchState.COMPLETING),
    ],
)
def test_batch_jobs_of_others_and_those_that_end_are_left_alone(other: BatchJob):
    assert looks(4, other, pilots=()) == [[]] * 4


def test_a_pilot_that_was_evicted_into_the_queue_and_has_ended_for_us_is_cancelled_at_first_sight():
    back = batch(BatchState.PENDING, preempt_at=NOW - 1, nodes=())
    told = looks(2, back, pilots=())
    assert told == [[CancelOrphan(batch_job_id="7", reason=f"{NAME} belongs to no live pilot")]] * 2


def test_of_two_batch_jobs_with_one_name_the_living_one_counts():
    one = pilot(PilotState.PLANNED)
    told = moves(look(batch(BatchState.CANCELLED, batch_job_id="6"), batch()), one)
    assert final(one, told) is PilotState.BOOTING
    assert told[0].batch_job_id == "7"


def test_a_pilot_whose_node_boots_may_take_as_long_as_the_node_does():
    booting = pilot(PilotState.BOOTING, started_at=NOW - 900)
    assert moves(look(batch(is_booting=True)), booting) == []
    # Slurm dates the start anew when the node has booted: the pilot's own time begins then.
    assert moves(look(batch(start_at=NOW - 20)), booting) == []
    [overdue] = moves(look(batch(start_at=NOW - 900)), booting)
    assert overdue.event is PilotEvent.FAILED


@pytest.mark.parametrize(
    ("state", "end"),
    [(BatchState.OUT_OF_MEMORY, PilotState.FAILED), (BatchState.DEADLINE, PilotState.CANCELLED)],
)
def test_running_out_of_memory_is_a_failure_and_passing_a_deadline_is_none(state, end):
    one = pilot(PilotState.QUEUED)
    assert final(one, moves(look(batch(state)), one)) is end
