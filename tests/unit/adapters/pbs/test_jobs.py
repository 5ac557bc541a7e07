"""PBS's batch jobs: recorded answers of OpenPBS 23.06.06, read."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.pbs.jobs import batch_jobs
from harvester_adapters.pbs.states import batch_state, is_preempted, waits_for

SAMPLES = Path(__file__).parent / "samples"
S, W = BatchState, WaitsFor


def recorded(name, host_of=None):
    text = (SAMPLES / f"{name}.qstat.txt").read_bytes().decode(errors="replace")
    return {batch.name: batch for batch in batch_jobs(text, host_of)}


def line(name="1.vm", **attributes):
    fields = {"Job_Name": "n", "job_state": "Q", "queue": "workq", **attributes}
    return "\x1f".join([f"Job Id: {name}", *(f"{key}={value}" for key, value in fields.items())]) + "\n"


def one(**attributes):
    (found,) = batch_jobs(line(**attributes))
    return found


def test_every_state_of_a_queue_is_told():
    found = recorded("states")
    assert {name: (batch.state, batch.waits_for) for name, batch in found.items() if batch.state is S.PENDING} == {
        "arrstep": (S.PENDING, W.NODES),  # two elements of it wait
        "arrheld": (S.PENDING, W.OTHER),
        "inroute": (S.PENDING, W.NODES),  # that its queue has no nodes, the queues tell
        "stopped": (S.PENDING, W.OTHER),
        "waits": (S.PENDING, W.OTHER),
        "depok": (S.PENDING, W.OTHER),
        "depnotok": (S.PENDING, W.OTHER),
        "depany": (S.PENDING, W.OTHER),
        "heldu": (S.PENDING, W.OTHER),
        "run1": (S.PENDING, W.NODES),
        "toobig": (S.PENDING, W.OTHER),
    }
    assert {name for name, batch in found.items() if batch.state is S.RUNNING} == {
        "arr", "routed", "depbase", "depafter", "runlong", "script",
    }  # fmt: skip
    assert {name for name, batch in found.items() if batch.is_held} == {"arrheld", "heldu"}
    assert (found["arrstep"].elements, found["arrheld"].elements) == (2, 2)


def test_what_a_running_batch_job_has_is_told_with_its_end_by_limit():
    batch = recorded("states")["runlong"]
    assert (batch.batch_job_id, batch.user, batch.partition, batch.nodes) == ("85", "alice", "workq", ("pn3",))
    assert batch.requested == Resources(cpus=1)
    assert batch.limit == timedelta(minutes=15)
    assert batch.start_at == 1795627994.0  # Wed Nov 25 17:33:14 2026 UTC
    assert batch.end_at == 1795627994.0 + 900


def test_what_a_pending_batch_job_needs_of_each_node_is_its_smallest_chunk():
    batch = recorded("states")["run1"]  # select=2:ncpus=1:ngpus=1+1:ncpus=2, place=scatter
    assert batch.requested == Resources(cpus=4, gpus=2)
    assert batch.each == Resources(cpus=1)
    assert batch.node_count == 3


@pytest.mark.parametrize(
    ("place", "nodes", "each", "alone"),
    [
        ("pack", 1, Resources(cpus=6), False),
        ("free", 1, Resources(cpus=2), False),
        ("scatter:excl", 3, Resources(cpus=2), True),
        ("scatter:exclhost", 3, Resources(cpus=2), True),
    ],
)
def test_how_chunks_are_placed_says_how_many_nodes_they_take_at_least(place, nodes, each, alone):
    asked = {"Resource_List.place": place, "Resource_List.select": "3:ncpus=2", "Resource_List.ncpus": "6"}
    batch = one(**asked, **{"Resource_List.nodect": "3"})
    assert (batch.node_count, batch.each, batch.is_exclusive) == (nodes, each, alone)


def test_what_chunks_ask_nodes_to_match_is_told_as_features_and_named_hosts_as_required():
    batch = one(**{"Resource_List.select": "1:ncpus=2:color=red:feat=True:scratch=10gb:host=pn1+1:color=red:vnode=v2"})
    assert batch.features == "color=red"
    assert batch.required_nodes == ("pn1", "v2")
    assert one(**{"Resource_List.select": "2:ncpus=1:feat=True:big=False"}).features == "feat=True"


def test_vnodes_are_told_as_their_hosts():
    where = {"exec_vnode": "(pn4[0]:ncpus=2+pn4[1]:ncpus=2)+(pn1:ncpus=1)", "job_state": "R"}
    (batch,) = batch_jobs(line(**where), {"pn4[0]": "pn4", "pn4[1]": "pn4"})
    assert batch.nodes == ("pn4", "pn1")


def test_only_a_top_job_that_waits_has_a_planned_start_and_nodes():
    found = recorded("planned")
    assert found["topT"].start_at == 1795629907.0  # Wed Nov 25 18:05:07 2026 UTC
    assert found["topT"].nodes == ("pn1", "pn2", "pn3")
    assert found["topT3"].nodes == ("pn1", "pn2")
    assert (found["long"].start_at, found["long"].nodes) == (None, ())


def test_what_stays_of_a_plan_on_a_batch_job_that_has_lost_its_place_is_no_plan():
    stale = {"estimated.exec_vnode": "(pn1:ncpus=4)", "estimated.start_time": "Wed Nov 25 18:05:07 2026"}
    at = 1795629907.0
    assert one(**stale, topjob="False").start_at is None
    assert one(**stale, topjob="True", job_state="H").nodes == ()
    assert one(**stale, topjob="True", job_state="R").start_at is None
    # `topjob` is shown to operators only; others go by the time.
    for topjob, now, expected in (({}, at + 50, at), ({}, at + 70, None), ({"topjob": "True"}, at + 70, at)):
        (batch,) = batch_jobs(line(**stale, **topjob), now=now)
        assert batch.start_at == expected


def test_a_batch_job_whose_walltime_pbs_chooses_has_the_longest_as_its_limit_until_it_runs():
    batch = recorded("planned")["stf1"]
    assert batch.limit == timedelta(hours=1)


def test_a_preemption_that_deletes_is_told_by_the_comment_only():
    found = recorded("preempt-D")
    assert {name: batch.state for name, batch in found.items()} == {
        "v1D": S.PREEMPTED, "v2D": S.RUNNING, "v3D": S.RUNNING, "x1D": S.RUNNING, "x2D": S.PENDING, "x3D": S.PENDING,
    }  # fmt: skip
    comment = "Job run at Wed Nov 25 at 17:49 on (pn2:ncpus=4) and terminated by Scheduler@vm"
    leaving = one(job_state="R", substate="42", comment=comment, mtime="Wed Nov 25 17:49:52 2026")
    assert (leaving.state, leaving.preempt_at) == (S.RUNNING, 1795628992.0)


def test_a_preemption_that_requeues_is_told_by_the_substate_and_then_by_the_exit_status():
    found = recorded("preempt-R")
    back, leaving, untouched = found["v1R"], found["v2R"], found["v3R"]
    assert (back.state, back.preempt_at is not None, back.nodes) == (S.PENDING, True, ())
    assert (leaving.state, leaving.preempt_at is not None, leaving.nodes) == (S.COMPLETING, True, ("pn2",))
    assert (untouched.state, untouched.preempt_at) == (S.RUNNING, None)


def test_a_suspension_is_no_preemption_and_no_end():
    found = recorded("preempt-S")
    assert {found[name].state for name in ("v1S", "v2S", "v3S")} == {S.SUSPENDED}
    assert found["v1S"].preempt_at is None
    assert found["v1S"].end_at is None  # suspended time is not charged
    assert found["x1S"].state is S.RUNNING


def test_ends_are_told_apart():
    text = (SAMPLES / "ended.qstat.txt").read_text()
    found = {batch.batch_job_id: batch.state for batch in batch_jobs(text)}
    assert found == {
        "1": S.CANCELLED,  # deleted while it was queued: no exit status
        "148": S.COMPLETED, "147": S.COMPLETED,
        "100": S.NODE_FAIL,  # its mom was restarted
        "104": S.NODE_FAIL,
        "103": S.CANCELLED,  # requeued after a node failure, then deleted
        "143": S.FAILED,  # no such program
        "656": S.CANCELLED, "127": S.CANCELLED, "110": S.CANCELLED, "111": S.CANCELLED, "105": S.CANCELLED,
        "109": S.CANCELLED, "107": S.CANCELLED, "136": S.CANCELLED,
        "117": S.FAILED, "2684": S.FAILED, "118": S.FAILED,
        "113": S.TIMEOUT,
        "79": S.CANCELLED,  # its dependency could no more be met
    }  # fmt: skip


def test_what_leaves_its_node_stays_on_it_until_it_has_gone():
    found = recorded("exiting")
    states = {name: batch.state for name, batch in found.items()}
    assert S.COMPLETING in states.values()
    assert S.SUSPENDED in states.values()
    deleted = one(job_state="R", substate="42", comment="Job run at … and terminated by alice@vm")
    assert (deleted.state, deleted.preempt_at) == (S.COMPLETING, None)


def test_a_batch_job_in_a_reservation_names_it():
    assert [batch.reservation for batch in recorded("exiting").values() if batch.reservation] == ["R5172"]


@pytest.mark.parametrize("letter", ["M", "?", "", "RR"])
def test_a_state_that_is_not_known_is_no_end(letter):
    assert batch_state(letter, "", "", "") is S.UNKNOWN


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("", W.NODES),
        ("Job run at Sat Nov 21 at 23:59 on (pn1:ncpus=1)", W.NODES),  # of the run before a requeue
        ("Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 16)", W.NODES),
        ("Not Running: Not enough free nodes available", W.NODES),
        ("Not Running: Job would conflict with reservation or top job", W.NODES),
        ("Can Never Run: Insufficient amount of resource: ncpus (R: 200 A: 16 T: 16)", W.OTHER),
        ("Not Running: Queue not started.", W.OTHER),
        ("Not Running: Job would cross dedicated time boundary", W.OTHER),
        ("Not Running: User has reached queue harvest running job limit.", W.OTHER),
        ("Not Running: Insufficient amount of server resource: lic", W.OTHER),
        ("Not Running: zażółć", W.UNKNOWN),
    ],
)
def test_the_schedulers_sentence_says_what_is_waited_for(comment, expected):
    assert waits_for("Q", comment) is expected


def test_a_limit_that_is_waited_for_is_told_in_the_schedulers_sentence():
    limit = "User has reached queue harvest running job limit."
    batch = one(comment=f"Not Running: {limit}")
    assert (batch.held_by_limit, batch.waits_for) == (limit, W.OTHER)
    assert one(comment="Not Running: Not enough free nodes available").held_by_limit == ""
    assert one(comment="Job run at the speed limit").held_by_limit == ""


def test_a_batch_job_whose_node_is_being_provisioned_is_booting():
    assert one(job_state="R", substate="71").is_booting
    assert not one(job_state="R", substate="42").is_booting


def test_only_what_has_not_ended_is_asked_to_leave():
    by_scheduler = "Job run at … and terminated by Scheduler@vm"
    assert is_preempted("R", "42", "", by_scheduler)
    assert is_preempted("R", "60", "", "")
    assert is_preempted("Q", "10", "-11", "")
    assert not is_preempted("F", "91", "0", by_scheduler)
    assert not is_preempted("Q", "10", "", "")


@pytest.mark.parametrize("number", ["14", "15", "20", "21", "82"])
def test_odd_names_variables_and_bytes_of_anybody_change_nothing(number):
    (batch,) = recorded(f"odd-{number}").values()
    assert (batch.batch_job_id, batch.user, batch.state) == (number, "alice", S.PENDING)


def test_a_delimiter_or_a_line_break_in_a_value_forges_no_attribute_and_no_batch_job():
    evil = "a\\\x1fjob_state=F\\\x1fExit_status=0\\nJob Id: 666.vm"
    found = batch_jobs(line(Variable_List=f"PBS_O_HOME=/x,A={evil}", comment="ends in a backslash \\\\"))
    assert [(batch.batch_job_id, batch.state) for batch in found] == [("1", S.PENDING)]


@pytest.mark.parametrize("name", ["123", "123.vm", "123.vm.example.org"])
def test_an_id_is_the_same_with_and_without_the_servers_domain(name):
    (batch,) = batch_jobs(line(name))
    assert batch.batch_job_id == "123"


def test_nobody_is_an_answer():
    assert batch_jobs("") == ()


@pytest.mark.parametrize(
    "text",
    [
        line()[:-1],  # cut off
        line() + "Job Id: 2.vm\x1fJob_Name=n",
        "qstat: something else\n",
        line("x.vm"),
    ],
)
def test_an_answer_that_is_not_understood_is_no_answer(text):
    with pytest.raises(SchedulerUnavailable, match=r"cannot be read, so the whole answer is ignored"):
        batch_jobs(text)


ODD = [
    {"job_state": "R", "stime": "gestern"},
    {"job_state": ""},
    {"Resource_List.walltime": "zwei"},
    {"Resource_List.ncpus": "9" * 30},
    {"Resource_List.select": "1:ncpus=viel"},
]


@pytest.mark.parametrize("attributes", ODD)
def test_one_odd_batch_job_hides_no_other_and_never_looks_ended(attributes):
    odd: list[str] = []
    found = batch_jobs(line("1.vm") + line("2.vm") + line("3.vm", Job_Name="mine", **attributes), odd=odd)
    assert [(batch.batch_job_id, batch.state) for batch in found[:2]] == [("1", S.PENDING), ("2", S.PENDING)]
    assert (found[2].batch_job_id, found[2].name, found[2].state) == ("3", "mine", S.UNKNOWN)
    assert len(odd) == 1
    # Where most are odd, the answer is in another format.
    with pytest.raises(SchedulerUnavailable, match="cannot be read"):
        batch_jobs(line("1.vm") + line("3.vm", **attributes))


def test_twenty_thousand_batch_jobs_are_read_within_a_second():
    attributes = {f"attribute_{number}": "x" * 20 for number in range(30)}
    text = "".join(
        line(
            f"{number}.vm", ctime="Wed Nov 25 17:33:14 2026", qtime="Wed Nov 25 17:33:14 2026", comment="Not Running",
            **{"Resource_List.select": "1:ncpus=1", "Resource_List.ncpus": "1"}, **attributes,
        )
        for number in range(1, 20_001)
    )  # fmt: skip
    begun = time.process_time()
    assert len(batch_jobs(text)) == 20_000
    assert time.process_time() - begun < 1.0
