"""The PBS adapter on a real PBS: pilots in, ordinary batch jobs take their nodes back, and what the snapshots say."""

import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from support.pbs import OTHERS, PILOTS, AsUser, processes, wait_for

from harvester.domain.cluster.ports import PilotOrder, SubmissionRejected
from harvester.domain.cluster.snapshot import BatchState, NodeState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.pbs.adapter import PbsAdapter

pytestmark = pytest.mark.pbs

# Writes what it is and every signal with its time, and leaves at the first SIGTERM.
PILOT = """
import json, os, signal, sys, time
log = open(sys.argv[1], "a", buffering=1)
def told(number, frame):
    log.write(f"{number} {time.time()}\\n")
    if number == signal.SIGTERM:
        sys.exit(0)
signal.signal(signal.SIGTERM, told)
signal.signal(signal.SIGCONT, told)
own = {"pid": os.getpid(), "sid": os.getsid(0), "argv": sys.argv[1:], "environment": dict(os.environ)}
log.write(json.dumps(own) + "\\n")
while True:
    time.sleep(60)
"""
STATES = {"D": BatchState.PREEMPTED, "R": BatchState.PREEMPTED}


@pytest.fixture
def adapter(pbs, work):
    return AsUser(PILOTS, lambda: PbsAdapter(work_dir=work / "psij", cache_for=timedelta(0)))


@pytest.fixture
def order(work):
    """Return a function that makes an order for a pilot as large as a node."""
    (work / "pilot.py").write_text(PILOT)

    def make(name: str, **changed) -> PilotOrder:
        fields = {
            "pilot_id": name,
            "name": f"harvester-{name}",
            "partition": "harvest",
            "resources": Resources(cpus=2, memory_mb=500),
            "walltime": timedelta(minutes=14),
            "command": (sys.executable, str(work / "pilot.py"), str(work / f"{name}.log")),
            "output": work / f"{name}.out",
        }
        return PilotOrder(**(fields | changed))

    return make


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def told(path: Path) -> dict[int, float]:
    """Return when a pilot was first told each signal."""
    found: dict[int, float] = {}
    for line in lines(path):
        number, _, at = line.partition(" ")
        if number.isdecimal():
            found.setdefault(int(number), float(at))
    return found


def job(adapter: PbsAdapter, batch_job_id: str):
    """Return a batch job as the snapshot has it, or else as it ended."""
    seen = (job for job in adapter.snapshot().batch_jobs if job.batch_job_id == batch_job_id)
    return next(seen, None) or next(iter(adapter.ended([batch_job_id])), None)


def node(adapter: PbsAdapter, name: str):
    return next(node for node in adapter.snapshot().nodes if node.name == name)


def reserve(pbs, starts_at: int, *options: str) -> None:
    """Reserve nodes for a minute, and wait until PBS has confirmed it."""
    begin, end = (time.strftime("%Y%m%d%H%M.%S", time.localtime(at)) for at in (starts_at, starts_at + 60))
    pbs.run("pbs_rsub", "-R", begin, "-E", end, "-I", "20", *options, user=OTHERS)


def running(adapter, order, work, *names, **changed):
    """Submit pilots, wait until each runs, and return their batch jobs' ids."""
    ids = {name: adapter.submit(order(name, **changed)) for name in names}
    wait_for(lambda: all(lines(work / f"{name}.log") for name in names))
    return ids


# ---- looking ---------------------------------------------------------------------------------------------------------


def test_idle_nodes_are_seen_with_what_they_have(pbs, adapter):
    snapshot = adapter.snapshot()
    assert tuple(node.name for node in snapshot.nodes) == pbs.nodes
    assert {node.state for node in snapshot.nodes} == {NodeState.IDLE}
    expected = Resources(cpus=pbs.cpus, gpus=pbs.gpus, memory_mb=pbs.memory_mb)
    assert {node.free for node in snapshot.nodes} == {expected}
    assert {"prime", "harvest", "express"} <= set(snapshot.nodes[0].partitions)
    assert snapshot.scheduler.startswith("pbs 23.")


def test_pilots_of_a_queue_with_a_soft_limit_are_preemptible_and_those_of_an_express_queue_are_not(pbs, adapter):
    snapshot = adapter.snapshot()
    harvest, express = snapshot.partition("harvest"), snapshot.partition("express")
    assert harvest.is_preemptible
    assert (harvest.grace_time, harvest.max_time) == (timedelta(seconds=60), timedelta(hours=2))
    assert not express.is_preemptible
    assert "express queue itself" in express.why_not
    assert express.priority_tier > snapshot.partition("prime").priority_tier > harvest.priority_tier


def test_without_soft_limits_only_express_jobs_take_pilots_and_the_queue_says_so(pbs, adapter):
    pbs.qmgr("unset queue harvest max_run_soft")
    harvest = adapter.snapshot().partition("harvest")
    assert not harvest.is_preemptible
    assert harvest.why_not


def test_a_look_takes_few_commands_and_a_glance_one(pbs, adapter):
    before = adapter.commands
    adapter.snapshot()
    look = adapter.commands - before
    adapter.glance()
    assert adapter.commands - before - look == 1
    assert look <= 6


def test_a_look_shows_what_pending_batch_jobs_need_and_wait_for(pbs, adapter):
    pbs.prime("-N", "full", nodes=4)
    pbs.prime("-N", "pair", "-l", "place=scatter:excl", nodes=2)
    pbs.qsub("-N", "gpus", "-q", "prime", "-l", "select=1:ncpus=2:ngpus=2:mem=700mb", "-l", "walltime=00:05:00")
    pbs.qsub("-N", "picky", "-q", "prime", "-l", "select=1:ncpus=1:host=n3")
    pbs.qsub("-N", "array", "-q", "prime", "-J", "1-9", "-l", "select=1:ncpus=1")
    pbs.qsub("-N", "held", "-q", "prime", "-h")
    pbs.qsub("-N", "later", "-q", "prime", "-a", "2359")
    first = pbs.qsub("-N", "first", "-q", "prime")
    pbs.qsub("-N", "after", "-q", "prime", "-W", f"depend=afterok:{first}")
    names = {"full", "pair", "gpus", "picky", "array", "held", "later", "first", "after"}
    found = wait_for(
        lambda: (
            (seen := {job.name: job for job in adapter.snapshot().batch_jobs}).keys() == names
            and all(seen[name].reason for name in ("pair", "gpus", "picky"))
            and seen
        )
    )
    glimpsed = {job.name: job for job in adapter.glance()}
    assert {name: job.state for name, job in glimpsed.items()} == {name: job.state for name, job in found.items()}
    assert found["full"].state is BatchState.RUNNING
    assert sorted(found["full"].nodes) == list(pbs.nodes)
    assert 0 < found["full"].end_at - time.time() <= 1200
    assert (found["pair"].node_count, found["pair"].is_exclusive) == (2, True)
    assert found["gpus"].each == Resources(cpus=2, gpus=2, memory_mb=700)
    assert found["gpus"].limit == timedelta(minutes=5)
    assert found["picky"].required_nodes == ("n3",)
    assert found["array"].elements == 9
    waiting = {name for name, job in found.items() if job.waits_for is WaitsFor.NODES and name != "full"}
    assert waiting == {"pair", "gpus", "picky", "array", "first"}
    assert {found[name].waits_for for name in ("held", "later", "after")} == {WaitsFor.OTHER}
    assert [found[name].is_held for name in ("held", "later", "after")] == [True, False, False]


def test_times_are_right_in_any_time_zone_of_server_and_daemon(pbs, adapter, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    batch_job = pbs.prime()
    wait_for(lambda: pbs.has_begun(batch_job))
    seen = job(adapter, batch_job)
    assert abs(seen.start_at - time.time()) < 10
    assert abs(seen.end_at - time.time() - 1200) < 10
    assert abs(seen.submitted_at - time.time()) < 10


def test_the_free_cpus_of_a_node_that_somebody_has_for_himself_are_not_idle(pbs, adapter):
    pbs.qsub("-q", "prime", "-l", "select=1:ncpus=1:host=n1", "-l", "place=excl")
    pbs.qsub("-q", "prime", "-l", "select=1:ncpus=1:host=n2")
    wait_for(lambda: pbs.node_states()["n1"] == "job-exclusive")
    nodes = {node.name: node for node in adapter.snapshot().nodes}
    assert (nodes["n1"].state, nodes["n1"].free.cpus) == (NodeState.ALLOCATED, 0)
    assert (nodes["n2"].state, nodes["n2"].free.cpus) == (NodeState.MIXED, 1)


def test_an_offline_node_says_why_it_is_left_and_a_dead_one_is_down(pbs, adapter):
    pbs.qmgr('set node n2 comment = "disk swap [mon@9], state=free"', "set node n2 state = offline")
    assert node(adapter, "n2").state is NodeState.DRAINED
    assert "disk swap [mon@9], state=free" in node(adapter, "n2").leaving
    assert not node(adapter, "n1").leaving
    pbs.verb("stop", "n3")
    wait_for(lambda: node(adapter, "n3").state is NodeState.DOWN, 30)


def test_the_servers_restart_is_no_reason_to_leave_a_node(pbs, adapter):
    pbs.verb("stop", "server")
    pbs.verb("start", "server")
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        assert not any(node.leaving for node in adapter.snapshot().nodes)
        time.sleep(1)


def test_a_reservation_is_seen_before_it_begins_and_its_nodes_are_taken_then(pbs, adapter):
    starts_at = int(time.time()) + 75
    reserve(pbs, starts_at, "-l", "select=1:ncpus=2:host=n4", "-l", "place=excl")
    (reservation,) = wait_for(lambda: adapter.snapshot().reservations)
    assert reservation.nodes == ("n4",)
    assert (reservation.start_at, reservation.end_at) == (starts_at, starts_at + 60)
    assert node(adapter, "n4").state is NodeState.IDLE
    wait_for(lambda: node(adapter, "n4").state is NodeState.RESERVED, 90)
    assert node(adapter, "n3").state is NodeState.IDLE


def test_a_planned_batch_job_shows_its_start_and_its_nodes(pbs, adapter):
    pbs.tell_sched(strict_ordering="true\tALL")
    pbs.qmgr("set server backfill_depth = 2")
    pbs.prime(nodes=4)
    waiting = pbs.prime(nodes=2)
    planned = wait_for(lambda: (found := job(adapter, waiting)) and found.start_at and found, 20)
    assert planned.state is BatchState.PENDING
    assert abs(planned.start_at - time.time() - 1200) < 20
    assert len(planned.nodes) == 2


def test_nobodys_variables_comment_or_name_hide_a_pilot(pbs, adapter, order):
    latin = os.fsdecode(b"A=gr\xfc\xdfe|b\x1fc")
    pbs.qsub("-N", "a.b-c_d+e", "-h", "-v", latin, "-A", 'x"y|job_state=R')
    pbs.qsub("-N", "1e5", "-h", "-v", "A=007,B={}")
    odd = pbs.qsub("-h")
    pbs.run("qalter", "-W", "comment=two\nlines | Job Id: 1.head", odd)
    mine = order("p")
    batch_job_id = adapter.submit(mine)
    assert {job.name for job in adapter.snapshot().batch_jobs} >= {"a.b-c_d+e", "1e5", mine.name}
    assert job(adapter, batch_job_id).name == mine.name
    assert {job.user for job in adapter.glance()} == {PILOTS, OTHERS}


def test_hidden_batch_jobs_of_others_are_not_taken_for_none(pbs, adapter):
    pbs.set("server query_other_jobs", "False")
    others = pbs.prime("-l", "place=scatter:excl", nodes=2)
    mine = pbs.qsub("-q", "prime", "-h", user=PILOTS)
    wait_for(lambda: pbs.has_begun(others))
    snapshot, glimpsed, ended = adapter.snapshot(), adapter.glance(), adapter.ended([others])
    assert {job.batch_job_id for job in glimpsed} == {mine}
    assert mine in {job.batch_job_id for job in snapshot.batch_jobs}
    taken = [node for node in snapshot.nodes if node.state is NodeState.ALLOCATED]
    assert [node.free.cpus for node in taken] == [0, 0]
    assert not ended


# ---- pilots ----------------------------------------------------------------------------------------------------------


def test_a_pilot_is_the_leader_of_its_session_and_gets_no_secret(pbs, adapter, order, work, monkeypatch):
    monkeypatch.setenv("HARVESTER_SECRET", "hush")
    arguments = ("two words", "$HOME `id`", 'say "hi"', "back\\slash", "ü")
    ids = running(adapter, order, work, "plain")
    command = (*order("p").command, *arguments)
    adapter.submit(order("p", command=command))
    wait_for(lambda: lines(work / "p.log"))
    own = json.loads(lines(work / "p.log")[0])
    assert own["pid"] == own["sid"]
    assert tuple(own["argv"][1:]) == arguments
    assert own["environment"]["HOME"]
    assert "/bin" in own["environment"]["PATH"]
    assert "hush" not in json.dumps(own["environment"])
    assert "hush" not in pbs.run("qstat", "-f")
    assert psutil.Process(own["pid"]).ppid() != 1
    seen = job(adapter, ids["plain"])
    assert seen.state is BatchState.RUNNING
    assert seen.partition == "harvest"
    assert len(seen.nodes) == 1
    assert seen.nodes[0] in pbs.nodes
    assert seen.limit == timedelta(minutes=14)
    assert abs(seen.end_at - seen.start_at - 14 * 60) < 1


def test_a_pilot_gets_its_gpus_and_memory_and_goes_where_it_is_sent(pbs, adapter, order, work):
    ids = running(
        adapter, order, work, "p", node="n3", resources=Resources(cpus=1, gpus=2, memory_mb=1000)
    )  # fmt: skip
    n3 = node(adapter, "n3")
    assert job(adapter, ids["p"]).nodes == ("n3",)
    assert n3.total.gpus - n3.free.gpus == 2
    assert n3.total.memory_mb - n3.free.memory_mb == 1000
    assert n3.total.cpus - n3.free.cpus == 1


def test_a_refused_pilot_is_rejected_in_pbs_words(pbs, adapter, order):
    with pytest.raises(SubmissionRejected, match="Unknown queue"):
        adapter.submit(order("p", partition="nowhere"))
    with pytest.raises(SubmissionRejected, match="resource limits"):
        adapter.submit(order("p", walltime=timedelta(hours=3)))


def test_a_pilots_exit_code_is_its_batch_jobs(pbs, adapter, order):
    failed = adapter.submit(order("p", command=("/bin/false",)))
    wait_for(lambda: job(adapter, failed).state is BatchState.FAILED)
    finished = adapter.submit(order("q", command=("/bin/true",)))
    wait_for(lambda: job(adapter, finished).state is BatchState.COMPLETED)


def test_a_held_pilot_does_not_start_until_it_is_released(pbs, adapter, order, work):
    full = pbs.prime("-l", "place=scatter:excl", nodes=4)
    wait_for(lambda: pbs.has_begun(full))
    waiting = adapter.submit(order("p"))
    adapter.hold(waiting)
    assert job(adapter, waiting).is_held
    pbs.run("qdel", full)
    wait_for(lambda: set(pbs.node_states().values()) == {"free"}, 40)
    time.sleep(2)
    assert not lines(work / "p.log")
    adapter.release(waiting)
    wait_for(lambda: lines(work / "p.log"))
    assert not job(adapter, waiting).is_held


def test_a_cancelled_pilot_hears_of_it_at_once_and_is_gone(pbs, adapter, order, work, figures):
    ids = running(adapter, order, work, "p", "q")
    asked_at = time.time()
    adapter.cancel(*ids.values())
    wait_for(lambda: {job(adapter, each).state for each in ids.values()} == {BatchState.CANCELLED})
    assert told(work / "p.log")[signal.SIGTERM] - asked_at < 1
    assert not processes(str(work / "pilot.py"))
    adapter.cancel(*ids.values())  # they are over: no error
    figures.add("PBS: qdel until the pilot hears, s", told(work / "p.log")[signal.SIGTERM] - asked_at)


def test_a_pilot_cancelled_in_the_queue_is_cancelled(pbs, adapter, order):
    pbs.prime("-l", "place=scatter:excl", nodes=4)
    waiting = adapter.submit(order("p"))
    adapter.cancel(waiting)
    wait_for(lambda: job(adapter, waiting).state is BatchState.CANCELLED)


def test_a_pilot_that_overstays_its_walltime_is_timed_out(pbs, adapter, order, work, figures):
    ids = running(adapter, order, work, "p", walltime=timedelta(seconds=12))
    begun_at = time.time()
    wait_for(lambda: job(adapter, ids["p"]).state is BatchState.TIMEOUT, 60)
    figures.add("PBS: walltime over until the pilot hears, s", told(work / "p.log")[signal.SIGTERM] - begun_at - 12)


def test_a_pilot_with_a_least_walltime_gets_what_fits_before_a_reservation(pbs, adapter, order, work):
    starts_at = int(time.time()) + 120
    reserve(pbs, starts_at, "-l", "select=4:ncpus=2", "-l", "place=scatter:excl")
    ids = running(
        adapter, order, work, "p", walltime=timedelta(minutes=30), time_min=timedelta(seconds=30)
    )  # fmt: skip
    seen = job(adapter, ids["p"])
    assert adapter.snapshot().cuts_time_min
    assert timedelta(seconds=90) < seen.limit <= timedelta(seconds=120)
    assert seen.end_at <= starts_at + 1
    waiting = adapter.submit(order("q", walltime=timedelta(minutes=30)))
    time.sleep(3)
    assert job(adapter, waiting).state is BatchState.PENDING


# ---- evictions -------------------------------------------------------------------------------------------------------


def evict(pbs, figures, work, by: str) -> None:
    """Let an ordinary batch job take all nodes of running pilots, and hold how soon they hear and it runs."""
    submitted_at, started = time.time(), work / "prime"
    pbs.qsub(
        "-q", "prime", "-l", f"select={len(pbs.nodes)}:ncpus=2", "-l", "place=scatter:excl", "-l", "walltime=60",
        command=("/bin/sh", "-c", f"date +%s.%N > {started}.new && mv {started}.new {started}"),
    )  # fmt: skip
    wait_for(lambda: lines(started), 20)
    heard = [told(work / f"{name}.log")[signal.SIGTERM] - submitted_at for name in pbs.nodes]
    waited = float(lines(started)[0]) - submitted_at
    figures.add(f"PBS: prime job over 4 nodes submitted until its pilots hear (preempt by {by}), s", *heard)
    figures.add(f"PBS: prime job over 4 nodes submitted until it runs (preempt by {by}), s", waited)
    assert max(heard) < 1
    assert waited < 3


def test_pilots_deleted_for_a_prime_job_hear_of_it_at_once_and_were_preempted(
    pbs, adapter, order, work, figures
):  # fmt: skip
    ids = running(adapter, order, work, *pbs.nodes)
    evict(pbs, figures, work, "D")
    wait_for(lambda: {job(adapter, each).state for each in ids.values()} == {BatchState.PREEMPTED})


def test_pilots_requeued_for_a_prime_job_hear_of_it_at_once_and_do_not_start_again(
    pbs, adapter, order, work, figures
):  # fmt: skip
    pbs.set("sched preempt_order", "R")
    adapter.snapshot()
    ids = running(adapter, order, work, *pbs.nodes)
    evict(pbs, figures, work, "R")
    wait_for(lambda: all(job(adapter, each).state.is_ended for each in ids.values()), 60)
    begun = [line for name in pbs.nodes for line in lines(work / f"{name}.log") if line.startswith("{")]
    assert len(begun) == len(pbs.nodes)


def test_a_prime_job_takes_no_more_pilots_than_it_needs(pbs, adapter, order, work):
    ids = running(adapter, order, work, *pbs.nodes)
    prime = pbs.prime("-l", "place=excl")
    wait_for(lambda: pbs.has_begun(prime))
    time.sleep(1)
    states = [job(adapter, each).state for each in ids.values()]
    assert sorted(states) == sorted([BatchState.PREEMPTED, *[BatchState.RUNNING] * 3])


def test_a_suspended_pilot_is_seen_and_wakes_when_its_node_is_free_again(pbs, adapter, order, work):
    pbs.set("sched preempt_order", "S")
    ids = running(adapter, order, work, *pbs.nodes)
    prime = pbs.prime("-l", "place=scatter", nodes=4, seconds=6)
    wait_for(lambda: pbs.has_begun(prime))
    assert {job(adapter, each).state for each in ids.values()} == {BatchState.SUSPENDED}
    assert not any(signal.SIGTERM in told(work / f"{name}.log") for name in pbs.nodes)
    wait_for(lambda: all(signal.SIGCONT in told(work / f"{name}.log") for name in pbs.nodes), 40)
    assert {job(adapter, each).state for each in ids.values()} == {BatchState.RUNNING}


def test_a_prime_job_leaves_pilots_alone_while_nodes_are_free(pbs, adapter, order, work):
    ids = running(adapter, order, work, "n1", "n2")
    prime = pbs.qsub("-q", "prime", "-l", "select=2:ncpus=2", "-l", "place=scatter")
    wait_for(lambda: pbs.has_begun(prime))
    assert {job(adapter, each).state for each in ids.values()} == {BatchState.RUNNING}


def test_an_express_job_takes_pilots_where_no_soft_limits_are(pbs, adapter, order, work):
    pbs.qmgr("unset queue harvest max_run_soft")
    ids = running(adapter, order, work, *pbs.nodes)
    prime = pbs.prime("-l", "place=excl")
    time.sleep(2)
    assert not pbs.has_begun(prime)
    express = pbs.qsub("-q", "express", "-l", "select=1:ncpus=2")
    wait_for(lambda: pbs.has_begun(express))
    wait_for(lambda: BatchState.PREEMPTED in {job(adapter, each).state for each in ids.values()})


def test_a_server_that_is_dead_or_hangs_is_unavailable_and_nothing_is_concluded(pbs, order, work):
    from harvester.domain.cluster.ports import SchedulerUnavailable

    patience = timedelta(seconds=2)
    adapter = AsUser(
        PILOTS, lambda: PbsAdapter(work_dir=work / "psij", cache_for=timedelta(0), command_timeout=patience)
    )
    pid = int((pbs.folder / "home" / "server_priv" / "server.lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(SchedulerUnavailable):
            adapter.snapshot()
        with pytest.raises(SchedulerUnavailable):
            adapter.submit(order("hung"))
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(3)
    assert "harvester-hung" not in {job.name for job in adapter.glance()}, "submitted later all the same"
    pbs.verb("stop", "server")
    for ask in (adapter.snapshot, adapter.glance, lambda: adapter.submit(order("q")), lambda: adapter.cancel("1")):
        with pytest.raises(SchedulerUnavailable):
            ask()
