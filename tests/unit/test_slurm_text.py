"""Slurm's text to records: on output recorded from a real Slurm, and on what could be taken for something else."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.domain.cluster import BatchState, NodeState
from harvester.domain.ports import SchedulerUnavailable
from harvester.domain.resources import Resources
from harvester_adapters import slurm_text

SAMPLES = Path(__file__).parent / "slurm_samples" / "22.05.8"
# Recorded on more versions than ours; lies beside the checkout on some machines, and is not needed.
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
HEADER = ["JOBID", *["X"] * 16]


def squeue(*rows: list[str], nonce: str = "nonce") -> str:
    return "".join(f"\x1f{nonce}".join(row) + f"\x1e{nonce}\n" for row in (HEADER, *rows))


def row(**changed: str) -> list[str]:
    fields = {
        "id": "7", "partition": "harvest", "user": "root", "state": "RUNNING", "reason": "None",
        "submit": "2026-11-22T01:00:00", "start": "2026-11-22T01:00:05", "end": "2026-11-22T01:10:05", "preempt": "N/A",
        "nodes": "1", "cpus": "2", "alloc": "cpu=2,mem=500M,node=1,billing=2", "per_node": "N/A", "per_job": "N/A",
        "list": "n1", "planned": "(null)", "name": "harvester-p",
    }  # fmt: skip
    return list((fields | changed).values())


def sample(name: str) -> str:
    return (SAMPLES / name).read_bytes().decode()


def recorded_jobs(situation: str):
    return {job.batch_job_id: job for job in slurm_text.batch_jobs(sample(f"{situation}.squeue.txt"), "nonce")}


def test_a_running_pilot_in_its_grace_time_shows_when_it_was_asked_to_leave_and_when_it_is_killed():
    pilot = recorded_jobs("grace")["3"]
    assert pilot.state is BatchState.RUNNING
    assert pilot.name == "harvester-P1"
    assert pilot.nodes == ("n2",)
    assert pilot.requested == Resources(cpus=4, gpus=1, memory_mb=400)
    assert pilot.preempt_at == 1795310014  # 2026-11-22T01:13:34Z
    assert pilot.end_at == pilot.preempt_at + 60


def test_a_pilot_that_left_within_its_grace_time_is_preempted_although_slurm_22_05_calls_it_completed():
    after = recorded_jobs("after")
    assert {after[key].state for key in ("3", "4")} == {BatchState.PREEMPTED}
    assert after["5"].state is BatchState.COMPLETED


def test_a_pending_batch_job_shows_what_backfill_planned():
    prime = recorded_jobs("grace")["7"]
    assert (prime.state, prime.reason, prime.node_count) == (BatchState.PENDING, "Resources", 2)
    assert prime.nodes == ("n2", "n3")
    assert prime.start_at == 1795310017


def test_a_name_with_delimiters_and_line_breaks_is_read_whole():
    assert recorded_jobs("grace")["6"].name == 'a|b\x1fc é\nnew "line"'


def test_recorded_nodes_show_state_total_and_free():
    n1, n2, _, n4 = slurm_text.nodes(sample("grace.node.txt"))
    assert (n1.name, n1.state, n1.partitions) == ("n1", NodeState.ALLOCATED, ("prime", "harvest"))
    assert n2.total == Resources(cpus=4, gpus=2, memory_mb=4000)
    assert n2.free == Resources(cpus=0, gpus=1, memory_mb=3600)
    # Its reason ends in "State=IDLE", which an admin may write.
    assert (n4.state, n4.free) == (NodeState.DRAINED, Resources(cpus=0))


def test_recorded_partitions_show_limit_grace_and_preemption():
    prime, harvest = slurm_text.partitions(sample("grace.partition.txt"))
    assert (prime.name, prime.max_time, prime.is_preemptible) == ("prime", None, False)
    assert (harvest.max_time, harvest.grace_time) == (timedelta(hours=2), timedelta(seconds=60))
    assert harvest.is_preemptible
    assert harvest.is_up


@given(name=st.text(), other=st.text())
@example(name="\x1fnonce", other="\x1enonce\n9\x1fnonce")  # guessed last time's
def test_no_name_can_forge_or_hide_a_batch_job(name, other):
    text = squeue(row(id="1", name=name), row(id="2", name=other), nonce="qwvzjk")
    if "qwvzjk" in name + other:
        return
    assert [job.name for job in slurm_text.batch_jobs(text, "qwvzjk")] == [name, other]


def test_an_empty_queue_is_no_batch_jobs():
    assert slurm_text.batch_jobs(squeue(), "nonce") == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "slurm_load_jobs error: Unexpected message received\n",
        squeue(row())[:-30],  # cut off
        squeue(row()[:-1]),  # a field too few
        squeue(row())[squeue().__len__() :],  # no header
        squeue(row(id="")),
        squeue(row(cpus="many", alloc="N/A")),
        squeue(row(start="yesterday")),
        squeue(row(list="n[1-")),
        squeue(row(alloc="cpu=2,mem=5X")),
        squeue(row(per_node="gres/gpu:2x")),
    ],
)
def test_a_misparse_is_never_an_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        slurm_text.batch_jobs(text, "nonce")


def test_the_error_names_the_line_that_was_not_understood():
    with pytest.raises(SchedulerUnavailable, match="harvester-p"):
        slurm_text.batch_jobs(squeue(row(nodes="?")), "nonce")
    with pytest.raises(SchedulerUnavailable, match="NodeName=n1 State=IDLE"):
        slurm_text.nodes("NodeName=n1 State=IDLE\n")


@pytest.mark.parametrize("text", ["", "No nodes in the system\n", "NodeName=n1 CPUTot=4\n", "garbage"])
def test_nodes_that_are_not_understood_are_no_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        slurm_text.nodes(text)


@pytest.mark.parametrize("text", ["", "PartitionName=x State=UP MaxTime=1:xx GraceTime=0 PreemptMode=OFF\n"])
def test_partitions_that_are_not_understood_are_no_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        slurm_text.partitions(text)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", BatchState.PENDING), ("CONFIGURING", BatchState.RUNNING), ("COMPLETING", BatchState.COMPLETING),
        ("PREEMPTED", BatchState.PREEMPTED), ("OUT_OF_MEMORY", BatchState.FAILED), ("NODE_FAIL", BatchState.NODE_FAIL),
        ("REQUEUE_HOLD", BatchState.PENDING), ("EXPEDITING", BatchState.UNKNOWN), ("", BatchState.UNKNOWN),
    ],
)  # fmt: skip
def test_state_words_of_batch_jobs(word, state):
    [job] = slurm_text.batch_jobs(squeue(row(state=word)), "nonce")
    assert job.state is state


def test_an_unknown_state_is_not_an_end():
    [job] = slurm_text.batch_jobs(squeue(row(state="SOMETHING_NEW")), "nonce")
    assert not job.state.is_ended


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("IDLE", NodeState.IDLE), ("IDLE+PLANNED", NodeState.IDLE), ("MIXED+PLANNED", NodeState.MIXED),
        ("IDLE+CLOUD", NodeState.IDLE), ("ALLOCATED", NodeState.ALLOCATED), ("IDLE+COMPLETING", NodeState.ALLOCATED),
        ("IDLE+RESERVED", NodeState.RESERVED), ("IDLE+DRAIN", NodeState.DRAINED), ("MIXED+DRAIN", NodeState.DRAINED),
        ("DOWN+NOT_RESPONDING", NodeState.DOWN), ("DOWN*+DRAIN", NodeState.DOWN), ("IDLE*", NodeState.DOWN),
        ("IDLE+POWERED_DOWN", NodeState.DOWN), ("FUTURE", NodeState.UNKNOWN), ("NEWWORD", NodeState.UNKNOWN),
    ],
)  # fmt: skip
def test_state_words_of_nodes(word, state):
    assert slurm_text.node_state(word) is state


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("", 0), ("(null)", 0), ("N/A", 0), ("gpu", 1), ("gpu:2", 2), ("gpu:a100", 1), ("gpu:a100:2(S:0-1)", 2),
        ("gpu:a100:2(S:0-1),gpu:h100:4(S:0,2)", 6), ("gpu:2(IDX:0-1)", 2), ("gpu:a100:0(IDX:N/A)", 0),
        ("gres:gpu:1", 1), ("gres/gpu:1", 1), ("gres/gpu:a100:3", 3), ("nic:2,gpu:1", 1), ("craynetwork:4", 0),
    ],
)  # fmt: skip
def test_gpus_in_every_form_of_gres(word, count):
    assert slurm_text.gpu_count(word) == count


@pytest.mark.parametrize(
    ("word", "length"),
    [
        ("UNLIMITED", None), ("30:00", timedelta(minutes=30)), ("02:00:00", timedelta(hours=2)),
        ("7-00:00:00", timedelta(days=7)), ("1-12:00:01", timedelta(days=1, hours=12, seconds=1)),
    ],
)  # fmt: skip
def test_limits(word, length):
    assert slurm_text.duration(word) == length


def test_memory_in_every_unit_is_mebibytes():
    assert [slurm_text.tres(f"mem={word}").memory_mb for word in ("500M", "2G", "0.50G", "1T", "2048K", "7")] == [
        500, 2048, 512, 1048576, 2, 7,
    ]  # fmt: skip


def test_gpus_count_over_all_nodes_of_a_batch_job():
    [job] = slurm_text.batch_jobs(squeue(row(nodes="3", per_node="gres/gpu:2", list="n[1-3]")), "nonce")
    assert (job.requested.gpus, job.nodes) == (6, ("n1", "n2", "n3"))


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("slurm-*/*/scontrol.node.oneline.txt")), ids=lambda p: p.parts[-3]
)
def test_nodes_recorded_on_other_versions_are_read(path):
    nodes = slurm_text.nodes(path.read_text())
    assert [node.name for node in nodes] == ["c1", "c2", "c3", "c4"]
    assert {node.total for node in nodes} == {Resources(cpus=4, gpus=2, memory_mb=4000)}
    assert all(node.state is not NodeState.UNKNOWN for node in nodes)
    if path.parent.name == "05_preempting_grace":
        assert [node.free.gpus for node in nodes] == [2, 2, 0, 0]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("slurm-*/*/scontrol.partition.oneline.txt")), ids=str)
def test_partitions_recorded_on_other_versions_are_read(path):
    found = {partition.name: partition for partition in slurm_text.partitions(path.read_text())}
    assert [name for name, partition in found.items() if partition.is_preemptible] == ["harvest", "hvrq", "hv0"]
    assert found["harvest"].grace_time == timedelta(seconds=60)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("slurm-*/*/squeue.o.txt")), ids=str)
def test_every_recorded_state_word_is_known(path):
    header, *lines = path.read_text().splitlines()
    column = header.split("|").index("STATE")
    for word in {line.split("|")[column] for line in lines}:
        [job] = slurm_text.batch_jobs(squeue(row(state=word)), "nonce")
        assert job.state is not BatchState.UNKNOWN


def test_reservations_are_read_and_none_is_none():
    assert slurm_text.reservations("No reservations in the system\n") == ()
    licenses = "ReservationName=l StartTime=2026-11-22T00:30:13 EndTime=2026-11-22T01:30:13 Nodes=(null)"
    assert slurm_text.reservations(licenses) == ()
    for broken in ("ReservationName=m Nodes=n1", "slurm_load_reservations error", licenses.replace("2026", "soon")):
        with pytest.raises(SchedulerUnavailable):
            slurm_text.reservations(broken)


@pytest.mark.parametrize(
    ("version", "fits"),
    [("22.05.8", False), ("25.05.0", False), ("25.05.5", True), ("25.11.0", True), ("26.05.5", True), ("", False)],
)
def test_the_fix_of_time_min_is_known_by_its_version(version, fits):
    assert slurm_text.cuts_time_min(version) is fits
