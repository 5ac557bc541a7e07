"""The Slurm adapter with commands that hang, refuse, lie, or answer well: real processes, no Slurm."""

import itertools
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import psutil
import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState
from harvester_adapters.slurm.adapter import SlurmAdapter

NO_CONTACT = [
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: Could not establish a configuration source",
    "sbatch: error: Batch job submission failed: Protocol authentication error",
    "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
]
SAMPLES = Path(__file__).parents[2] / "unit/adapters/slurm/samples" / "22.05.8"
REFUSALS = [
    "sbatch: error: Batch job submission failed: Invalid partition name specified",
    "sbatch: error: Batch job submission failed: Requested node configuration is not available",
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size)",
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
]


def queues(fake_slurm) -> list[str]:
    """Return the calls of squeue but those about excluded nodes."""
    return [call for call in fake_slurm.calls("squeue") if "--format=" not in call]


def asked(fake_slurm, what: str) -> int:
    """Return how often scontrol was asked to show something."""
    return len([call for call in fake_slurm.calls("scontrol") if call.endswith(what)])


def test_a_snapshot_is_one_squeue_and_one_scontrol(fake_slurm, adapter):
    snapshot = adapter.snapshot()
    assert snapshot.scheduler == "slurm 22.05.8"
    assert [node.state for node in snapshot.nodes] == [NodeState.ALLOCATED] * 3 + [NodeState.DRAINED]
    assert snapshot.partition("harvest").grace_time == timedelta(seconds=60)
    assert {job.name for job in snapshot.batch_jobs} >= {"harvester-P1", "primeA"}
    before = adapter.commands
    adapter.snapshot()
    assert adapter.commands - before == 2
    assert len(queues(fake_slurm)) == 2
    assert asked(fake_slurm, "node") == 2
    assert asked(fake_slurm, "partition") == asked(fake_slurm, "config") == asked(fake_slurm, "reservation") == 1


def test_a_snapshot_asks_for_no_batch_job_that_has_ended(fake_slurm, adapter):
    adapter.snapshot()
    [call] = queues(fake_slurm)
    assert "--states" not in call  # squeue's default: all that has not ended, whichever states a version has


def test_every_command_is_counted(fake_slurm, adapter, order):
    counts = [adapter.commands]
    for act in (
        adapter.snapshot, adapter.snapshot, adapter.glance, lambda: adapter.ended(["3", "4"]),
        lambda: adapter.submit(order), lambda: adapter.cancel("3", "4", "5"), lambda: adapter.ended([]), adapter.cancel,
    ):  # fmt: skip
        act()
        counts.append(adapter.commands)
    assert [after - before for before, after in itertools.pairwise(counts)] == [6, 2, 1, 1, 1, 1, 0, 0]
    names = ("squeue", "scontrol", "sbatch", "scancel")
    assert adapter.commands == sum(len(fake_slurm.calls(name)) for name in names)


def test_a_glance_is_one_command_and_disturbs_no_snapshot(fake_slurm, tmp_path):
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(minutes=1))
    look = adapter.snapshot()
    before = adapter.commands
    seen = {job.batch_job_id: (job.state, job.waits_for) for job in look.batch_jobs}
    assert {job.batch_job_id: (job.state, job.waits_for) for job in adapter.glance()} == seen
    assert adapter.commands - before == 1
    assert adapter.snapshot() is look


def test_pending_pilots_are_held_and_released_in_one_command(fake_slurm, adapter):
    adapter.hold("3", "4")
    adapter.release("4")
    assert fake_slurm.calls("scontrol") == ["uhold 3,4", "release 4"]
    with pytest.raises(ValueError, match="not the id of a Slurm batch job"):
        adapter.hold("3; rm")


def test_a_controller_that_does_not_answer_a_hold_is_told_and_a_batch_job_that_is_over_is_not(fake_slurm, adapter):
    fake_slurm.answers("scontrol", "echo 'Job is no longer pending execution for job 3' >&2; exit 1")
    adapter.hold("3", "4")
    fake_slurm.answers("scontrol", "echo 'slurm_suspend error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SchedulerUnavailable, match="Unable to contact"):
        adapter.hold("3")


def test_what_became_of_ended_batch_jobs_is_asked_by_their_ids(fake_slurm, adapter):
    fake_slurm.queue.write_bytes((SAMPLES / "after.squeue.txt").read_bytes())
    found = {job.batch_job_id: job.state for job in adapter.ended(["3", "4"])}
    assert found["3"] is BatchState.PREEMPTED
    [call] = fake_slurm.calls("squeue")
    assert {"--states=all", "--jobs=3,4"} <= set(call.split())
    with pytest.raises(ValueError, match="not the id of a Slurm batch job"):
        adapter.ended(["3", "--user=root"])


def test_a_batch_job_that_slurm_has_forgotten_is_missing_and_no_error(fake_slurm, adapter):
    fake_slurm.answers("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert adapter.ended(["99999"]) == ()
    fake_slurm.answers("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SchedulerUnavailable, match="Unable to contact"):
        adapter.ended(["99999"])


def test_every_call_of_squeue_has_a_delimiter_of_its_own(fake_slurm, adapter):
    adapter.snapshot()
    adapter.snapshot()
    assert len(set(fake_slurm.calls("squeue"))) == len(fake_slurm.calls("squeue")) >= 2


def test_a_fresh_snapshot_is_returned_again_until_something_was_submitted(fake_slurm, order, tmp_path):
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(minutes=1))
    assert adapter.snapshot() is adapter.snapshot()
    assert len(queues(fake_slurm)) == 1
    adapter.submit(order)
    adapter.snapshot()
    assert len(queues(fake_slurm)) == 2


def test_what_an_old_squeue_cannot_show_with_the_rest_is_asked_once_for_each_that_is_new(fake_slurm, adapter):
    def excluding():
        return {job.batch_job_id: job.excluded_nodes for job in adapter.snapshot().batch_jobs if job.excluded_nodes}

    assert [excluding() for _ in range(3)] == [{"7": ("n1", "n4")}] * 3
    assert len(fake_slurm.calls("squeue")) - len(queues(fake_slurm)) == 1
    before = fake_slurm.queue.read_bytes()
    fake_slurm.queue.write_bytes(before.replace(b"\n7\x1f", b"\n9\x1f"))
    fake_slurm.excluded.write_text(fake_slurm.excluded.read_text().replace("\n7", "\n9"))
    assert excluding().keys() == {"9"}
    fake_slurm.excluded.write_text("garbage")
    excluding()  # nobody new, so nothing is asked
    fake_slurm.queue.write_bytes(before)
    with pytest.raises(SchedulerUnavailable, match="excluded nodes cannot be read"):
        excluding()


def test_a_newer_squeue_shows_all_at_once(fake_slurm, adapter):
    fake_slurm.change("scontrol", "*config) cat", "*config) sed s/22.05.8/24.05.0/")
    adapter.snapshot()
    assert len(fake_slurm.calls("squeue")) == len(queues(fake_slurm)) == 1


@pytest.mark.parametrize("command", ["squeue", "scontrol"])
def test_a_hung_command_is_given_up_and_killed_with_its_children(fake_slurm, tmp_path, command):
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", command_timeout=timedelta(seconds=0.3))
    fake_slurm.answers(command, "sleep 61.5 & wait")
    started = time.monotonic()
    with pytest.raises(SchedulerUnavailable, match=rf"{command}.*did not answer within 0\.\d+ s"):
        adapter.snapshot()
    assert time.monotonic() - started < 30  # half of what the command would take
    assert not [child for child in psutil.process_iter(["cmdline"]) if "61.5" in (child.info["cmdline"] or [])]


def test_a_failed_command_is_told_with_its_exit_code_and_words(fake_slurm, adapter):
    fake_slurm.answers("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SchedulerUnavailable, match=r"squeue.* ended with 1: slurm_load_jobs error: Unable to contact"):
        adapter.snapshot()


@pytest.mark.parametrize("script", ["true", "echo garbage", "head -c 700 QUEUE", "printf 'JOBID\\036wrong\\n'"])
def test_an_answer_that_is_not_understood_is_not_an_empty_queue(fake_slurm, adapter, script):
    fake_slurm.answers("squeue", script.replace("QUEUE", str(fake_slurm.queue)))
    with pytest.raises(SchedulerUnavailable):
        adapter.snapshot()


def test_a_missing_command_says_where_it_was_looked_for(fake_slurm, adapter, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SchedulerUnavailable, match=r"scontrol cannot be run.*PATH"):
        adapter.snapshot()


def test_the_next_look_after_a_failure_is_a_new_one(fake_slurm, adapter):
    good = (fake_slurm.folder / "squeue").read_text()
    fake_slurm.answers("squeue", "exit 1")
    with pytest.raises(SchedulerUnavailable):
        adapter.snapshot()
    (fake_slurm.folder / "squeue").write_text(good)
    assert adapter.snapshot().batch_jobs


def test_a_persons_taste_does_not_change_the_questions(fake_slurm, adapter, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    monkeypatch.setenv("SLURM_CONF", "/etc/somewhere/slurm.conf")
    fake_slurm.answers("scontrol", f"env > {fake_slurm.folder}/asking; exit 1")
    with pytest.raises(SchedulerUnavailable):
        adapter.snapshot()
    variables = (fake_slurm.folder / "asking").read_text().splitlines()
    assert {"TZ=UTC", "SLURM_CONF=/etc/somewhere/slurm.conf"} <= set(variables)
    assert not [line for line in variables if line.startswith(("SQUEUE_", "SLURM_TIME"))]


# ---- submit --------------------------------------------------------------------------------------------------------


def test_a_pilot_is_submitted_as_one_srun_step_with_all_options_on_the_command_line(fake_slurm, adapter, order):
    order = msgspec.structs.replace(order, nice=100, account="harvest", qos="low")
    assert adapter.submit(order) == "4711"
    [call] = fake_slurm.calls("sbatch")
    for option in (
        "--job-name=harvester-p1", "--partition=harvest", "--nodes=1", "--ntasks=1", "--cpus-per-task=2",
        "--time=0:14:00", "--no-requeue", "--mem=500M", "--gres=gpu:1", "--nice=100", "--account=harvest", "--qos=low",
        f"--chdir={order.output.parent}", f"--output={order.output.parent}/100%%.out",
    ):  # fmt: skip
        assert option in call.split()
    shebang, step = (fake_slurm.folder / "script").read_text().splitlines()
    assert shebang == "#!/bin/bash"
    assert step.startswith("exec srun --ntasks=1 --cpus-per-task=2 ")
    assert step.endswith("/opt/python -m harvester_worker 'a file'\"'\"'s path'")


def test_where_and_until_when_a_pilot_may_run_is_told_to_sbatch(fake_slurm, adapter, order):
    order = msgspec.structs.replace(
        order, exclude=("n1", "n2", "n4"), node="n3", end_by=time.time() + 900.5, walltime=timedelta(minutes=7)
    )
    adapter.submit(order)
    [call] = fake_slurm.calls("sbatch")
    assert {"--exclude=n[1-2,4]", "--nodelist=n3", "--time=0:07:00"} <= set(call.split())
    [deadline] = [word for word in call.split() if word.startswith("--deadline=now+")]
    assert 895 <= int(deadline.removeprefix("--deadline=now+")) <= 900


@pytest.mark.parametrize(("version", "asks"), [("22.05.8", False), ("25.05.4", False), ("25.05.5", True)])
def test_time_min_is_asked_for_only_where_backfill_gives_more_than_the_minimum(
    fake_slurm, adapter, order, version, asks
):
    fake_slurm.change("scontrol", "*config) cat", f"*config) sed s/22.05.8/{version}/")
    assert adapter.snapshot().cuts_time_min is asks
    adapter.submit(msgspec.structs.replace(order, time_min=timedelta(minutes=2)))
    [call] = fake_slurm.calls("sbatch")
    assert ("--time-min=0:02:00" in call.split()) is asks


MAINTENANCE = "ReservationName=maint1 StartTime=2026-11-22T00:30:13 EndTime=2026-11-22T01:30:13 Nodes=n[3-4] NodeCnt=2"


def test_reservations_are_in_the_snapshot_and_not_asked_every_time(fake_slurm, adapter):
    fake_slurm.change("scontrol", "No reservations in the system", MAINTENANCE)
    [reservation] = adapter.snapshot().reservations
    assert (reservation.name, reservation.nodes) == ("maint1", ("n3", "n4"))
    assert reservation.end_at == reservation.start_at + 3600
    adapter.snapshot()
    assert asked(fake_slurm, "reservation") == 1


def test_reservations_are_asked_more_often_than_what_hardly_ever_changes(fake_slurm, tmp_path):
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0), reservations_for=timedelta(0))
    assert adapter.snapshot().reservations == ()
    fake_slurm.change("scontrol", "No reservations in the system", MAINTENANCE)
    assert [found.name for found in adapter.snapshot().reservations] == ["maint1"]
    assert (asked(fake_slurm, "reservation"), asked(fake_slurm, "partition"), asked(fake_slurm, "config")) == (2, 1, 1)


def test_a_partition_that_nobody_told_of_is_asked_for_at_once_but_not_again_and_again(
    fake_slurm, tmp_path, monkeypatch
):
    monkeypatch.setattr("harvester_adapters.slurm.slow_look._DOUBT_S", 0.5)
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0))
    adapter.snapshot()
    fake_slurm.change("scontrol", "*node) cat", "*node) sed s/Partitions=prime,/Partitions=new,/")
    for _ in range(3):
        adapter.snapshot()
    assert asked(fake_slurm, "partition") == 1  # young
    time.sleep(0.6)
    adapter.snapshot()
    adapter.snapshot()
    assert asked(fake_slurm, "partition") == 2


# ---- who is preempted by QOS ---------------------------------------------------------------------------------------

QOS = "normal||cluster|00:00:00\nscavenger||cluster|00:02:00\nurgent|scavenger|cluster|00:00:00\n"


@pytest.fixture
def by_qos(fake_slurm, tmp_path):
    """Return a function that makes an adapter to a site that preempts by QOS; sacctmgr answers `script`."""

    fake_slurm.change("scontrol", "*config) cat", "*config) sed s,preempt/partition_prio,preempt/qos,")

    def make(script: str, **submitter: str) -> SlurmAdapter:
        fake_slurm.answers("sacctmgr", script)
        return SlurmAdapter(
            work_dir=tmp_path / "psij", cache_for=timedelta(0), command_timeout=timedelta(seconds=2), **submitter
        )

    return make


def answer(qos: str, associations: str) -> str:
    return f"case \"$*\" in *qos\\ format*) printf '{qos}';; *assoc*) printf '{associations}';; esac"


def test_who_preempts_whom_is_asked_where_the_site_preempts_by_qos(fake_slurm, by_qos):
    adapter = by_qos(answer(QOS, ""), qos="scavenger")
    partition = adapter.snapshot().partition("harvest")
    assert (partition.is_preemptible, partition.grace_time) == (True, timedelta(minutes=2))
    adapter.snapshot()
    assert len(fake_slurm.calls("sacctmgr")) == 1


def test_the_default_qos_of_the_user_counts_where_none_is_named(by_qos):
    snapshot = by_qos(answer(QOS, "lab||scavenger|normal,scavenger\n")).snapshot()
    assert all(part.is_preemptible for part in snapshot.partitions)
    snapshot = by_qos(answer(QOS, "lab||normal|normal,scavenger\n")).snapshot()
    assert {part.why_not for part in snapshot.partitions} == {
        (
            'no QOS has "normal", which pilots run under, in its Preempt list'
            " (scheduler.slurm.qos may name scavenger, which others preempt)"
        )
    }


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "echo 'You are not running a supported accounting_storage plugin' >&2; exit 1",
            "supported accounting_storage",
        ),
        ("sleep 30", r"sacctmgr .* did not answer within"),
        ("echo what is this", "cannot be read"),
        (answer(QOS, ""), r"no single default QOS of .*write it as scheduler\.slurm\.qos"),
        (answer(QOS, "a||normal|normal\nb||scavenger|scavenger\n"), "no single default QOS"),
    ],
)
def test_without_an_answer_about_qos_nothing_is_guessed(by_qos, script, why):
    snapshot = by_qos(script).snapshot()
    assert len(snapshot.nodes) == 4  # the look succeeds all the same
    assert not any(part.is_preemptible for part in snapshot.partitions)
    assert re.search(why, snapshot.partition("harvest").why_not)


def test_the_daemons_environment_does_not_reach_sbatch(fake_slurm, adapter, order, monkeypatch):
    monkeypatch.setenv("HARVESTER_SECRET", "token")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SBATCH_PARTITION", "prime")
    monkeypatch.setenv("LANG", "C.UTF-8")
    adapter.submit(order)
    names = {line.partition("=")[0] for line in (fake_slurm.folder / "env").read_text().splitlines()}
    assert {"PATH", "HOME", "LANG"} <= names
    assert names <= {"PATH", "HOME", "LANG", "USER", "LOGNAME", "SLURM_CONF", "PWD", "SHLVL", "_"}


def test_nothing_is_left_of_a_submission(fake_slurm, adapter, order, tmp_path):
    threads = threading.active_count()
    adapter.submit(order)
    fake_slurm.answers("sbatch", "exit 1")
    with pytest.raises(SubmissionRejected):
        adapter.submit(order)
    assert [path for path in (tmp_path / "psij").rglob("*") if path.is_file()] == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("words", REFUSALS)
def test_a_refusal_is_told_in_sbatchs_own_words(fake_slurm, adapter, order, words):
    fake_slurm.answers("sbatch", f'echo "{words}" >&2; exit 1')
    with pytest.raises(SubmissionRejected) as refused:
        adapter.submit(order)
    assert words in str(refused.value)
    assert "harvester-p1" in str(refused.value)


@pytest.mark.parametrize("words", NO_CONTACT)
def test_no_contact_is_not_a_refusal(fake_slurm, adapter, order, words):
    fake_slurm.answers("sbatch", f"echo '{words}' >&2; exit 1")
    with pytest.raises(SchedulerUnavailable, match="harvester-p1"):
        adapter.submit(order)


def test_an_sbatch_that_hung_although_the_batch_job_exists_is_found_again_by_its_name(fake_slurm, order, tmp_path):
    adapter = SlurmAdapter(work_dir=tmp_path / "psij", command_timeout=timedelta(seconds=1))
    fake_slurm.answers("sbatch", f"sed -i s/harvester-P1/{order.name}/ {fake_slurm.queue}; sleep 60")
    with pytest.raises(SchedulerUnavailable, match=r"sbatch.*did not answer"):
        adapter.submit(order)
    [job] = [job for job in adapter.snapshot().batch_jobs if job.name == order.name]
    assert (job.batch_job_id, job.state) == ("3", BatchState.RUNNING)


@pytest.mark.parametrize("answer", ["", "Submitted, thank you", "Submitted batch job"])
def test_a_success_without_an_id_is_not_taken_for_one(fake_slurm, adapter, order, answer):
    fake_slurm.answers("sbatch", f'echo "{answer}"')
    with pytest.raises(SchedulerUnavailable, match=r"harvester-p1.*name"):
        adapter.submit(order)


def test_the_id_of_a_federated_cluster_and_a_sites_chatter_are_read(fake_slurm, adapter, order):
    fake_slurm.answers("sbatch", 'echo "Welcome to our cluster"; echo "12;east"')
    assert adapter.submit(order) == "12"


def test_a_work_folder_that_cannot_be_written_is_said(fake_slurm, order, tmp_path):
    (tmp_path / "file").touch()
    adapter = SlurmAdapter(work_dir=tmp_path / "file")
    with pytest.raises(SchedulerUnavailable, match=r"no batch script can be written in .*file"):
        adapter.submit(order)
    assert fake_slurm.calls("sbatch") == []


# ---- cancel --------------------------------------------------------------------------------------------------------


def test_a_batch_job_of_an_earlier_daemon_is_cancelled(fake_slurm, adapter):
    adapter.cancel("3")
    assert fake_slurm.calls("scancel") == ["3"]


def test_batch_jobs_are_cancelled_together(fake_slurm, adapter):
    adapter.cancel("3", "4", "17")
    assert fake_slurm.calls("scancel") == ["3 4 17"]


def test_one_that_is_over_hides_no_failure_of_another(fake_slurm, adapter):
    over = "scancel: error: Kill job error on job id 3: Invalid job id specified"
    fake_slurm.answers("scancel", f"echo '{over}' >&2; echo '{over}' >&2; exit 1")
    adapter.cancel("3", "4")
    fake_slurm.answers("scancel", f"echo '{over}' >&2; echo 'scancel: error: Access denied on job id 4' >&2; exit 1")
    with pytest.raises(SchedulerUnavailable, match="Access denied"):
        adapter.cancel("3", "4")
    fake_slurm.answers("scancel", "exit 1")
    with pytest.raises(SchedulerUnavailable, match="scancel 3 ended with 1"):
        adapter.cancel("3")


@pytest.mark.parametrize(
    "words",
    [
        "scancel: error: Kill job error on job id 3: Invalid job id specified",
        "scancel: error: Kill job error on job id 3: Job/step already completing or completed",
    ],
)
def test_cancelling_what_is_over_is_no_error(fake_slurm, adapter, words):
    fake_slurm.answers("scancel", f"echo '{words}' >&2; exit 1")
    adapter.cancel("3")
    assert len(fake_slurm.calls("scancel")) == 1


def test_a_cancellation_that_did_not_arrive_is_said(fake_slurm, adapter):
    fake_slurm.answers("scancel", "echo 'scancel: error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SchedulerUnavailable, match=r"scancel 3 ended with 1: .*Unable to contact"):
        adapter.cancel("3")


@pytest.mark.parametrize("batch_job_id", ["", "--user=root", "3 4", "all"])
def test_only_an_id_is_cancelled(fake_slurm, adapter, batch_job_id):
    with pytest.raises(ValueError, match="not the id of a Slurm batch job"):
        adapter.cancel("3", batch_job_id)
    assert fake_slurm.calls("scancel") == []


def test_importing_the_package_does_not_import_psij():
    script = "import sys, harvester_adapters; sys.exit('psij' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parent).returncode == 0
