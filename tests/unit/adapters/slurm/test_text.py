"""Slurm's text to records: on output recorded from a real Slurm, and on what could be taken for something else."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchState, NodeState, WaitsFor
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.config import SiteConfig, site_config
from harvester_adapters.slurm.text.nodes import leaving, node_state, nodes
from harvester_adapters.slurm.text.partitions import partitions
from harvester_adapters.slurm.text.preemption import PilotQos
from harvester_adapters.slurm.text.reasons import waits_for
from harvester_adapters.slurm.text.reservations import reservations
from harvester_adapters.slurm.text.squeue import batch_jobs, glimpses
from harvester_adapters.slurm.text.words import duration, elements, gpu_count, tres

SAMPLES = Path(__file__).parent / "samples"
# Recorded on more versions than ours; lies beside the checkout on some machines, and is not needed.
FIXTURES = Path(__file__).parents[5] / "shared" / "fixtures"
VERSIONS = ("22.05.8", "24.11.5", "26.05.5")
ALL = squeue.not_ended("nonce")
FIELDS = {
    "JobID": "7", "ArrayTaskID": "N/A", "Partition": "harvest", "UserName": "root", "State": "RUNNING",
    "Reason": "None", "SubmitTime": "2026-11-22T01:00:00", "EligibleTime": "2026-11-22T01:00:00",
    "StartTime": "2026-11-22T01:00:05", "NumNodes": "1",
    "NumCPUs": "2", "MinCpus": "1", "MinMemory": "250M", "tres-alloc": "cpu=2,mem=500M,node=1,billing=2",
    "tres-per-node": "N/A", "tres-per-job": "N/A", "tres-per-task": "N/A", "OverSubscribe": "OK", "Exclusive": "",
    "PriorityLong": "1000", "TimeLimit": "10:00", "Feature": "(null)", "ReqNodes": "", "ExcNodes": "",
    "Reservation": "(null)", "SchedNodes": "(null)", "EndTime": "2026-11-22T01:10:05", "PreemptTime": "N/A",
    "NodeList": "n1", "Name": "harvester-p",
}  # fmt: skip
HEADER = ["JOBID", *["X"] * (len(FIELDS) - 1)]
HEADER[list(FIELDS).index("Exclusive")] = ""  # before 26.05
SITE = SiteConfig(version="22.05.8", preempt_type="preempt/partition_prio", preempt_mode="CANCEL")


def queue_text(*rows: list[str], nonce: str = "nonce", header: list[str] = HEADER) -> str:
    return "".join(f"\x1f{nonce}".join(row) + f"\x1e{nonce}\n" for row in (header, *rows))


def row(**changed: str) -> list[str]:
    """Return a row of squeue; the fields with a hyphen are called with an underscore."""
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    assert FIELDS.keys() >= named.keys()
    return list((FIELDS | named).values())


def job(**changed: str):
    [found] = batch_jobs(queue_text(row(**changed)), ALL)
    return found


def sample(name: str, version: str = "22.05.8") -> str:
    return (SAMPLES / version / name).read_bytes().decode()


def recorded_jobs(situation: str):
    return {job.batch_job_id: job for job in batch_jobs(sample(f"{situation}.squeue.txt"), ALL)}


def wants(version: str = "22.05.8"):
    """Return the batch jobs of the recorded queue of wishes, by name."""
    return {job.name: job for job in batch_jobs(sample("wants.squeue.txt", version), ALL)}


def test_a_running_pilot_in_its_grace_time_shows_when_it_was_asked_to_leave_and_when_it_is_killed():
    pilot = recorded_jobs("grace")["3"]
    assert pilot.state is BatchState.RUNNING
    assert pilot.name == "harvester-P1"
    assert pilot.nodes == ("n2",)
    assert pilot.requested == Resources(cpus=4, gpus=1, memory_mb=400)
    assert pilot.preempt_at == 1795635089  # 2026-11-25T19:31:29Z
    assert pilot.end_at == pilot.preempt_at + 60


def test_a_pilot_that_left_within_its_grace_time_is_preempted_although_slurm_22_05_calls_it_completed():
    after = recorded_jobs("after")
    assert {after[key].state for key in ("3", "4")} == {BatchState.PREEMPTED}
    assert after["5"].state is BatchState.COMPLETED


def test_a_pending_batch_job_shows_what_backfill_planned():
    prime = recorded_jobs("grace")["7"]
    assert (prime.state, prime.reason, prime.node_count) == (BatchState.PENDING, "Resources", 2)
    assert prime.nodes == ("n2", "n3")
    assert prime.start_at == 1795635093


def test_a_name_with_delimiters_and_line_breaks_is_read_whole():
    assert recorded_jobs("grace")["6"].name == 'a|b\x1fc é\nnew "line"'


def test_recorded_nodes_show_state_total_and_free():
    n1, n2, _, n4 = nodes(sample("grace.node.txt"))
    assert (n1.name, n1.state, n1.partitions) == ("n1", NodeState.ALLOCATED, ("prime", "harvest"))
    assert n2.total == Resources(cpus=4, gpus=2, memory_mb=4000)
    assert n2.free == Resources(cpus=0, gpus=1, memory_mb=3600)
    # Its reason ends in "State=IDLE", which an admin may write.
    assert (n4.state, n4.free) == (NodeState.DRAINED, Resources(cpus=0))


def test_recorded_partitions_show_limit_grace_and_preemption():
    prime, harvest = partitions(sample("grace.partition.txt"), SITE, PilotQos())
    assert (prime.name, prime.max_time, prime.is_preemptible) == ("prime", None, False)
    assert (harvest.max_time, harvest.grace_time) == (timedelta(hours=2), timedelta(seconds=60))
    assert harvest.is_preemptible
    assert harvest.is_up


@given(name=st.text(), other=st.text())
@example(name="\x1fnonce", other="\x1enonce\n9\x1fnonce")  # guessed last time's
def test_no_name_can_forge_or_hide_a_batch_job(name, other):
    text = queue_text(row(JobID="1", Name=name), row(JobID="2", Name=other), nonce="qwvzjk")
    if "qwvzjk" in name + other:
        return
    assert [job.name for job in batch_jobs(text, squeue.not_ended("qwvzjk"))] == [name, other]


def test_an_empty_queue_is_no_batch_jobs():
    assert batch_jobs(queue_text(), ALL) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "slurm_load_jobs error: Unexpected message received\n",
        queue_text(row())[:-30],  # cut off
        queue_text(row()[:-1]),  # a field too few
        queue_text(row())[queue_text().__len__() :],  # no header
        queue_text(row(JobID="")),
        queue_text(row(NumCPUs="many", tres_alloc="N/A")),
        queue_text(row(StartTime="yesterday")),
        queue_text(row(NodeList="n[1-")),
        queue_text(row(tres_alloc="cpu=2,mem=5X")),
        queue_text(row(tres_per_node="gres/gpu:a:2x")),
        queue_text(row(State="PENDING", PriorityLong="high")),
        queue_text(row(State="PENDING", TimeLimit="soon")),
        queue_text(row(State="PENDING", ArrayTaskID="1-x")),
    ],
)
def test_a_misparse_is_never_an_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        batch_jobs(text, ALL)


def test_the_error_names_the_line_that_was_not_understood():
    with pytest.raises(SchedulerUnavailable, match="harvester-p"):
        batch_jobs(queue_text(row(NumNodes="?")), ALL)
    with pytest.raises(SchedulerUnavailable, match="NodeName=n1 State=IDLE"):
        nodes("NodeName=n1 State=IDLE\n")


@pytest.mark.parametrize("text", ["", "No nodes in the system\n", "NodeName=n1 CPUTot=4\n", "garbage"])
def test_nodes_that_are_not_understood_are_no_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        nodes(text)


@pytest.mark.parametrize(
    "text", ["", "PartitionName=x State=UP\n", sample("grace.partition.txt").replace("GraceTime=60", "GraceTime=soon")]
)
def test_partitions_that_are_not_understood_are_no_empty_cluster(text):
    with pytest.raises(SchedulerUnavailable):
        partitions(text, SITE, PilotQos())


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", BatchState.PENDING), ("CONFIGURING", BatchState.RUNNING), ("COMPLETING", BatchState.COMPLETING),
        ("PREEMPTED", BatchState.PREEMPTED), ("OUT_OF_MEMORY", BatchState.OUT_OF_MEMORY),
        ("NODE_FAIL", BatchState.NODE_FAIL), ("DEADLINE", BatchState.DEADLINE),
        ("REQUEUE_HOLD", BatchState.PENDING), ("EXPEDITING", BatchState.UNKNOWN), ("", BatchState.UNKNOWN),
    ],
)  # fmt: skip
def test_state_words_of_batch_jobs(word, state):
    assert job(State=word).state is state


def test_an_unknown_state_is_not_an_end():
    assert not job(State="SOMETHING_NEW").state.is_ended


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
    assert node_state(word) is state


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("", 0), ("(null)", 0), ("N/A", 0), ("gpu", 1), ("gpu:2", 2), ("gpu:a100", 1), ("gpu:a100:2(S:0-1)", 2),
        ("gpu:a100:2(S:0-1),gpu:h100:4(S:0,2)", 6), ("gpu:2(IDX:0-1)", 2), ("gpu:a100:0(IDX:N/A)", 0),
        ("gres:gpu:1", 1), ("gres/gpu:1", 1), ("gres/gpu:a100:3", 3), ("nic:2,gpu:1", 1), ("craynetwork:4", 0),
    ],
)  # fmt: skip
def test_gpus_in_every_form_of_gres(word, count):
    assert gpu_count(word) == count


@pytest.mark.parametrize(
    ("word", "length"),
    [
        ("UNLIMITED", None), ("30:00", timedelta(minutes=30)), ("02:00:00", timedelta(hours=2)),
        ("7-00:00:00", timedelta(days=7)), ("1-12:00:01", timedelta(days=1, hours=12, seconds=1)),
    ],
)  # fmt: skip
def test_limits(word, length):
    assert duration(word) == length


def test_memory_in_every_unit_is_mebibytes():
    assert [tres(f"mem={word}").memory_mb for word in ("500M", "2G", "0.50G", "1T", "2048K", "7")] == [
        500, 2048, 512, 1048576, 2, 7,
    ]  # fmt: skip


def test_gpus_count_over_all_nodes_of_a_batch_job():
    found = job(NumNodes="3", tres_per_node="gres/gpu:2", NodeList="n[1-3]")
    assert (found.requested.gpus, found.nodes) == (6, ("n1", "n2", "n3"))


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("slurm-*/*/scontrol.node.oneline.txt")), ids=lambda p: p.parts[-3]
)
def test_nodes_recorded_on_other_versions_are_read(path):
    found = nodes(path.read_text())
    assert [node.name for node in found] == ["c1", "c2", "c3", "c4"]
    assert {node.total for node in found} == {Resources(cpus=4, gpus=2, memory_mb=4000)}
    assert all(node.state is not NodeState.UNKNOWN for node in found)
    if path.parent.name == "05_preempting_grace":
        assert [node.free.gpus for node in found] == [2, 2, 0, 0]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("slurm-*/*/scontrol.partition.oneline.txt")), ids=str)
def test_partitions_recorded_on_other_versions_are_read(path):
    site = site_config((path.parents[1] / "scontrol.config.txt").read_text())
    found = {partition.name: partition for partition in partitions(path.read_text(), site, PilotQos())}
    assert [name for name, partition in found.items() if partition.is_preemptible] == ["harvest", "hvrq", "hv0"]
    assert found["harvest"].grace_time == timedelta(seconds=60)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("slurm-*/*/squeue.o.txt")), ids=str)
def test_every_recorded_state_word_is_known(path):
    header, *lines = path.read_text().splitlines()
    column = header.split("|").index("STATE")
    for word in {line.split("|")[column] for line in lines}:
        assert job(State=word).state is not BatchState.UNKNOWN


def test_reservations_are_read_and_none_is_none():
    assert reservations("No reservations in the system\n") == ()
    licenses = "ReservationName=l StartTime=2026-11-22T00:30:13 EndTime=2026-11-22T01:30:13 Nodes=(null)"
    assert reservations(licenses) == ()
    for broken in ("ReservationName=m Nodes=n1", "slurm_load_reservations error", licenses.replace("2026", "soon")):
        with pytest.raises(SchedulerUnavailable):
            reservations(broken)


@pytest.mark.parametrize(
    ("version", "fits"),
    [("22.05.8", False), ("25.05.0", False), ("25.05.5", True), ("25.11.0", True), ("26.05.5", True), ("", False)],
)
def test_the_fix_of_time_min_is_known_by_its_version(version, fits):
    assert SiteConfig(version=version, preempt_type="", preempt_mode="").cuts_time_min is fits


# ---- what a pending batch job needs --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_each_node_must_have_at_least_is_read_whatever_way_it_was_asked_for(version):
    found = wants(version)
    each = {name: (found[name].node_count, found[name].each, found[name].requested) for name in found}
    # --ntasks=8 --mem=200: shown with two nodes, and it may start on more with a CPU each.
    assert each["tasks"] == (2, Resources(cpus=1, memory_mb=200), Resources(cpus=8, memory_mb=200))
    assert each["spread"] == (2, Resources(cpus=1, memory_mb=50), Resources(cpus=8, memory_mb=400))
    assert each["allmem"] == (1, Resources(cpus=1, memory_mb=4000), Resources(cpus=1, memory_mb=4000))
    assert each["gpus"] == (2, Resources(cpus=1, gpus=1, memory_mb=100), Resources(cpus=2, gpus=2, memory_mb=200))
    assert each["gpusjob"] == (2, Resources(cpus=1, memory_mb=100), Resources(cpus=1, gpus=3, memory_mb=100))
    assert each["gputask"][1] == Resources(cpus=1, gpus=1, memory_mb=100)
    assert each["wide"] == (3, Resources(cpus=2, memory_mb=200), Resources(cpus=6, memory_mb=600))
    assert each["ntasks"] == (2, Resources(cpus=2, memory_mb=200), Resources(cpus=4, memory_mb=400))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_range_of_nodes_counts_from_its_lower_end(version):
    found = wants(version)
    assert (found["range"].node_count, found["anyrange"].node_count) == (2, 1)  # --nodes=2-4, --nodes=1-3


def test_a_row_of_a_pending_array_stands_for_all_of_its_elements_that_may_run_at_a_time():
    found = wants()
    assert (found["array"].elements, found["longarray"].elements, found["tasks"].elements) == (2, 67, 1)


@pytest.mark.parametrize(
    ("word", "count"),
    [("N/A", 1), ("4", 1), ("3-10", 8), ("3-10:2", 4), ("1,4-6,9%3", 3), ("0-9%50", 10), ("1,5,...", 2), ("1-9%0", 9)],
)
def test_elements_of_an_array_are_counted(word, count):
    assert elements(word) == count


@pytest.mark.parametrize("version", VERSIONS)
def test_who_shares_its_nodes_with_nobody_is_known(version):
    assert {name for name, found in wants(version).items() if found.is_exclusive} == {"alone", "mine"}


@pytest.mark.parametrize(
    ("shared", "exclusive", "alone"),
    [("NO", "NO", False), ("NO", "NODE", True), ("YES", "NO", False), ("NO", "USER", True), ("OK", "TOPO", True)],
)
def test_from_26_05_on_a_column_of_its_own_tells_who_is_exclusive(shared, exclusive, alone):
    header = list(HEADER)
    header[list(FIELDS).index("Exclusive")] = "EXCLUSIVE"
    text = queue_text(row(State="PENDING", OverSubscribe=shared, Exclusive=exclusive), header=header)
    [found] = batch_jobs(text, ALL)
    assert found.is_exclusive is alone


def test_where_and_how_long_a_pending_batch_job_wants_to_run_is_read():
    found = wants()
    assert found["spread"].features == "a100&nvme"
    assert found["listed"].required_nodes == ("n3",)
    assert found["course"].reservation == "course"
    assert found["either"].partitions == ("prime", "harvest")
    assert (found["unlimited"].limit, found["tasks"].limit) == (None, timedelta(minutes=10))
    assert found["ntasks"].limit == timedelta(days=1, hours=2, minutes=3)
    assert found["tasks"].priority > found["spread"].priority > found["held"].priority == 0
    assert wants("24.11.5")["listed"].excluded_nodes == wants("26.05.5")["listed"].excluded_nodes == ("n1", "n2")


def test_a_glance_shows_of_each_batch_job_who_it_is_its_state_and_what_it_waits_for():
    question = squeue.at_a_glance("nonce")
    cheap = {found.name: found for found in glimpses(sample("wants.glance.txt"), question)}
    whole = wants()
    assert set(whole) == set(cheap)
    for name, found in cheap.items():
        assert (found.batch_job_id, found.state) == (whole[name].batch_job_id, whole[name].state)
        assert found.waits_for is whole[name].waits_for
    assert whole["held"].is_held
    assert not whole["dependent"].is_held


@pytest.mark.parametrize("version", VERSIONS)
def test_what_waits_for_something_else_than_nodes_is_told_apart(version):
    found = wants(version)
    waiting = {name: found[name].waits_for for name in found if name != "full"}
    other = {"held", "dependent", "later", "course"} & found.keys()
    assert {name for name, what in waiting.items() if what is WaitsFor.OTHER} == other
    assert {what for name, what in waiting.items() if name not in other} == {WaitsFor.NODES}


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("None", WaitsFor.NODES), ("", WaitsFor.NODES), ("Resources", WaitsFor.NODES), ("Priority", WaitsFor.NODES),
        ("ReqNodeNotAvail", WaitsFor.NODES), ("ReqNodeNotAvail, UnavailableNodes:n[3-4]", WaitsFor.NODES),
        ("ReqNodeNotAvail, May be reserved for other job", WaitsFor.NODES),
        ("ReqNodeNotAvail, Reserved for maintenance", WaitsFor.NODES), ("NodeDown", WaitsFor.NODES),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", WaitsFor.NODES),
        ("Nodes_required_for_job_are_DOWN,_DRAINED", WaitsFor.NODES),
        ("Dependency", WaitsFor.OTHER), ("BeginTime", WaitsFor.OTHER), ("JobHeldUser", WaitsFor.OTHER),
        ("JobArrayTaskLimit", WaitsFor.OTHER), ("Licenses", WaitsFor.OTHER), ("Reservation", WaitsFor.OTHER),
        ("QOSMaxJobsPerUserLimit", WaitsFor.OTHER), ("QOSGrpGRES", WaitsFor.OTHER),
        ("AssocGrpCPURunMinutesLimit", WaitsFor.OTHER), ("AssociationJobLimit", WaitsFor.OTHER),
        ("MaxGRESPerAccount", WaitsFor.OTHER), ("PartitionTimeLimit", WaitsFor.OTHER),
        ("job requeued in held state", WaitsFor.OTHER), ("launch failed requeued held", WaitsFor.OTHER),
        ("burst_buffer/lua: slurm_bb_setup: no room", WaitsFor.OTHER),
        ("NonZeroExitCode", WaitsFor.UNKNOWN), ("ReasonOfTheFuture", WaitsFor.UNKNOWN),
    ],
)  # fmt: skip
def test_reasons_of_pending_batch_jobs(reason, what):
    assert waits_for("PENDING", reason, 1000) is what


def test_before_the_schedulers_first_look_a_start_is_the_begin_that_was_asked_for():
    later = "2026-11-22T02:00:00"
    assert job(State="PENDING", StartTime="N/A").waits_for is WaitsFor.NODES
    assert job(State="PENDING", StartTime=later, EligibleTime=later).waits_for is WaitsFor.OTHER
    assert job(State="PENDING", StartTime=later, EligibleTime="N/A").waits_for is WaitsFor.OTHER
    # Seen on 26.05: backfill has planned it, and has not said yet why it waits.
    assert job(State="PENDING", StartTime=later).waits_for is WaitsFor.NODES
    assert job(State="PENDING", StartTime=later, EligibleTime=later, Reason="Resources").waits_for is WaitsFor.NODES


def test_what_is_held_waits_for_nobodys_nodes_whatever_its_reason():
    assert waits_for("REQUEUE_HOLD", "Resources", 1000) is WaitsFor.OTHER
    assert waits_for("PENDING", "Resources", 0) is WaitsFor.OTHER


# ---- nodes ---------------------------------------------------------------------------------------------------------


def test_nodes_show_their_features_and_why_they_are_left():
    n1, _, n3, n4 = nodes(sample("wants.node.txt"))
    assert (n1.features, n1.leaving) == (("a100", "nvme"), "")
    assert (n3.state, n3.leaving) == (NodeState.DOWN, "it fails: net card")
    assert (n4.features, n4.leaving) == ((), "")


def test_the_admins_words_for_a_drained_node_are_told_whole_and_change_nothing():
    drained = nodes(sample("grace.node.txt"))[3]
    assert (drained.state, drained.leaving) == (NodeState.DRAINED, "it is being drained: bad disk, State=IDLE")


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("IDLE", ""), ("MIXED+PLANNED", ""), ("ALLOCATED+COMPLETING", ""), ("IDLE+CLOUD", ""),
        ("MIXED+RESERVED", "a reservation has begun"),
        ("MIXED+DRAIN", "it is being drained"), ("ALLOCATED+FAIL", "it fails"), ("DOWN", "it is down"),
        ("IDLE*", ""), ("MIXED+NOT_RESPONDING", ""), ("DOWN*+DRAIN", "it is down"),
        ("MIXED+DRAIN+REBOOT_REQUESTED", "it is to be rebooted"), ("MIXED+REBOOT_REQUESTED", "it is to be rebooted"),
        ("IDLE+REBOOT_ISSUED", "it is to be rebooted"), ("ALLOCATED+MAINTENANCE", "a maintenance has begun"),
        ("MIXED+MAINTENANCE+RESERVED", "a maintenance has begun"), ("IDLE+POWERING_DOWN", "it is being powered down"),
    ],
)  # fmt: skip
def test_why_a_node_is_left(word, why):
    assert leaving(word) == why
    assert leaving(word, "disk") == (f"{why}: disk" if why else "")


@pytest.mark.parametrize("version", ["24.11.5", "26.05.5"])
def test_other_versions_of_slurm_are_read(version):
    c1, c2, c3, c4 = nodes(sample("node.txt", version))
    assert [node.leaving for node in (c1, c3, c4)] == [
        "it is being drained: kernel upgrade", "it is down: Not responding", "it is down: Not responding",
    ]  # fmt: skip
    assert c2.total == Resources(cpus=4, gpus=2, memory_mb=4000)
    site = site_config(sample("config.txt", version))
    assert site.version == version
    found = partitions(sample("partition.txt", version), site, PilotQos())
    assert [part.name for part in found if part.is_preemptible] == ["harvest", "hvrq", "hv0"]
    [reservation] = reservations(sample("reservation.txt", version))
    assert reservation.nodes == ("c3", "c4")


@pytest.mark.parametrize("text", ["", "Configuration data\n", "PreemptType = preempt/none\nSLURM_VERSION = 22.05.8\n"])
def test_a_configuration_that_is_not_understood_is_said(text):
    with pytest.raises(SchedulerUnavailable, match="it has no "):
        site_config(text)
