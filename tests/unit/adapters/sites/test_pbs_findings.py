"""What a PBS's attributes mean for pilots: on recorded answers, and on sites that are otherwise."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.fitness.findings import Severity
from harvester_adapters.pbs.records import PbsRecord
from harvester_adapters.sites import pbs_findings

SAMPLES = Path(__file__).parents[1] / "pbs" / "samples"
BAD = {Severity.WARNING, Severity.ERROR}


def server(**attributes: str) -> PbsRecord:
    recorded = pbs_findings.server_of((SAMPLES / "server.qmgr.txt").read_text())
    return PbsRecord("vm", recorded.attributes | attributes)


def sched(**attributes: str) -> PbsRecord:
    (recorded,) = pbs_findings.scheds_of((SAMPLES / "soft-limit.sched.txt").read_text())
    return PbsRecord("default", recorded.attributes | attributes)


def of_the_server(*, is_root: bool = False, is_strict: bool = False, **attributes: str):
    return list(pbs_findings.of_the_server(server(**attributes), is_root=is_root, is_strict=is_strict))


def the_one(found, about: str):
    (one,) = [each for each in found if each.about == about]
    return one


def test_a_recorded_site_has_nothing_bad_and_tells_what_it_lacks():
    found = of_the_server()
    assert not [each for each in found if each.severity in BAD]
    assert "one batch job at most" in the_one(found, "backfill_depth").text
    assert "--probe" in found[0].remedy


def test_root_may_not_submit_unless_the_site_lets_it():
    assert the_one(of_the_server(is_root=True), "acl_roots").severity is Severity.ERROR
    assert not [each for each in of_the_server(is_root=True, acl_roots="root@*") if each.severity is Severity.ERROR]


@pytest.mark.parametrize(
    ("attributes", "about"),
    [({"scheduling": "False"}, "scheduling"), ({"job_history_enable": "False"}, "job_history_enable")],
)
def test_what_works_badly_is_a_warning_with_the_command_that_corrects_it(attributes, about):
    one = the_one(of_the_server(**attributes), about)
    assert one.severity is Severity.WARNING
    assert one.remedy.startswith("qmgr -c")


def test_without_planned_starts_strict_is_warned_of():
    assert the_one(of_the_server(is_strict=True), "backfill_depth").severity is Severity.WARNING
    assert "plans no starts" in the_one(of_the_server(backfill_depth="0"), "backfill_depth").text
    assert not [each for each in of_the_server(is_strict=True, backfill_depth="5") if each.about == "backfill_depth"]


@pytest.mark.parametrize(
    ("attributes", "user", "hides"),
    [
        ({"query_other_jobs": "True"}, "ann", False),
        ({"query_other_jobs": "False"}, "ann", True),
        ({"query_other_jobs": ""}, "ann", True),  # unset
        ({"query_other_jobs": "False"}, "oper", False),
        ({"query_other_jobs": "False", "managers": "ann@*,bob@login1"}, "bob", False),
    ],
)
def test_others_batch_jobs_may_be_hidden_from_all_but_operators(attributes, user, hides):
    assert pbs_findings.hides_batch_jobs(server(**attributes), user) is hides


@pytest.mark.parametrize(
    ("order", "severity", "words"),
    [
        ("D", Severity.OK, "deleted"),
        ("RD", Severity.NOTE, "put back"),
        ("SCR", Severity.NOTE, "suspended"),
        ("CD", Severity.OK, "deleted"),
        ("", Severity.NOTE, "suspended"),
    ],
)
def test_how_the_evicted_are_ended_is_told(order, severity, words):
    (one,) = pbs_findings.of_the_scheduler([sched(preempt_order=order)])
    assert (one.severity, words in one.text) == (severity, True)


def test_where_only_express_queues_evict_the_recipe_is_told():
    found = list(pbs_findings.of_the_scheduler([sched(preempt_prio="express_queue, normal_jobs")]))
    assert "queue_softlimits" in the_one(found, "preempt_prio").remedy


def of_the_queues(user: str = "ann", **attributes: str):
    queue = PbsRecord("harvest", {"queue_type": "Execution"} | attributes)
    return list(pbs_findings.of_the_queues(server(), [queue], user, 64))


def test_recorded_queues_have_nothing_to_tell():
    queues = pbs_findings.queues_of((SAMPLES / "all.queues.txt").read_text())
    assert "route" not in {queue.name for queue in queues}
    assert list(pbs_findings.of_the_queues(server(), queues, "ann", 64)) == []


def test_a_long_kill_delay_is_a_warning_because_the_scheduler_stands_still():
    assert of_the_queues(kill_delay="60") == []
    (one,) = of_the_queues(kill_delay="600")
    assert (one.severity, "for 10 min" in one.text) == (Severity.WARNING, True)


def test_a_queue_of_others_is_told():
    (one,) = of_the_queues(acl_user_enable="True", acl_users="bob,cem@*")
    assert "does not take batch jobs of ann" in one.text
    assert of_the_queues("cem", acl_user_enable="True", acl_users="bob,cem@*") == []


@pytest.mark.parametrize(
    ("limit", "least"),
    [
        ("[u:PBS_GENERIC=2]", 2),
        ("[u:PBS_GENERIC=2],[u:ann=20]", 20),
        ("[o:PBS_ALL=10],[u:ann=20]", 10),
        ('[u:"ann"=3]', 3),
        ("[u:bob=2]", None),
        ("[u:PBS_GENERIC=200]", None),
        ("", None),
    ],
)
def test_limits_below_what_is_configured_are_told(limit, least):
    found = of_the_queues(max_queued=limit)
    assert [f"have in a queue {least} batch jobs" in each.text for each in found] == ([] if least is None else [True])


def job(select: str, where: str) -> str:
    fields = (f"Resource_List.select={select}", f"exec_vnode={where}")
    return "\x1f".join(["Job Id: 7.vm", *(field for field in fields if not field.endswith("="))]) + "\n"


def test_whether_gpus_are_counted_shows_in_what_batch_jobs_got():
    counted = job("1:ncpus=1:ngpus=1", "(n1:ncpus=1:ngpus=1)")
    not_counted = job("1:ncpus=1:ngpus=1", "(n1:ncpus=1)")
    pending, without = job("1:ngpus=1", ""), job("1:ncpus=1", "(n1:ncpus=1)")
    assert [each.severity for each in pbs_findings.of_the_gpus(counted + without)] == [Severity.OK]
    assert [each.severity for each in pbs_findings.of_the_gpus(not_counted + pending)] == [Severity.WARNING]
    assert list(pbs_findings.of_the_gpus(pending + without)) == []


@given(st.dictionaries(st.sampled_from(sorted(server().attributes)), st.text(max_size=30)))
def test_no_value_of_the_server_breaks_it(attributes):
    assert all(each.text for each in of_the_server(**attributes))
    pbs_findings.hides_batch_jobs(server(**attributes), "ann")


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_value_of_a_queue_or_scheduler_breaks_it(one, other, third):
    of_the_queues(kill_delay=one, max_run=other, acl_users=third, acl_user_enable="True")
    list(pbs_findings.of_the_scheduler([sched(preempt_order=one, preempt_prio=other)]))
