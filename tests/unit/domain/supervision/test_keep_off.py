"""While pilots leave for a prime job, those that wait keep off what is vacated."""

from datetime import timedelta

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, WaitsFor
from harvester.domain.contention.contention import Contention, PlannedStart
from harvester.domain.harvest.planning import KnownPilot
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.supervision.keep_off import LONGEST, LOOKS, KeepOff

NOBODY = Contention()
TOLD = KeepOff().told(frozenset({"n1", "n2"}), 100.0)


def look(*batch_jobs: BatchJob) -> ClusterSnapshot:
    return ClusterSnapshot(taken_at=0.0, scheduler="s", nodes=(), batch_jobs=batch_jobs, partitions=())


def batch(batch_job_id: str, state: BatchState = BatchState.PENDING, **changes) -> BatchJob:
    return BatchJob(
        batch_job_id=batch_job_id, name=f"b{batch_job_id}", user="u", partition="prime", state=state, **changes
    )


def pilot(number: str, state: PilotState) -> KnownPilot:
    return KnownPilot(
        pilot_id=f"p{number}", name=f"b{number}", shape="s", partition="harvest", resources=Resources(),
        walltime=timedelta(hours=1), state=state, planned_at=0.0,
    )  # fmt: skip


def test_nobody_keeps_off_before_a_word():
    assert not KeepOff().is_on
    assert KeepOff().look_at(5.0) is None
    assert KeepOff().looked(look(batch("1", nodes=("n1",))), (), NOBODY, 5.0) == KeepOff()


def test_words_add_up_and_the_first_one_is_remembered():
    more = TOLD.told(frozenset({"n3"}), 101.0)
    assert more.nodes == {"n1", "n2", "n3"}
    assert (more.since_at, more.newest_at) == (100.0, 101.0)


def test_it_is_looked_sooner_at_first_and_rarely_later():
    cleared, now, times = TOLD.cleared(102.0), 102.0, []
    while now < 102.0 + LOOKS[-1].total_seconds():
        now = cleared.look_at(now)
        times.append(now - 102.0)
    assert times == [step.total_seconds() for step in LOOKS]
    assert cleared.look_at(148.0) == 190.0
    assert cleared.cleared(110.0) == cleared


def test_while_pilots_still_leave_it_is_looked_rarely_and_another_word_begins_anew():
    assert TOLD.look_at(100.0) == 110.0
    assert TOLD.look_at(110.0) == 130.0
    assert TOLD.cleared(105.0).told(frozenset({"n3"}), 106.0).look_at(106.0) == 116.0


def test_it_lasts_while_a_pilot_is_still_leaving():
    leaving = pilot("1", PilotState.DRAINING)
    running = batch("1", BatchState.RUNNING, nodes=("n1",), preempt_at=99.0)
    assert TOLD.looked(look(running), (leaving,), NOBODY, 103.0).is_on
    elsewhere = batch("1", BatchState.RUNNING, nodes=("n7",))
    assert not TOLD.looked(look(elsewhere), (leaving,), NOBODY, 103.0).is_on, "its walltime is nearly over"
    gone = batch("1", BatchState.PREEMPTED, preempt_at=99.0)
    assert not TOLD.looked(look(gone), (), NOBODY, 103.0).is_on


def test_it_lasts_while_the_prime_job_still_pends_for_the_vacated_nodes():
    wants = Contention(starts=(PlannedStart(batch_job_id="9", at=103.0, nodes=("n2", "n7")),))
    assert TOLD.looked(look(batch("9")), (), wants, 103.0).is_on
    planned = batch("9", nodes=("n1",), start_at=140.0)
    assert TOLD.looked(look(planned), (), NOBODY, 103.0).is_on, "the scheduler plans it there"
    assert not TOLD.looked(look(batch("9", BatchState.RUNNING, nodes=("n1", "n2"))), (), NOBODY, 103.0).is_on


def test_prime_jobs_that_want_other_nodes_or_wait_for_something_else_do_not_prolong_it():
    later = Contention(starts=(PlannedStart(batch_job_id="9", at=500.0, nodes=("n2",)),))
    elsewhere = Contention(starts=(PlannedStart(batch_job_id="9", at=103.0, nodes=("n5",)),))
    held = batch("9", nodes=("n1",), waits_for=WaitsFor.OTHER)
    for wants in (later, elsewhere):
        assert not TOLD.looked(look(held), (), wants, 103.0).is_on


def test_it_ends_after_a_while_whatever_waits():
    wants = Contention(starts=(PlannedStart(batch_job_id="9", at=103.0, nodes=("n1",)),))
    assert TOLD.looked(look(batch("9")), (), wants, 100.0 + LONGEST.total_seconds() - 1).is_on
    assert not TOLD.looked(look(batch("9")), (), wants, 100.0 + LONGEST.total_seconds()).is_on


def test_an_eviction_that_no_pilot_has_told_is_seen_in_the_look():
    evicted = batch("1", BatchState.RUNNING, nodes=("n4",), preempt_at=99.0)
    after = KeepOff().looked(look(evicted), (pilot("1", PilotState.READY),), NOBODY, 100.0)
    assert after.is_on
    assert after.nodes == {"n4"}
    assert not KeepOff().looked(look(evicted), (), NOBODY, 100.0).is_on, "somebody else's batch job"
