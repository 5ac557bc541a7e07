"""The PBS adapter with commands that hang, refuse, lie, or answer well: real processes, no PBS."""

import itertools
import os
import time
from datetime import timedelta

import msgspec
import psutil
import pytest

from harvester.domain.cluster.ports import SchedulerAbsent, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState
from harvester_adapters.pbs import slow_look
from harvester_adapters.pbs.adapter import PbsAdapter

NO_SERVER = "echo 'Connection refused' >&2; echo 'cannot connect to server vm (errno=15010)' >&2; exit 162"


def test_a_snapshot_is_one_qstat_and_one_pbsnodes(fake_pbs, adapter):
    snapshot = adapter.snapshot()
    assert snapshot.scheduler == "pbs 23.06.06"
    assert snapshot.cuts_time_min
    assert snapshot.grain == timedelta(seconds=1)
    assert {node.name: node.state for node in snapshot.nodes}["pn9"] is NodeState.DOWN
    assert {batch.name for batch in snapshot.batch_jobs} >= {"runlong", "heldu"}
    assert snapshot.partition("harvest").is_preemptible
    assert snapshot.partition("route") is None
    before = adapter.commands
    adapter.snapshot()
    assert adapter.commands - before == 2
    assert len(fake_pbs.calls("pbsnodes")) == 2
    assert len([call for call in fake_pbs.calls("qstat") if not call.startswith("-Q")]) == 2
    assert fake_pbs.calls("qmgr") == ["-c list server", "-c list sched"]
    assert len(fake_pbs.calls("pbs_rstat")) == 1


def test_every_command_is_counted(fake_pbs, adapter, order):
    counts = [adapter.commands]
    for act in (
        adapter.snapshot, adapter.snapshot, adapter.glance, lambda: adapter.ended(["3", "4"]),
        lambda: adapter.submit(order), lambda: adapter.cancel("3", "4", "5"), lambda: adapter.ended([]), adapter.cancel,
        lambda: adapter.hold("3"), lambda: adapter.release("3"), adapter.hold,
    ):  # fmt: skip
        act()
        counts.append(adapter.commands)
    assert [after - before for before, after in itertools.pairwise(counts)] == [6, 2, 1, 1, 1, 1, 0, 0, 1, 1, 0]
    names = ("qstat", "pbsnodes", "qmgr", "pbs_rstat", "qsub", "qdel", "qhold", "qrls")
    assert adapter.commands == sum(len(fake_pbs.calls(name)) for name in names)


def test_questions_are_asked_in_utc_and_english(fake_pbs, adapter, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "pl_PL.UTF-8")
    fake_pbs.change("pbsnodes", "cat ", f"echo $TZ $LC_ALL > {fake_pbs.folder}/zone; cat ")
    adapter.snapshot()
    assert (fake_pbs.folder / "zone").read_text().split() == ["UTC", "C"]


def test_a_fresh_snapshot_is_returned_again_until_something_was_submitted(fake_pbs, order, tmp_path):
    adapter = PbsAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(minutes=1))
    assert adapter.snapshot() is adapter.snapshot()
    adapter.submit(order)
    adapter.snapshot()
    assert len(fake_pbs.calls("pbsnodes")) == 2


def test_what_nodes_name_and_qstat_does_not_show_is_somebodys(fake_pbs, adapter):
    shown = {batch.batch_job_id for batch in adapter.snapshot().batch_jobs}
    fake_pbs.queue.write_text("")  # query_other_jobs=False: rc 0 and nothing
    hidden = adapter.snapshot().batch_jobs
    assert {batch.batch_job_id for batch in hidden} == {"92", "83", "91", "94", "95", "96"}
    assert {batch.state for batch in hidden} == {BatchState.RUNNING}
    assert {batch.nodes for batch in hidden if batch.batch_job_id == "83"} == {("pn1", "pn2", "pn3")}
    assert "85" in shown


def test_what_a_site_hides_is_told(fake_pbs, tmp_path, monkeypatch):
    monkeypatch.setattr("harvester_adapters.pbs.adapter.own_name", lambda: "carol")  # nobody of these days
    adapter = PbsAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0))
    fake_pbs.change(
        "qmgr",
        f"cat {fake_pbs.samples}/server.qmgr.txt",
        f"sed s/query_other_jobs.*/x/ {fake_pbs.samples}/server.qmgr.txt",
    )
    assert adapter.snapshot().hidden == ""  # we see others': we are an operator
    fake_pbs.queue.write_text("")
    assert "query_other_jobs" in adapter.snapshot().hidden
    monkeypatch.setattr(
        "harvester_adapters.pbs.adapter.own_name", lambda: "oper"
    )  # an operator, and nobody has a batch job
    assert PbsAdapter(work_dir=tmp_path / "psij").snapshot().hidden == ""


def test_elements_of_an_array_are_told_by_the_nodes_they_are_on(fake_pbs, adapter):
    text = fake_pbs.nodes.read_text().replace('"83.vm"', '"68[2].vm"', 1)
    fake_pbs.nodes.write_text(text)
    found = {batch.batch_job_id: batch for batch in adapter.snapshot().batch_jobs}
    element = found["68[2]"]
    assert (element.name, element.user, element.partition, element.nodes) == ("arr", "alice", "harvest", ("pn1",))


def test_what_became_of_ended_batch_jobs_is_asked_by_their_ids_whatever_else_is_unknown(fake_pbs, adapter, monkeypatch):
    for code in ("0", "153", "35"):
        monkeypatch.setenv("QSTAT_RC", code)
        found = {batch.batch_job_id: batch.state for batch in adapter.ended(["113", "1"])}
        assert (found["113"], found["1"]) == (BatchState.TIMEOUT, BatchState.CANCELLED)
    assert all(call.startswith("-x -f -F dsv -D ") and call.endswith("113 1") for call in fake_pbs.calls("qstat"))
    monkeypatch.setenv("QSTAT_RC", "255")
    with pytest.raises(SchedulerUnavailable, match="ended with 255"):
        adapter.ended(["113"])
    with pytest.raises(ValueError, match="not the id of a PBS batch job"):
        adapter.ended(["113", "-u"])


def test_a_queue_that_nobody_told_of_is_asked_for_again_but_not_at_every_look(fake_pbs, adapter, monkeypatch):
    adapter.snapshot()
    fake_pbs.queue.write_text(fake_pbs.queue.read_text().replace("queue=workq", "queue=brandnew"))
    adapter.snapshot()
    adapter.snapshot()
    assert len(fake_pbs.calls("qmgr")) == 2  # what is young stays
    monkeypatch.setattr(slow_look, "_DOUBT_S", 0.0)  # a minute has passed
    adapter.snapshot()
    assert len(fake_pbs.calls("qmgr")) == 4


def test_what_cannot_be_read_is_said_once(fake_pbs, adapter, caplog):
    fake_pbs.queue.write_text(fake_pbs.queue.read_text().replace("walltime=00:15:00", "walltime=mañana", 1))
    for _ in range(3):
        snapshot = adapter.snapshot()
    odd = [batch for batch in snapshot.batch_jobs if batch.state is BatchState.UNKNOWN]
    assert len(odd) == 1
    assert [record.getMessage()[:20] for record in caplog.records].count("pbs.odd records=1: t") == 1


@pytest.mark.parametrize("command", ["qstat", "pbsnodes", "qmgr", "pbs_rstat"])
@pytest.mark.parametrize(
    "script",
    ["exit 1", "echo 'Connection refused' >&2; exit 255", "echo garbage", "head -c 4000 /dev/urandom", "kill -9 $$"],
)
def test_a_look_that_failed_is_no_look(fake_pbs, adapter, command, script):
    fake_pbs.answers(command, script)
    with pytest.raises(SchedulerUnavailable):
        adapter.snapshot()


@pytest.mark.parametrize("command", ["qstat", "pbsnodes"])
def test_an_answer_that_is_cut_off_is_no_answer(fake_pbs, adapter, command):
    whole = fake_pbs.queue if command == "qstat" else fake_pbs.nodes
    whole.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(SchedulerUnavailable, match="cannot be read"):
        adapter.snapshot()


def test_a_command_that_hangs_is_given_up_and_killed_with_its_children(fake_pbs, adapter):
    fake_pbs.answers("qstat", f"sleep 60 & echo $! > {fake_pbs.folder}/child; wait")
    begun = time.monotonic()
    with pytest.raises(SchedulerUnavailable, match="did not answer within"):
        adapter.snapshot()
    assert time.monotonic() - begun < 6
    child = int((fake_pbs.folder / "child").read_text())
    deadline = time.monotonic() + 5  # its own end is init's to notice
    while psutil.pid_exists(child):
        assert time.monotonic() < deadline, "the child of the command outlived it"
        time.sleep(0.02)


def test_a_machine_without_pbs_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerAbsent, match="is it on the PATH"):
        PbsAdapter(work_dir=tmp_path).snapshot()


def test_a_pilot_is_submitted_with_what_its_order_says_and_nothing_of_the_daemons_secrets(
    fake_pbs, adapter, order, monkeypatch, tmp_path
):
    monkeypatch.setenv("AWS_SECRET", "s3cret")
    monkeypatch.setenv("PBS_CONF_FILE", "/etc/other.conf")
    assert adapter.submit(order) == "4711"
    found = fake_pbs.submitted()
    assert found[: found.index("--")][:5] == ["-f", "-N", "harvester-p1", "-q", "harvest"]
    assert found[-4:] == list(order.command)
    environment = dict(line.split("=", 1) for line in (fake_pbs.folder / "env").read_text().splitlines())
    assert "AWS_SECRET" not in environment
    assert environment["PBS_CONF_FILE"] == "/etc/other.conf"
    assert not [path for path in (tmp_path / "psij").rglob("*") if path.is_file()]


def test_a_submission_that_is_not_answered_may_exist_and_one_that_is_refused_does_not(fake_pbs, adapter, order):
    fake_pbs.answers("qsub", NO_SERVER)
    with pytest.raises(SchedulerUnavailable, match="it may exist"):
        adapter.submit(order)
    fake_pbs.answers("qsub", "sleep 60")
    with pytest.raises(SchedulerUnavailable, match="did not answer within"):
        adapter.submit(order)
    fake_pbs.answers("qsub", "echo 'qsub: Bad UID for job execution' >&2; exit 175")
    with pytest.raises(SubmissionRejected, match="Bad UID for job execution"):
        adapter.submit(order)


def test_what_is_over_is_no_error_of_a_cancellation(fake_pbs, adapter):
    fake_pbs.answers("qdel", "echo 'qdel: Unknown Job Id 5.vm' >&2; exit 153")
    adapter.cancel("4", "5")
    assert fake_pbs.calls("qdel") == ["4 5"]
    fake_pbs.answers("qdel", NO_SERVER)
    with pytest.raises(SchedulerUnavailable, match="Connection refused"):
        adapter.cancel("4")


def test_pending_pilots_are_held_and_released_in_one_command(fake_pbs, adapter):
    adapter.hold("3", "4")
    adapter.release("4")
    assert (fake_pbs.calls("qhold"), fake_pbs.calls("qrls")) == (["3 4"], ["4"])
    with pytest.raises(ValueError, match="not the id of a PBS batch job"):
        adapter.hold("3; rm")
    fake_pbs.answers("qhold", "echo 'qhold: Job has finished' >&2; exit 35")
    adapter.hold("3")
    fake_pbs.answers("qhold", NO_SERVER)
    with pytest.raises(SchedulerUnavailable):
        adapter.hold("3")


def test_excluded_nodes_are_kept_off_by_naming_another_one_that_has_room(fake_pbs, adapter, order):
    adapter.snapshot()  # pn1 and pn3 have a free cpu each, pn4 five
    first = msgspec.structs.replace(order, exclude=("pn1",))
    chosen = []
    for _ in range(2):
        adapter.submit(first)
        chosen += [word for word in fake_pbs.submitted() if word.startswith("select=")]
    assert chosen == ["select=1:ncpus=1:host=pn3", "select=1:ncpus=1:host=pn4"]
    with pytest.raises(SubmissionRejected, match="no other node of queue harvest has room for it now"):
        adapter.submit(first)
    adapter.snapshot()  # a new look, a new choice
    adapter.submit(first)
    assert len(fake_pbs.calls("qsub")) == 3


def test_no_node_is_chosen_that_somebody_has_before_the_pilot_would_end(fake_pbs, adapter, order):
    def at(seconds):
        return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(time.time() + seconds))

    told = f"Resv ID: R9.vm\nreserve_state = RESV_CONFIRMED\nreserve_start = {at(600)}\nreserve_end = {at(900)}"
    fake_pbs.answers("pbs_rstat", f"echo '{told}\nresv_nodes = (pn3:ncpus=4)'")
    adapter.snapshot()
    adapter.submit(msgspec.structs.replace(order, exclude=("pn1",)))  # for 14 min
    assert "select=1:ncpus=1:host=pn4" in fake_pbs.submitted()
    adapter.submit(msgspec.structs.replace(order, exclude=("pn1",), walltime=timedelta(minutes=5)))
    assert "select=1:ncpus=1:host=pn3" in fake_pbs.submitted()


@pytest.mark.parametrize(("preempt_order", "expected"), [("D", "y"), ("R", "y"), ("RD", "n")])
def test_pilots_are_rerunnable_unless_the_site_would_requeue_where_it_can_delete(
    fake_pbs, adapter, order, preempt_order, expected
):
    fake_pbs.sched.write_text(
        fake_pbs.sched.read_text().replace("preempt_order = D", f"preempt_order = {preempt_order}")
    )
    adapter.snapshot()
    adapter.submit(order)
    found = fake_pbs.submitted()
    assert found[found.index("-r") + 1] == expected


def test_a_refusal_has_the_queues_asked_anew_because_their_limits_may_have_changed(
    fake_pbs, adapter, order, monkeypatch
):
    def longest():
        return adapter.snapshot().partition("harvest").max_time

    monkeypatch.setattr(slow_look, "_DOUBT_S", 0.0)
    before = longest()
    text = fake_pbs.queues.read_text()
    lower = "Queue: harvest\x1fresources_max.walltime=00:03:00\x1f"
    fake_pbs.queues.write_text(text.replace("Queue: harvest\x1f", lower))
    assert longest() == before
    fake_pbs.answers("qsub", "echo 'qsub: Job violates queue and/or server resource limits' >&2; exit 188")
    with pytest.raises(SubmissionRejected, match="violates queue"):
        adapter.submit(order)
    assert longest() == timedelta(minutes=3)


def test_variables_that_a_pilot_gets_are_named_by_the_site(fake_pbs, tmp_path, order, monkeypatch):
    monkeypatch.setenv("MODULES", "gcc")
    PbsAdapter(work_dir=tmp_path / "psij", exported=("MODULES", "NOT_SET")).submit(order)
    assert "MODULES=gcc" in fake_pbs.submitted()
    assert not any(word.startswith(("NOT_SET", "PATH=")) for word in fake_pbs.submitted())
    assert os.environ["PATH"].startswith(str(fake_pbs.folder))
