"""The reconciler where the scheduler only hints: a pilot's heartbeat and its walltime tell what became of it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
from harvester.domain.harvest.planning import KnownPilot
from harvester.domain.model.pilots import PILOT, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.supervision.reconcile import DEFAULTS, CancelOrphan, Move, ReconcileState, reconcile

NOW = 1_000_000.0
MARK = "hv-abcd1234-"
HINTS = Knowledge(nodes=False, names=False, states=False)
NAMED = Knowledge(nodes=False, names=True, states=False)
LIVE = [state for state in PilotState if state not in PILOT.final]
CALLED = {PilotState.READY, PilotState.DRAINING}
WALLTIME_S = 600.0
OVER_S = WALLTIME_S + DEFAULTS.unheard.total_seconds()


def pilot(state: PilotState, **changes: object) -> KnownPilot:
    plain = KnownPilot(
        pilot_id="p",
        name=MARK + "0001",
        shape="two",
        partition="idle",
        resources=Resources(),
        walltime=timedelta(seconds=WALLTIME_S),
        state=state,
        planned_at=NOW,
        submitted_at=None if state is PilotState.PLANNED else NOW,
        started_at=None if state in {PilotState.PLANNED, PilotState.QUEUED} else NOW,
        ends_at=NOW + WALLTIME_S if state in CALLED else None,
        batch_job_id="" if state is PilotState.PLANNED else "7",
    )
    return replace(plain, **changes)


def batch(state: BatchState, name: str = "") -> BatchJob:
    return BatchJob(batch_job_id="7", name=name, user="", partition="", state=state)


class Daemon:
    """Looks again and again, and does what follows."""

    def __init__(self, one: KnownPilot, knowledge: Knowledge) -> None:
        self.pilot = one
        self.knowledge = knowledge
        self.memory = ReconcileState()
        self.cancelled: list[str] = []

    def look(self, after_s: float, *jobs: BatchJob, is_heard: bool = False) -> PilotState:
        if self.pilot.state in PILOT.final:
            return self.pilot.state
        now = NOW + after_s
        if is_heard:
            self.pilot = replace(self.pilot, last_seen_at=now)
        snapshot = ClusterSnapshot(
            taken_at=now, scheduler="", nodes=(), batch_jobs=jobs, partitions=(), knowledge=self.knowledge
        )
        outcome = reconcile(snapshot, [self.pilot], self.memory, mark=MARK, now=now)
        self.memory = outcome.memory
        for effect in outcome.effects:
            match effect:
                case Move():
                    state = PILOT.advance(self.pilot.state, effect.event)
                    self.pilot = replace(self.pilot, state=state)
                case CancelOrphan():
                    self.cancelled.append(effect.batch_job_id)
        return self.pilot.state


@pytest.mark.parametrize("state", LIVE)
def test_a_pilot_that_nobody_tells_of_is_kept_for_its_walltime_and_then_given_up_once(state):
    daemon = Daemon(pilot(state), HINTS)
    for after_s in range(5, int(OVER_S), 20):
        assert daemon.look(after_s) is state
    assert daemon.look(OVER_S + 1) in PILOT.final
    assert daemon.cancelled == ([] if state is PilotState.PLANNED else ["7"])


def test_a_lost_submission_is_looked_for_by_its_name_where_names_are_known():
    daemon = Daemon(pilot(PilotState.PLANNED), NAMED)
    assert daemon.look(5, batch(BatchState.PENDING, MARK + "0001")) is PilotState.QUEUED
    absent = Daemon(pilot(PilotState.PLANNED), NAMED)
    assert [absent.look(after_s) for after_s in (10, 20, 40)][-1] is PilotState.FAILED
    assert Daemon(pilot(PilotState.PLANNED), HINTS).look(5) is PilotState.PLANNED


@pytest.mark.parametrize("ended", [state for state in BatchState if state.is_ended])
@pytest.mark.parametrize("state", sorted(CALLED))
def test_the_hint_of_an_end_ends_no_pilot_that_has_called(state, ended):
    daemon = Daemon(pilot(state), HINTS)
    for after_s in range(5, int(OVER_S), 20):
        assert daemon.look(after_s, batch(ended)) is state
    assert daemon.look(OVER_S + 1, batch(ended)) is PilotState.FINISHED


def test_the_hint_of_an_end_before_the_call_is_believed_when_it_was_told_several_times():
    daemon = Daemon(pilot(PilotState.BOOTING), HINTS)
    assert [daemon.look(after_s, batch(BatchState.FAILED)) for after_s in (5, 10)] == [PilotState.BOOTING] * 2
    assert daemon.look(12, batch(BatchState.RUNNING)) is PilotState.BOOTING, "one hint was wrong: counted anew"
    states = [daemon.look(after_s, batch(BatchState.FAILED)) for after_s in (15, 20, 25)]
    assert states == [PilotState.BOOTING, PilotState.BOOTING, PilotState.FAILED]


def test_a_hint_that_it_runs_starts_it_and_a_silent_start_is_given_up():
    daemon = Daemon(pilot(PilotState.QUEUED), HINTS)
    assert daemon.look(5, batch(BatchState.RUNNING)) is PilotState.BOOTING
    daemon.pilot = replace(daemon.pilot, started_at=NOW + 5)
    assert daemon.look(DEFAULTS.boot.total_seconds() + 6, batch(BatchState.RUNNING)) is PilotState.FAILED


# ---- any scheduler, any order of looks

JOBS = st.one_of(
    st.none(), st.builds(batch, st.sampled_from(list(BatchState)), st.sampled_from(["", MARK + "0001", "other"]))
)
LOOKS = st.lists(st.tuples(st.floats(min_value=0.5, max_value=120), JOBS, st.booleans()), max_size=30)
KNOWN = st.sampled_from([EVERYTHING, NAMED, HINTS])


@given(st.sampled_from(LIVE), LOOKS)
def test_whatever_hints_come_a_pilot_that_calls_lives(state, looks):
    daemon, after_s = Daemon(pilot(state), HINTS), 0.0
    for wait_s, told, _ in looks:
        after_s += wait_s
        before = daemon.pilot.state
        after = daemon.look(after_s, *([told] if told else []), is_heard=True)
        overdue = before is PilotState.BOOTING and after is PilotState.FAILED
        assert after not in PILOT.final or overdue


@given(st.sampled_from(LIVE), KNOWN, LOOKS)
def test_every_move_is_allowed_and_an_ended_pilot_is_cancelled_only_where_it_may_still_wait(state, knowledge, looks):
    daemon, after_s = Daemon(pilot(state), knowledge), 0.0
    for wait_s, told, is_heard in looks:
        after_s += wait_s
        daemon.look(after_s, *([told] if told else []), is_heard=is_heard)  # advance() raises for what is not allowed
    if daemon.cancelled:
        assert daemon.pilot.state in PILOT.final
        assert daemon.cancelled == ["7"]
        assert not knowledge.states


@given(st.sampled_from(LIVE), KNOWN, JOBS, st.floats(min_value=0, max_value=2 * OVER_S))
def test_the_same_look_twice_tells_nothing_new(state, knowledge, told, after_s):
    one, now = pilot(state), NOW + after_s
    snapshot = ClusterSnapshot(
        taken_at=now, scheduler="", nodes=(), batch_jobs=(told,) if told else (), partitions=(), knowledge=knowledge
    )
    first = reconcile(snapshot, [one], ReconcileState(), mark=MARK, now=now)
    again = reconcile(snapshot, [one], first.memory, mark=MARK, now=now)
    assert again.memory == first.memory
    assert [effect for effect in again.effects if isinstance(effect, Move)] == [
        effect for effect in first.effects if isinstance(effect, Move)
    ]


@given(st.sampled_from(LIVE), JOBS)
def test_one_look_that_does_not_show_a_pilot_ends_none(state, told):
    daemon = Daemon(pilot(state), EVERYTHING)
    is_shown = told is not None and (told.name == daemon.pilot.name or told.batch_job_id == daemon.pilot.batch_job_id)
    after = daemon.look(60, *([told] if told else []))
    assert is_shown or after is state
