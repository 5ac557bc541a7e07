"""What parsers must not stumble over: odd names and lists, unset fields, far years, hidden batch jobs, and limits."""

from pathlib import Path

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import BatchState, WaitsFor
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.config import site_config
from harvester_adapters.slurm.text.reasons import limit_in
from harvester_adapters.slurm.text.squeue import batch_jobs, glimpses
from harvester_adapters.slurm.text.words import duration, gpu_count, instant, node_names

NONCE = "qwvzjk"
ALL = squeue.not_ended(NONCE)
FIELDS = dict.fromkeys(squeue.ALL, "N/A") | {
    "JobID": "7", "Partition": "harvest", "UserName": "eva", "State": "RUNNING", "Reason": "None",
    "SubmitTime": "2026-11-22T01:00:00", "NumNodes": "1", "NumCPUs": "2", "MinCpus": "1", "MinMemory": "0",
    "tres-alloc": "cpu=2,mem=500M,node=1", "OverSubscribe": "OK", "Exclusive": "", "PriorityLong": "10",
    "NodeList": "n1", "Name": "hv-1",
}  # fmt: skip
CONFIG = "SLURM_VERSION = 24.11.5\nPreemptType = preempt/none\nPreemptMode = OFF\n"


def answer(*changed: dict[str, str]) -> str:
    header = ["JOBID", *["X"] * (len(FIELDS) - 1)]
    header[list(FIELDS).index("Exclusive")] = ""
    rows = [header, *(list((FIELDS | each).values()) for each in changed)]
    return "".join(f"\x1f{NONCE}".join(row) + f"\x1e{NONCE}\n" for row in rows)


def read(**changed: str):
    [found] = batch_jobs(answer(changed), ALL)
    return found


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("n[1-3,07-09],gpu[001-002]-ib0", ("n1", "n2", "n3", "n07", "n08", "n09", "gpu001-ib0", "gpu002-ib0")),
        ("n1", ("n1",)), ("a,b-1,c.site.org", ("a", "b-1", "c.site.org")), ("n[9-11]", ("n9", "n10", "n11")),
        ("n[098-101]", ("n098", "n099", "n100", "n101")), ("n[1,3,5-6]", ("n1", "n3", "n5", "n6")),
        ("r[1-2]n[01-02]", ("r1n01", "r1n02", "r2n01", "r2n02")), ("r1-[0-1]-c,x", ("r1-0-c", "r1-1-c", "x")),
        ("(null)", ()), ("", ()), ("N/A", ()), ("None", ()),
    ],
)  # fmt: skip
def test_lists_of_nodes_in_every_form_of_brackets(word, names):
    assert node_names(word) == names


@pytest.mark.parametrize("word", ["n[1-", "n]1[", "n[a-b]", "n[3-1]", "n[1-999999999]", "[", "n[1-3]]"])
def test_what_is_no_list_of_nodes_is_not_understood(word):
    with pytest.raises(ValueError, match=r".*"):
        node_names(word)


@pytest.mark.parametrize(
    "name",
    [
        "two\nlines",
        "tab\there",
        "a|b,c=d;e",
        "\x1e\x1f\x00\x01",
        "\x85\u2028\u2029",
        "Größe",
        "名前",
        "",
        " ",
        "'\"`$(x)",
    ],
)
def test_names_are_read_as_they_are(name):
    assert read(Name=name).name == name


def test_a_name_in_bytes_that_are_no_text_costs_nobody_their_row():
    damaged = answer({"JobID": "1", "Name": "MARK"}, {"JobID": "2"}).encode().replace(b"MARK", b"\xff\xfe\x80")
    found = batch_jobs(damaged.decode(errors="replace"), ALL)  # as commands' answers are decoded
    assert [(batch.batch_job_id, batch.name) for batch in found] == [("1", "\ufffd" * 3), ("2", "hv-1")]


def test_fields_that_are_unset_in_every_way_are_unset():
    for word in ("N/A", "NONE", "Unknown", "(null)", ""):
        found = read(EndTime=word, StartTime=word, PreemptTime=word)
        assert (found.end_at, found.start_at, found.preempt_at) == (None, None, None)
    for word in ("UNLIMITED", "INVALID", "NOT_SET", "Partition_Limit", "INFINITE", "N/A"):
        assert read(State="PENDING", TimeLimit=word).limit is None


def test_years_past_2038_are_years():
    assert instant("2038-01-19T03:14:08") == 2**31
    assert instant("2106-02-07T06:28:16") == 2**32
    assert read(EndTime="9999-12-31T23:59:59").end_at == 253402300799
    assert duration("24855-03:14:07") is not None


def test_one_odd_row_hides_no_other_and_its_batch_job_is_not_gone():
    odd: list[str] = []
    found = batch_jobs(
        answer({"JobID": "1"}, {"JobID": "2", "StartTime": "gestern", "NodeList": "n2"}, {"JobID": "3"}), ALL, odd=odd
    )
    assert [(batch.batch_job_id, batch.state, batch.nodes) for batch in found] == [
        ("1", BatchState.RUNNING, ("n1",)), ("2", BatchState.RUNNING, ("n2",)), ("3", BatchState.RUNNING, ("n1",)),
    ]  # fmt: skip
    assert found[1].waits_for is WaitsFor.UNKNOWN
    assert len(odd) == 1
    assert "gestern" in odd[0]


def test_an_odd_row_of_a_glance_hides_no_other():
    question = squeue.at_a_glance(NONCE)
    rows = (["JOBID", *["X"] * 6], *([number, "p", "eva", "PENDING", "Priority", priority, "n"] for number, priority in
            (("1", "5"), ("2", "high"), ("3", "7"))))  # fmt: skip
    text = "".join(f"\x1f{NONCE}".join(row) + f"\x1e{NONCE}\n" for row in rows)
    waiting = [(batch.batch_job_id, batch.waits_for) for batch in glimpses(text, question)]
    assert waiting == [("1", WaitsFor.NODES), ("2", WaitsFor.UNKNOWN), ("3", WaitsFor.NODES)]


def test_where_most_rows_are_odd_the_answer_is_refused():
    with pytest.raises(SchedulerUnavailable, match="gestern"):
        batch_jobs(answer({"StartTime": "gestern"}, {}), ALL)


def test_a_request_for_a_slice_of_a_gpu_is_read_in_every_form():
    assert [gpu_count(word) for word in ("gres:gpu:1g.10gb:2", "gres/gpu:1g.10gb", "gpu:no_consume:4")] == [2, 1, 4]


@pytest.mark.parametrize(
    ("state", "reason", "known", "told"),
    [
        ("PREEMPTED", "None", BatchState.PREEMPTED, ""), ("TIMEOUT", "TimeLimit", BatchState.TIMEOUT, "TimeLimit"),
        ("CANCELLED", "None", BatchState.CANCELLED, ""), ("REVOKED", "None", BatchState.CANCELLED, "REVOKED"),
        ("FAILED", "NonZeroExitCode", BatchState.FAILED, "NonZeroExitCode"),
        ("NODE_FAIL", "None", BatchState.NODE_FAIL, ""), ("BOOT_FAIL", "None", BatchState.NODE_FAIL, "BOOT_FAIL"),
        ("LAUNCH_FAILED", "None", BatchState.FAILED, "LAUNCH_FAILED"),
        ("OUT_OF_MEMORY", "OutOfMemory", BatchState.OUT_OF_MEMORY, "OutOfMemory"),
        ("DEADLINE", "DeadLine", BatchState.DEADLINE, "DeadLine"),
        ("REQUEUED", "None", BatchState.PENDING, "REQUEUED"),
        ("REQUEUE_HOLD", "None", BatchState.PENDING, "REQUEUE_HOLD"),
        ("SPECIAL_EXIT", "None", BatchState.PENDING, "SPECIAL_EXIT"),
        ("SUSPENDED", "None", BatchState.SUSPENDED, ""), ("STOPPED", "None", BatchState.SUSPENDED, "STOPPED"),
        ("RESIZING", "None", BatchState.RUNNING, "RESIZING"),
        ("STAGE_OUT", "None", BatchState.COMPLETING, "STAGE_OUT"),
    ],
)  # fmt: skip
def test_ends_and_pauses_are_told_apart(state, reason, known, told):
    found = read(State=state, Reason=reason)
    assert (found.state, found.reason) == (known, told)


def test_a_batch_job_whose_nodes_boot_is_running_and_booting():
    found = read(State="CONFIGURING")
    assert (found.state, found.is_booting) == (BatchState.RUNNING, True)
    assert not read().is_booting


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("AssocGrpCpuLimit", "AssocGrpCpuLimit"), ("AssocMaxJobsLimit", "AssocMaxJobsLimit"),
        ("QOSMaxCpuPerUserLimit", "QOSMaxCpuPerUserLimit"), ("QOSGrpGRES", "QOSGrpGRES"),
        ("MaxGRESPerAccount", "MaxGRESPerAccount"), ("AssociationJobLimit", "AssociationJobLimit"),
        ("InvalidQOS", "InvalidQOS"), ("AccountNotAllowed", "AccountNotAllowed"),
        ("Resources", ""), ("Priority", ""), ("PartitionTimeLimit", ""), ("JobHeldUser", ""), ("None", ""),
        ("ReqNodeNotAvail, UnavailableNodes:n3", ""), ("MaxMemPerLimit", ""),
    ],
)  # fmt: skip
def test_limits_of_accounts_and_qos_are_told_from_other_reasons(reason, limit):
    assert limit_in(reason) == limit
    assert read(State="PENDING", Reason=reason).held_by_limit == limit


def test_the_parts_of_a_heterogeneous_batch_job_have_ids_of_their_own():
    """Recorded on 22.05: squeue shows people 15+0 and 15+1, and its field JobID says 15 and 16."""
    recorded = (Path(__file__).parent / "samples" / "22.05.8" / "both.squeue.txt").read_bytes().decode()
    found = [batch for batch in batch_jobs(recorded, squeue.not_ended("nonce")) if batch.name == "het"]
    assert sorted((batch.batch_job_id, batch.each.cpus) for batch in found) == [("15", 1), ("16", 2)]


@pytest.mark.parametrize(
    ("words", "private"),
    [("none", set()), ("jobs,nodes", {"jobs", "nodes"}), ("accounts,JOBS,usage", {"accounts", "jobs", "usage"})],
)
def test_what_a_site_hides_is_known(words, private):
    assert site_config(CONFIG + f"PrivateData = {words}\n").private == private
    assert site_config(CONFIG).private == frozenset()


def test_the_recorded_configurations_hide_nothing_and_exempt_nobody():
    for path in sorted((Path(__file__).parent / "samples").glob("*/config.txt")):
        site = site_config(path.read_text())
        assert (site.private, site.exempt_time.total_seconds(), site.gives_whole_nodes) == (frozenset(), 0, False)
    assert site_config(CONFIG + "SelectType = select/linear\n").gives_whole_nodes
