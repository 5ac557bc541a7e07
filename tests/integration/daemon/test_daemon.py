"""The daemon over a real store and a scheduler in memory."""

import hashlib
import os
import stat
import threading
from datetime import timedelta

import msgspec
import pytest

from harvester.domain.cluster.ports import SchedulerAbsent, SchedulerUnavailable, SubmissionUnsent
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester.domain.model.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.domain.model.pilots import PilotEvent, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol import control, pilot_file
from harvester.store.writes.changes import Concluded, Granted, NewInvocation, PilotMoved, PilotSeen, Requeued


def note(site, key):
    return msgspec.json.decode(site.store.note(key))


def wanted(site, count):
    """Put work into the store, as the gateway does."""
    draft = FunctionVersion(
        function_id="", name="f", version=0, kind=FunctionKind.MODULE, body=b"m:f", resources=Resources(cpus=2)
    )
    function = site.store.add_function(draft, site.scheduler.now)
    site.store.write(
        [
            NewInvocation(
                invocation_id=f"i{number}",
                function_id=function.function_id,
                owner="me",
                encoding=Encoding.JSON,
                arguments=b"",
                accepted_at=site.scheduler.now,
            )
            for number in range(count)
        ]
    ).result()


def test_a_tick_with_a_look_reads_the_pilots_once_before_it_and_once_after(site, monkeypatch):
    site.pass_time()
    read = site.store.pilots
    reads = []
    monkeypatch.setattr(site.store, "pilots", lambda **asked: reads.append(asked) or read(**asked))
    looks = site.scheduler.looks
    site.pass_time(60.0)
    assert site.scheduler.looks == looks + 1
    assert len(reads) == 2


def test_a_pilot_is_kept_ready_and_has_its_orders_in_a_file_that_is_its_users_alone(site):
    site.daemon.tick()
    (pilot,) = site.store.pilots()
    (order,) = site.scheduler.orders.values()
    assert (pilot.state, pilot.batch_job_id) == (PilotState.QUEUED, "1")
    assert order.name == pilot.name
    assert order.name.startswith(f"hv-{site.store.instance}-")
    path = site.folder / "pilots" / pilot.pilot_id / "pilot.json"
    assert order.command == ("/usr/bin/python3", "-m", "harvester_worker", "--pilot-file", str(path))
    assert order.output.parent == path.parent
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    orders = pilot_file.decode(path.read_bytes())
    assert hashlib.sha256(orders.token.encode()).hexdigest() == pilot.token_sha256
    assert (orders.grace_s, orders.walltime_s, orders.handover_s) == (60.0, 5400.0, 7.0)


def test_waiting_work_gets_its_pilots_and_nothing_is_submitted_twice(site):
    wanted(site, 3)
    site.pass_time(ticks=4)
    assert len(site.store.pilots()) == 4
    assert len(site.scheduler.orders) == 4


def test_after_a_restart_pilots_are_taken_up_again_and_not_doubled(site):
    site.daemon.tick()
    site.scheduler.turn("1", BatchState.RUNNING, nodes=("n1",))
    site.restart()
    site.pass_time(ticks=5)
    (pilot,) = site.store.pilots()
    assert (pilot.state, pilot.node) == (PilotState.BOOTING, "n1")
    assert len(site.scheduler.orders) == 1


def test_a_submission_whose_answer_was_lost_is_found_by_its_name_and_not_repeated(site):
    site.scheduler.loses_answers = True
    site.daemon.tick()
    (pilot,) = site.store.pilots()
    assert pilot.state is PilotState.PLANNED
    site.restart()
    site.scheduler.loses_answers = False
    site.pass_time(5, ticks=3)
    (pilot,) = site.store.pilots()
    assert (pilot.state, pilot.batch_job_id) == (PilotState.QUEUED, "1")
    assert len(site.scheduler.orders) == 1


def test_a_submission_that_never_got_through_is_given_up_and_made_anew(site):
    site.scheduler.loses_answers = True
    site.daemon.tick()
    site.scheduler.batch_jobs.clear()
    site.scheduler.loses_answers = False
    site.pass_time(10, ticks=5)
    old, new = sorted(site.all(), key=lambda pilot: pilot.planned_at)
    assert old.state is PilotState.FAILED
    assert "never answered" in old.reason
    assert new.state is PilotState.QUEUED


@pytest.mark.parametrize("kind", [SubmissionUnsent, SchedulerAbsent])
def test_a_submission_that_surely_reached_nobody_is_made_anew_and_blames_no_shape(site, monkeypatch, kind):
    def submit(order):
        raise kind("qsub: cannot connect to server")

    with monkeypatch.context() as broken:
        broken.setattr(site.scheduler, "submit", submit)
        site.pass_time(2, ticks=3)
        assert {pilot.state for pilot in site.all()} == {PilotState.FAILED}
        assert any("does not answer" in error for error in note(site, "daemon")["errors"])
        assert note(site, "daemon")["paused"] is False
    site.pass_time(60)
    (pilot,) = site.store.pilots()
    assert pilot.state is PilotState.QUEUED


def test_a_scheduler_that_does_not_answer_proves_nothing_and_is_asked_less_and_less(site):
    site.daemon.tick()
    site.scheduler.is_down = True
    looks = site.scheduler.looks
    site.pass_time(1, ticks=120)
    assert site.scheduler.looks - looks <= 8
    assert [pilot.state for pilot in site.store.pilots()] == [PilotState.QUEUED]
    assert "the scheduler does not answer: squeue: no answer within 10 s" in note(site, "daemon")["errors"]
    site.scheduler.is_down = False
    site.pass_time(60)
    assert note(site, "daemon")["errors"] == []


def test_refused_submissions_back_off_then_pause_visibly_and_resume_by_one_word(site):
    site.scheduler.refusal = "sbatch: error: Invalid account"
    site.pass_time(1, ticks=1200)
    assert len(site.all()) == 5
    said = note(site, "daemon")
    assert said["paused"]
    assert "Invalid account" in said["reason"]
    assert "to resume" in said["reason"]
    site.scheduler.refusal = ""
    site.pass_time(1, ticks=10)
    assert site.store.pilots() == []
    site.daemon.resume()
    site.pass_time(1)
    assert [pilot.state for pilot in site.store.pilots()] == [PilotState.QUEUED]
    assert not note(site, "daemon")["paused"]


def test_a_limit_on_submissions_is_tried_again_and_never_pauses_a_shape(site):
    site.scheduler.refusal, site.scheduler.is_full = "sbatch: error: QOSMaxSubmitJobPerUserLimit", True
    site.pass_time(1, ticks=2000)
    assert not note(site, "daemon")["paused"]
    assert any("QOSMaxSubmitJobPerUserLimit" in each for each in note(site, "daemon")["notes"])
    assert len(site.all()) < 12  # every 5 minutes in the end
    site.scheduler.refusal = ""
    site.pass_time(1, ticks=301)
    assert {pilot.state for pilot in site.store.pilots()} == {PilotState.QUEUED}


def test_a_pilot_that_waits_for_a_limit_waits_on_and_the_limit_is_told(site):
    site.pass_time(1)
    [(batch_job_id, batch)] = site.scheduler.batch_jobs.items()
    site.scheduler.turn(batch_job_id, batch.state, held_by_limit="AssocMaxJobsLimit")
    site.pass_time(2, ticks=300)
    assert list(site.scheduler.batch_jobs) == [batch_job_id]  # none was submitted beside it, or in its place
    assert site.scheduler.cancelled == []
    assert any("AssocMaxJobsLimit" in each for each in note(site, "daemon")["notes"])


def test_pilots_that_die_before_they_call_pause_the_shape_and_name_their_last_words(site):
    for _ in range(1200):
        site.pass_time(1)
        for pilot in site.store.pilots():
            path = site.folder / "pilots" / pilot.pilot_id / "output.txt"
            path.write_text("hello\nModuleNotFoundError: No module named 'msgspec'\n")
            site.scheduler.turn(pilot.batch_job_id, BatchState.FAILED)
    assert len(site.all()) == 5
    assert {pilot.state for pilot in site.all()} == {PilotState.FAILED}
    assert "No module named 'msgspec'" in note(site, "daemon")["reason"]


def test_preempted_pilots_trip_nothing_however_many(site):
    for number in range(30):
        site.pass_time(5)
        (pilot,) = site.store.pilots()
        site.scheduler.turn(pilot.batch_job_id, BatchState.RUNNING)
        site.register(pilot)
        site.pass_time(1)
        site.scheduler.turn(str(number + 1), BatchState.PREEMPTED)
    site.pass_time(5)
    assert len(site.all()) == 31
    assert not note(site, "daemon")["paused"]
    assert {pilot.state for pilot in site.all()} == {PilotState.EVICTED, PilotState.QUEUED}


def test_an_admin_pauses_and_resumes(site):
    said = control.Control(paused=True, reason="maintenance", at=site.scheduler.now)
    site.store.put_note(control.CONTROL_NOTE, control.encode(said))
    site.pass_time(ticks=3)
    assert site.all() == []
    assert "maintenance" in note(site, "daemon")["reason"]
    site.daemon.resume()
    site.pass_time()
    assert len(site.store.pilots()) == 1


def test_the_kill_switch_of_the_config_holds_whatever_an_admin_says(site):
    site.restart(paused=True)
    site.daemon.resume()
    site.pass_time(ticks=3)
    assert site.all() == []
    assert "harvest.paused" in note(site, "daemon")["reason"]


def test_a_pilot_that_idles_beyond_those_to_be_ready_is_let_go_and_stays_cancelled(site):
    wanted(site, 1)
    site.daemon.tick()
    for pilot in site.store.pilots():
        site.scheduler.turn(pilot.batch_job_id, BatchState.RUNNING)
        site.register(pilot)
    now = site.scheduler.now
    over = Concluded(invocation_id="i0", fence=0, state=InvocationState.CANCELLED, at=now)
    seen = [
        PilotSeen(pilot_id=pilot.pilot_id, at=now, ends_at=now + 5000, activations=0, idle_since=now)
        for pilot in site.store.pilots()
    ]
    site.store.write([over, *seen]).result()
    site.pass_time(299)
    assert len(site.store.pilots()) == 2
    site.pass_time(2)
    assert len(site.store.pilots()) == 1
    assert len(site.scheduler.cancelled) == 1
    site.pass_time(5, ticks=10)
    assert len(site.scheduler.cancelled) == 1


def test_a_cancellation_that_did_not_get_through_is_repeated_until_it_does(site):
    site.daemon.tick()
    (pilot,) = site.store.pilots()
    site.restart(harvest=msgspec.structs.replace(site.settings.harvest, shapes=()))
    site.scheduler.now += 301
    cancel, site.scheduler.cancel = site.scheduler.cancel, _out_of_reach
    site.daemon.tick()
    assert site.store.pilot(pilot.pilot_id).state is PilotState.CANCELLED
    site.scheduler.cancel = cancel
    site.pass_time(ticks=4)
    assert site.scheduler.cancelled == ["1"]


def _out_of_reach(batch_job_id):
    raise SchedulerUnavailable("scancel: no answer")


def test_at_the_end_every_pilot_is_sent_home(site):
    wanted(site, 2)
    site.daemon.tick()
    site.daemon.send_home(timedelta(seconds=1))
    assert site.store.pilots() == []
    assert site.scheduler.cancelled == ["1", "2", "3"]


def test_folders_of_pilots_that_ended_are_removed_after_a_day(site):
    site.daemon.tick()
    (pilot,) = site.store.pilots()
    live = site.folder / "pilots" / pilot.pilot_id
    ended = site.folder / "pilots" / "ended"
    ended.mkdir()
    for folder in (live, ended):
        os.utime(folder, (site.scheduler.now, site.scheduler.now))
    site.scheduler.now += 3600 * 23
    site.daemon.prune()
    assert ended.exists()
    site.scheduler.now += 3600 * 2
    site.daemon.prune()
    assert not ended.exists()
    assert live.exists()


def test_pilots_that_call_and_fail_at_once_are_submitted_five_times_and_then_paused(site):
    began_at = site.scheduler.now
    while site.scheduler.now < began_at + 600:
        site.pass_time(5)
        for pilot in site.store.pilots():
            if pilot.state is PilotState.QUEUED:
                site.scheduler.turn(pilot.batch_job_id, BatchState.RUNNING, nodes=("n0",))
                site.register(pilot, "n0")
                site.pass_time(1)  # it is seen, alive
                site.scheduler.turn(pilot.batch_job_id, BatchState.FAILED, nodes=("n0",))
    assert len(site.all()) == 5
    assert "paused after 5 failures in a row" in note(site, "daemon")["reason"]


def start(site, pilot):
    """Let a pilot run and call, and the daemon see it alive."""
    site.scheduler.turn(pilot.batch_job_id, BatchState.RUNNING, nodes=("n0",))
    site.register(pilot, "n0")
    site.pass_time(1)


def test_pilots_that_die_again_and_again_under_the_work_of_one_user_do_not_hold_back_their_shape(site):
    wanted(site, 1)
    deaths = 0
    while deaths < 7:
        site.pass_time(1)
        (pilot,) = [pilot for pilot in site.store.pilots() if pilot.state is PilotState.QUEUED][:1] or [None]
        assert pilot is not None, f"no pilot follows the one that died as number {deaths}"
        start(site, pilot)
        deaths += 1
        grant = Granted(
            invocation_id="i0", fence=deaths, attempt=deaths, pilot_id=pilot.pilot_id, resumed=False, at=0.0
        )
        site.store.write([grant]).result()
        site.scheduler.turn(pilot.batch_job_id, BatchState.FAILED, nodes=("n0",))
        site.pass_time(1)
        end = Requeued(invocation_id="i0", fence=deaths, end=ActivationEnd.PILOT_LOST, retries_used=0, deaths=1, at=0.0)
        site.store.write([end]).result()
        site.scheduler.cancelled.clear()
    assert note(site, "daemon")["reason"] == ""


def test_the_reason_of_a_pilot_that_had_called_tells_nothing_that_functions_printed(site):
    site.pass_time(1)
    (pilot,) = site.store.pilots()
    start(site, pilot)
    (site.folder / "pilots" / pilot.pilot_id / "output.txt").write_text("error: the password is tiger\n")
    site.scheduler.turn(pilot.batch_job_id, BatchState.FAILED, nodes=("n0",))
    site.pass_time(1)
    assert "tiger" not in site.store.pilot(pilot.pilot_id).reason


def test_a_shape_whose_pilots_say_that_they_are_broken_is_held_back(site):
    site.pass_time(1)
    (pilot,) = site.store.pilots()
    start(site, pilot)
    broken = PilotMoved(pilot_id=pilot.pilot_id, event=PilotEvent.FAILED, at=site.scheduler.now, reason="broken")
    site.store.move_pilot(broken)
    site.pass_time(1, ticks=3)
    assert site.store.pilots() == []
    assert "after 1 failure: broken" in " ".join(note(site, "daemon")["notes"])


def test_the_notes_show_cluster_and_daemon_without_naming_others(site):
    site.scheduler.batch_jobs["x"] = BatchJob(
        batch_job_id="x", name="secret-study", user="bob", partition="prime", state=BatchState.RUNNING
    )
    site.pass_time(ticks=2)
    cluster = note(site, "cluster")
    assert (cluster["scheduler"], len(cluster["nodes"]), len(cluster["batch_jobs"])) == ("fake 1", 8, 1)
    assert cluster["others_running"] == 1
    assert b"secret-study" not in site.store.note("cluster")
    assert note(site, "daemon")["last_tick_at"] == site.scheduler.now


def test_it_ticks_in_its_own_thread_and_stops(site):
    looked = threading.Event()
    snapshot = site.scheduler.snapshot

    def look():
        looked.set()
        return snapshot()

    site.scheduler.snapshot = look
    pruned = threading.Event()
    site.daemon.prune = pruned.set
    site.daemon.start()
    assert looked.wait(20)
    assert pruned.wait(20)
    site.daemon.stop()
    assert len(site.store.pilots()) == 1


def test_a_defect_in_one_tick_is_told_and_the_next_one_works(site):
    snapshot, site.scheduler.snapshot = site.scheduler.snapshot, lambda: 1 / 0
    site.daemon.tick()
    assert "ZeroDivisionError" in note(site, "daemon")["errors"][0]
    site.scheduler.snapshot = snapshot
    site.daemon.tick()
    assert note(site, "daemon")["errors"] == []
